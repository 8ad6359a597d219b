//! Agents that nobody configured, and what the control plane says of all.

use std::time::Duration;

use serde_json::{Value, json};

use super::ask::Stateless;
use super::broker::{Broker, Setup, until};

/// Looks for agents, and often.
const LOOKING: &str = "discovery.agents = true\ndiscovery.refresh_seconds = 0.1";

async fn looking(control_plane: Value) -> Broker {
    let control_plane = Some(control_plane);
    Broker::with(Setup { settings: LOOKING, control_plane, ..Setup::default() }).await
}

async fn models(broker: &Broker) -> Vec<Value> {
    let listed = broker.get("/v1/models").send().await.json().await;
    listed["data"].as_array().unwrap().clone()
}

async fn names(broker: &Broker) -> Vec<String> {
    let models = models(broker).await;
    models.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until so many models are listed.
async fn names_become(broker: &Broker, expected: &[&str]) {
    until("the list of models", async || names(broker).await == expected).await;
}

/// Waits for a few more rounds of looking for agents.
async fn rounds(broker: &Broker, more: u64) {
    let before = broker.control_plane_calls("ListAgents").await;
    let looked = async || broker.control_plane_calls("ListAgents").await >= before + more;
    until("further looks for agents", looked).await;
}

#[tokio::test]
async fn agents_that_can_be_asked_are_listed_after_the_configured_models() {
    let tables = "[[models]]\nname = \"loans\"\nbackend = \"bedrock-agent\"\n\
                  agent_id = \"LOANAGENT1\"\nagent_alias_id = \"LIVEALIAS1\"\n";
    let broker = Broker::with(Setup { settings: LOOKING, tables, ..Setup::default() }).await;
    let expected = [
        "agent",
        "loans",
        "bedrock/agent/CARDAGENT1/LIVEALIAS1",
        "bedrock/agent/CARDAGENT1/TSTALIASID",
        "bedrock/agent/DEMOAGENT1/LIVEALIAS1",
        "bedrock/agent/DEMOAGENT1/TSTALIASID",
        "bedrock/agent/LOANAGENT1/TSTALIASID",
    ];
    // Paused aliases and agents that are not prepared are not, nor what is configured already.
    assert_eq!(names(&broker).await, expected);
    let listed = models(&broker).await;
    assert_eq!(listed[0]["outcrop"].get("agent_name"), None);
    let found = &listed[2];
    let told = json!({
        "backend": "bedrock-agent",
        "state": "unknown",
        "healthy": null,
        "agent_id": "CARDAGENT1",
        "agent_alias_id": "LIVEALIAS1",
        "agent_name": "card-support",
        "alias_name": "live",
        "description": "Blocks cards and explains their bills.",
    });
    assert_eq!((&found["outcrop"], &found["owned_by"]), (&told, &json!("bedrock-agent")));
    for id in [expected[2], "bedrock%2Fagent%2FCARDAGENT1%2FLIVEALIAS1"] {
        let one = broker.get(&format!("/v1/models/{id}")).send().await.json().await;
        assert_eq!(&one, found);
    }
    let missing = broker.get("/v1/models/bedrock/agent/CARDAGENT1/PAUSEDALI1").send().await;
    assert_eq!(missing.status, 404);
}

#[tokio::test]
async fn a_discovered_agent_can_be_asked_though_direct_names_cannot() {
    let broker = looking(json!({})).await;
    let name = "bedrock/agent/CARDAGENT1/LIVEALIAS1";
    let ask = |text: &str, model: &str| broker.ask(text).session("one").with("model", json!(model));
    assert!(!ask("my name is Ann", name).text().await.is_empty());
    assert_eq!(ask("what is my name?", name).text().await, "Your name is Ann.");
    let calls = broker.calls().await;
    assert_eq!(
        (&calls[1]["agent"], &calls[1]["alias"]),
        (&"CARDAGENT1".into(), &"LIVEALIAS1".into())
    );
    let turns = broker.metric("outcrop_turns_total", &["model=\"direct\""]).await;
    assert!((turns - 2.0).abs() < 0.1, "names of discovered agents are no labels: {turns}");
    let other = ask("my name is Ann", "bedrock/agent/CARDAGENT1/OTHERALIAS").answer().await;
    assert_eq!((other.status, &*other.code()), (404, "model_not_found"));
}

#[tokio::test]
async fn a_fleet_of_many_pages_is_listed_up_to_the_bound_and_in_order() {
    let settings = "discovery.agents = true\ndiscovery.max_agents = 300";
    let control_plane = Some(json!({ "agents": 250 }));
    let broker = Broker::with(Setup { settings, control_plane, ..Setup::default() }).await;
    until("all pages", async || names(&broker).await.len() == 301).await;
    assert_eq!(broker.control_plane_calls("ListAgents").await, 3);
    let names = names(&broker).await;
    assert!(names[1..].is_sorted(), "{names:?}");
    assert!(names.contains(&"bedrock/agent/FLEET00100/TSTALIASID".to_owned()), "{names:?}");
}

#[tokio::test]
async fn a_key_bound_to_models_sees_its_own_discovered_ones_only() {
    let tables = "[[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\n\
                  models = [\"bedrock/agent/CARDAGENT1/LIVEALIAS1\"]\n\n\
                  [[keys]]\ntenant = \"globex\"\nkey = \"sk-globex-first-key\"\n";
    let broker = Broker::with(Setup { settings: LOOKING, tables, ..Setup::default() }).await;
    let listed = async |key: &str| {
        let listed = broker.get("/v1/models").key(key).send().await.json().await;
        let data = listed["data"].as_array().unwrap().clone();
        data.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed("sk-acme-first-key").await, ["bedrock/agent/CARDAGENT1/LIVEALIAS1"]);
    assert_eq!(listed("sk-globex-first-key").await.len(), 7);
    let other = "bedrock/agent/LOANAGENT1/LIVEALIAS1";
    let path = format!("/v1/models/{other}");
    assert_eq!(broker.get(&path).key("sk-acme-first-key").send().await.status, 404);
    assert_eq!(broker.get(&path).key("sk-globex-first-key").send().await.status, 200);
    let ask = broker.ask("hello there").key("sk-acme-first-key").with("model", json!(other));
    assert_eq!(ask.answer().await.status, 403);
}

#[tokio::test]
async fn the_list_follows_the_fleet() {
    let broker = looking(json!({ "agents": 0 })).await;
    assert_eq!(names(&broker).await, ["agent"]);
    broker.set_up_control_plane(&json!({ "agents": 1 })).await;
    let (live, draft) =
        ("bedrock/agent/LOANAGENT1/LIVEALIAS1", "bedrock/agent/LOANAGENT1/TSTALIASID");
    names_become(&broker, &["agent", live, draft]).await;
    broker.set_up_control_plane(&json!({ "agents": 0 })).await;
    names_become(&broker, &["agent"]).await;
    let gone = broker.ask("hello there").with("model", json!(live)).answer().await;
    assert_eq!((gone.status, &*gone.code()), (404, "model_not_found"));
}

#[tokio::test]
async fn a_control_plane_that_refuses_leaves_what_was_known_and_is_complained_of_once() {
    let broker = looking(json!({ "agents": 1, "fault": "access-denied" })).await;
    rounds(&broker, 3).await;
    let reply = broker.get("/v1/models").send().await.text().await;
    assert!(reply.contains("\"agent\""), "{reply}");
    // What to do is told to whoever runs the broker, in its own words alone.
    for word in ["authorized", "arn:", "request id"] {
        assert!(!reply.contains(word), "{reply}");
    }
    let complaints = || broker.log().matches("agents cannot be listed").count();
    until("a complaint", async || complaints() == 1).await;
    assert!(broker.log().contains("grant bedrock:ListAgents"), "{}", broker.log());
    broker.set_up_control_plane(&json!({ "agents": 1 })).await;
    let (live, draft) =
        ("bedrock/agent/LOANAGENT1/LIVEALIAS1", "bedrock/agent/LOANAGENT1/TSTALIASID");
    names_become(&broker, &["agent", live, draft]).await;
    for fault in ["503", "internal", "throttle"] {
        let fault = json!({ "agents": 2, "fault": fault, "operation": "ListAgentAliases" });
        broker.set_up_control_plane(&fault).await;
        rounds(&broker, 2).await;
        assert_eq!(names(&broker).await.len(), 3);
    }
    assert!(!broker.ask("hello there").with("model", json!(live)).text().await.is_empty());
    until("a second complaint", async || complaints() == 2).await;
}

#[tokio::test]
async fn a_call_that_is_throttled_is_repeated_within_the_round() {
    let fault = json!({ "agents": 1, "fault": "throttle:4", "operation": "ListAgents" });
    let control_plane = Some(fault);
    let settings = "discovery.agents = true";
    let broker = Broker::with(Setup { settings, control_plane, ..Setup::default() }).await;
    until("the list", async || names(&broker).await.len() == 3).await;
    assert_eq!(broker.control_plane_calls("ListAgents").await, 5);
    assert!(!broker.log().contains("cannot be listed"));
}

#[tokio::test]
async fn a_control_plane_that_does_not_answer_holds_nobody_up() {
    let broker = looking(json!({ "fault": "stall-headers" })).await;
    assert_eq!(names(&broker).await, ["agent"]);
    assert!(!broker.ask("hello there").text().await.is_empty());
}

#[tokio::test]
async fn the_idle_time_that_the_agent_tells_decides_when_it_has_forgotten() {
    let broker =
        Broker::with(Setup { agent_remembers: Some(Duration::from_secs(1)), ..Setup::default() })
            .await;
    until("the question", async || broker.control_plane_calls("GetAgent").await > 0).await;
    let mut client = Stateless::new(&broker);
    client.say("my name is Ann").await;
    // Nothing happens when an agent forgets: only time passes.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let resent = client.say("what is my name?").await;
    assert_eq!((resent.origin(), &*resent.text), ("rehydrated", "Your name is Ann."));
}

#[tokio::test]
async fn an_agent_that_remembers_longer_than_its_settings_say_is_believed() {
    let wait = async |settings: &str| {
        let model = "idle_session_ttl_seconds = 0.2";
        let broker = Broker::with(Setup { settings, model, ..Setup::default() }).await;
        if settings.is_empty() {
            until("the question", async || broker.control_plane_calls("GetAgent").await > 0).await;
        }
        let mut client = Stateless::new(&broker);
        client.say("my name is Ann").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        client.say("what is my name?").await.origin().to_owned()
    };
    assert_eq!(wait("").await, "continued");
    assert_eq!(wait("discovery.idle_ttl = false").await, "rehydrated");
}

#[tokio::test]
async fn an_agent_that_may_not_be_read_is_not_asked_about_again_soon() {
    let broker = looking(json!({ "fault": "access-denied", "operation": "GetAgent" })).await;
    rounds(&broker, 5).await;
    // The three that were discovered and the configured one.
    assert_eq!(broker.control_plane_calls("GetAgent").await, 4);
    assert!(!broker.log().contains("GetAgent"), "nobody is bothered: {}", broker.log());
    assert_eq!(names(&broker).await.len(), 7);
}

#[tokio::test]
async fn a_model_with_an_endpoint_of_its_own_is_asked_about_where_all_are() {
    let tables = "[[models]]\nname = \"elsewhere\"\nbackend = \"bedrock-agent\"\n\
                  agent_id = \"OTHER12345\"\nendpoint_url = \"http://127.0.0.1:1\"\n";
    let broker = Broker::with(Setup { tables, ..Setup::default() }).await;
    until("both questions", async || broker.control_plane_calls("GetAgent").await == 2).await;
}

#[tokio::test]
async fn where_nothing_is_to_be_known_nothing_is_asked() {
    let settings = "discovery.idle_ttl = false";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    broker.ask("hello there").text().await;
    assert_eq!(broker.upstream().await["control_plane"], json!({}));
}

/// Looks for models, and often.
const LOOKING_FOR_MODELS: &str = "discovery.models = true\ndiscovery.refresh_seconds = 0.1";
const NOVA: &str = "bedrock/amazon.nova-lite-v1:0";

async fn with_models(settings: &str) -> Broker {
    Broker::with(Setup { settings, ..Setup::default() }).await
}

/// Waits for a few more rounds of looking for models.
async fn model_rounds(broker: &Broker, more: u64) {
    let before = broker.control_plane_calls("ListFoundationModels").await;
    let looked = async || broker.control_plane_calls("ListFoundationModels").await >= before + more;
    until("further looks for models", looked).await;
}

#[tokio::test]
async fn models_that_talk_or_make_vectors_are_listed_by_id_and_by_profile() {
    let broker = with_models(LOOKING_FOR_MODELS).await;
    let listed = models(&broker).await;
    let names = names(&broker).await;
    assert_eq!(names[0], "agent");
    assert!(names[1..].is_sorted() && names.len() > 15, "{names:?}");
    for expected in [
        NOVA,
        "bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0",
        "bedrock/amazon.titan-embed-text-v2:0",
        "bedrock/cohere.embed-v4:0",
    ] {
        assert!(names.iter().any(|name| name == expected), "{expected} is not in {names:?}");
    }
    // By a profile only, and on its way out.
    for other in
        ["bedrock/anthropic.claude-sonnet-4-20250514-v1:0", "bedrock/amazon.titan-text-lite-v1"]
    {
        assert!(!names.iter().any(|name| name == other), "{other}");
    }
    let nova = listed.iter().find(|model| model["id"] == NOVA).unwrap();
    assert_eq!(nova["owned_by"], "amazon");
    let told = json!({
        "backend": "bedrock",
        "state": "unknown",
        "healthy": null,
        "name": "Nova Lite",
        "input_modalities": ["text", "image", "video"],
        "output_modalities": ["text"],
        "streaming": true,
    });
    assert_eq!(nova["outcrop"], told);
    let embedder = listed.iter().find(|model| model["id"] == "bedrock/cohere.embed-v4:0").unwrap();
    assert_eq!(embedder["outcrop"]["output_modalities"], json!(["embedding"]));
    for path in
        ["/v1/models/bedrock/amazon.nova-lite-v1:0", "/v1/models/bedrock%2Famazon.nova-lite-v1%3A0"]
    {
        assert_eq!(&broker.get(path).send().await.json().await, nova);
    }
    let bare = broker.get("/v1/models/amazon.nova-lite-v1:0").send().await.json().await;
    assert_eq!((&bare["id"], &bare["outcrop"]), (&json!("amazon.nova-lite-v1:0"), &told));
}

#[tokio::test]
async fn a_discovered_model_can_be_asked_though_direct_names_cannot() {
    let broker = with_models(LOOKING_FOR_MODELS).await;
    for name in [NOVA, "us.anthropic.claude-sonnet-4-20250514-v1:0"] {
        assert_eq!(broker.ask("say: hello").at_model(name).text().await, "hello");
    }
    let body = json!({"model": "bedrock/amazon.titan-embed-text-v2:0", "input": "hello there"});
    assert_eq!(broker.post("/v1/embeddings", &body).send().await.status, 200);
    let other = broker.ask("say: hello").at_model("bedrock/amazon.titan-text-lite-v1");
    let other = other.answer().await;
    assert_eq!((other.status, &*other.code()), (404, "model_not_found"));
    let agents = broker.ask("say: hello").at_model("bedrock/agent/LOANAGENT1/LIVEALIAS1");
    assert_eq!(agents.answer().await.status, 404);
    let turns = broker.metric("outcrop_turns_total", &["model=\"direct\""]).await;
    assert!((turns - 2.0).abs() < 0.1, "names of discovered models are no labels: {turns}");
}

#[tokio::test]
async fn a_catalogue_that_cannot_be_read_leaves_what_was_known_and_is_complained_of_once() {
    let fault = json!({ "fault": "access-denied", "operation": "ListInferenceProfiles" });
    let setup =
        Setup { settings: LOOKING_FOR_MODELS, control_plane: Some(fault), ..Setup::default() };
    let broker = Broker::with(setup).await;
    model_rounds(&broker, 3).await;
    assert_eq!(names(&broker).await, ["agent"]);
    assert_eq!(broker.log().matches("models cannot be listed").count(), 1);
    assert!(broker.log().contains("bedrock:ListInferenceProfiles"), "{}", broker.log());
    assert_eq!(broker.ask("say: hello").at_model(NOVA).answer().await.status, 404);
    broker.set_up_control_plane(&json!({})).await;
    until("the models", async || names(&broker).await.len() > 15).await;
    for fault in ["503", "throttle"] {
        broker.set_up_control_plane(&json!({ "fault": fault })).await;
        model_rounds(&broker, 2).await;
        assert!(names(&broker).await.len() > 15);
    }
    assert_eq!(broker.ask("say: hello").at_model(NOVA).text().await, "hello");
}

#[tokio::test]
async fn a_key_bound_to_models_sees_those_of_its_own_alone() {
    let tables = format!(
        "[[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\nmodels = [\"{NOVA}\"]\n"
    );
    let setup = Setup { settings: LOOKING_FOR_MODELS, tables: &tables, ..Setup::default() };
    let broker = Broker::with(setup).await;
    let listed = broker.get("/v1/models").key("sk-acme-first-key").send().await.json().await;
    let data = listed["data"].as_array().unwrap();
    assert_eq!((data.len(), &data[0]["id"]), (1, &json!(NOVA)));
}
