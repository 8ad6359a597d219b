//! Models for people who listen: fillers, deadlines, what was heard, and failures as a sentence.

use std::net::TcpListener;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::ask::{Answer, Stateless};
use super::broker::{Broker, Setup, until};

/// Said by agents that take long.
const FILLER: &str = "One moment, please.";
const FILLS: &str = "profile = \"voice\"\nfiller_after_ms = 60\n\
                     filler = [\"One moment, please.\", \"Let me check...\"]\n";
const APOLOGY: &str = "Sorry, say that again.";
const APOLOGISES: &str =
    "profile = \"voice\"\nspoken_errors = true\napology = \"Sorry, say that again.\"\n";

async fn broker(model: &str) -> Broker {
    Broker::with(Setup { model, ..Setup::default() }).await
}

/// The texts of a stream that are marked as fillers.
fn fillers(answer: &Answer) -> Vec<String> {
    let deltas = answer.frames.iter().filter(|frame| !frame.is_done()).map(|frame| frame.json());
    let deltas = deltas.filter_map(|frame| frame.pointer("/choices/0/delta").cloned());
    let marked = deltas.filter(|delta| delta.pointer("/outcrop/filler") == Some(&json!(true)));
    marked.map(|delta| delta["content"].as_str().unwrap().to_owned()).collect()
}

fn contents(session: &Value) -> Vec<(&str, &str)> {
    let messages = session["messages"].as_array().unwrap().iter();
    let pair = |message| {
        let text =
            |name: &str| Value::get(message, name).and_then(Value::as_str).unwrap_or_default();
        (text("content"), text("status"))
    };
    messages.map(pair).collect()
}

#[tokio::test]
async fn a_turn_that_is_silent_for_long_speaks_a_filler_that_is_no_part_of_it() {
    let broker = broker(FILLS).await;
    let mut caller = Stateless::new(&broker);
    let first = caller.next("my name is Ann").pace(400, 0).answer().await;
    first.expect_ok();
    assert_eq!(fillers(&first), [format!("{FILLER} ")]);
    assert!(first.text.starts_with(&format!("{FILLER} ")), "{}", first.text);
    assert_eq!(first.header("x-outcrop-first-token-ms"), "", "a filler is no first token");
    let session = broker.session(first.session()).await;
    let answer = first.text.strip_prefix(FILLER).unwrap().trim();
    assert_eq!(contents(&session)[1], (answer, "completed"));
    let waited = broker.metric("outcrop_turn_first_token_seconds_sum", &[]).await;
    assert!(waited >= 0.4, "{waited}");

    // The client sends back what it heard, and is in the same conversation all the same.
    caller.transcript.push(("user".to_owned(), "my name is Ann".to_owned()));
    caller.transcript.push(("assistant".to_owned(), first.text.clone()));
    let second = caller.next("what is my name?").pace(400, 0).answer().await;
    assert_eq!((second.origin(), second.session()), ("continued", first.session()));
    assert_eq!(fillers(&second), ["Let me check... "], "they take turns");
    assert!(second.text.ends_with("Your name is Ann."));
    let calls = broker.calls().await;
    assert_eq!((calls.len(), &calls[1]["input_text"]), (2, &json!("what is my name?")));
    assert_eq!(calls[0]["session"], calls[1]["session"]);
}

#[tokio::test]
async fn a_whole_answer_and_a_silence_in_mid_answer_have_no_filler() {
    let broker = broker(FILLS).await;
    let whole = broker.ask("my name is Ann").pace(200, 0).whole().answer().await;
    assert!(!whole.everything().contains("moment"), "{whole:?}");
    assert!(whole.header("x-outcrop-first-token-ms").parse::<u64>().unwrap() >= 200);
    let streamed = broker.ask("count to 3").pace(0, 150).answer().await;
    streamed.expect_ok();
    assert!(fillers(&streamed).is_empty());
    assert!(streamed.header("x-outcrop-first-token-ms").parse::<u64>().unwrap() < 10_000);
    assert!(streamed.header("x-outcrop-turn").starts_with("turn_"));
}

#[tokio::test]
async fn a_model_that_does_not_begin_by_its_deadline_is_passed_over() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let tables = format!(
        "[[models]]\nname = \"slow\"\nbackend = \"openai\"\nmodel_id = \"gpt-4o\"\n\
         base_url = \"http://{}/v1\"\nprofile = \"voice\"\nfirst_token_deadline_ms = 150\n\
         fallbacks = [\"quick\"]\n\n\
         [[models]]\nname = \"quick\"\nbackend = \"openai\"\nmodel_id = \"gpt-4o\"\n",
        silent.local_addr().unwrap()
    );
    let broker = Broker::with(Setup { tables: &tables, ..Setup::default() }).await;
    let began = Instant::now();
    broker.ask("my name is Ann").at_model("slow").session("one").text().await;
    assert!(began.elapsed() >= Duration::from_millis(150));
    assert_eq!(broker.session("one").await["model"], "quick");
    let labels = ["model=\"slow\"", "outcome=\"failed\""];
    assert!(broker.metric("outcrop_turns_total", &labels).await > 0.0);
    assert_eq!(broker.session("one").await["turns"], 1);
}

#[tokio::test]
async fn an_agent_is_not_passed_over_since_its_actions_might_run_twice() {
    let model = "profile = \"voice\"\nfirst_token_deadline_ms = 60\nfallbacks = [\"second\"]";
    let tables = "[[models]]\nname = \"second\"\nbackend = \"bedrock-agent\"\n\
                  agent_id = \"SECOND2222\"\n";
    let broker = Broker::with(Setup { model, tables, ..Setup::default() }).await;
    broker.ask("my name is Ann").pace(300, 0).text().await;
    let calls = broker.calls().await;
    assert_eq!((calls.len(), &calls[0]["agent"]), (1, &json!("AGENT12345")));
}

#[tokio::test]
async fn an_answer_that_was_generated_to_its_end_is_kept_as_far_as_it_was_heard() {
    let broker = broker("profile = \"voice\"").await;
    let call =
        |messages: &[(&str, &str)]| broker.send(messages).with("call", json!({ "id": "call-one" }));
    let question = ("user", "count to 40");
    let first = call(&[question]).answer().await;
    first.expect_ok();
    assert!(first.text.contains("40"), "{}", first.text);
    let heard = ("assistant", "1 2 3");
    let second = call(&[question, heard, ("user", "what was my last message?")]).answer().await;
    assert_eq!(second.origin(), "continued");
    assert_eq!(second.text, "Your last message was: \"count to 40\"");
    let session = broker.session("call-one").await;
    assert_eq!(contents(&session)[1], ("1 2 3", "interrupted"));
    // Nothing of the second answer was heard before the caller spoke again.
    let third = [question, heard, ("user", "what was my last message?"), ("user", "never mind")];
    assert_eq!(call(&third).answer().await.origin(), "continued");
    let session = broker.session("call-one").await;
    assert_eq!(contents(&session)[3], ("", "interrupted"));
    assert_eq!(contents(&session).len(), 6);
}

#[tokio::test]
async fn what_was_spoken_is_told_with_or_without_the_filler() {
    let broker = broker(FILLS).await;
    let mut reply = broker.ask("count to 400").session("one").pace(150, 10).begin().await;
    let (_, text) = reply.first_text().await;
    assert_eq!(text.trim(), FILLER);
    for _ in 0..3 {
        reply.first_text().await;
    }
    let interrupt = async |spoken: &str| {
        let order = json!({ "spoken": spoken });
        let path = "/v1/sessions/one/interrupt";
        broker.post(path, &order).send().await.json().await
    };
    let session = interrupt("One moment, please. 1 2").await;
    assert_eq!(contents(&session)[1], ("1 2", "interrupted"));
    let session = interrupt("One mom").await;
    assert_eq!(contents(&session)[1], ("", "interrupted"), "told better later");
    Answer::of(reply).await.expect_ok();
}

/// By then a barge-in has closed the upstream's connection, as a rule and on a busy machine.
const AS_A_RULE: Duration = Duration::from_millis(50);
const AT_MOST: Duration = Duration::from_millis(150);
const TRIALS: u64 = 7;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_barges_in_stops_the_upstream_and_is_answered_at_once() {
    let broker = broker("profile = \"voice\"").await;
    let mut delays = Vec::new();
    for trial in 1..=TRIALS {
        let mut first = broker.ask("count to 2000").session("one").pace(0, 10).begin().await;
        first.first_text().await;
        let spoke = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        broker.ask("my name is Ann").session("one").text().await;
        let mut closed = Value::Null;
        until("the first call to be closed upstream", async || {
            let upstream = broker.upstream().await;
            closed = upstream["last_disconnect_ms"].clone();
            upstream["disconnected"] == trial
        })
        .await;
        delays.push(Duration::from_millis(closed.as_u64().unwrap()).saturating_sub(spoke));
        Answer::of(first).await.expect_ok();
    }
    delays.sort();
    assert!(delays[delays.len() / 2] <= AS_A_RULE, "{delays:?}");
    assert!(delays.iter().all(|delay| *delay <= AT_MOST), "{delays:?}");
    let stopped = broker.metric("outcrop_turns_interrupted_total", &["barge_in"]).await;
    assert!((stopped - TRIALS as f64).abs() < 0.1, "{stopped}");
}

#[tokio::test]
async fn a_failure_is_told_as_a_sentence_and_counted_as_a_failure() {
    let broker = broker(APOLOGISES).await;
    let mut caller = Stateless::new(&broker);
    caller.say("my name is Ann").await;
    let failed = caller.next("what do you offer?").fault("internal").answer().await;
    failed.expect_ok();
    assert_eq!((&*failed.text, &*failed.finish_reason()), (APOLOGY, "stop"));
    let count = broker.metric("outcrop_turns_total", &["outcome=\"failed\""]).await;
    assert!((count - 1.0).abs() < 0.1, "{count}");
    let whole = caller.next("what do you offer?").fault("internal").whole().answer().await;
    assert_eq!((whole.status, &*whole.text), (200, APOLOGY));

    // The apology comes back with the history, and is no part of the conversation.
    caller.transcript.push(("user".to_owned(), "what do you offer?".to_owned()));
    caller.transcript.push(("assistant".to_owned(), failed.text.clone()));
    let next = caller.next("what is my name?").answer().await;
    assert_eq!((next.origin(), &*next.text), ("continued", "Your name is Ann."));
    assert!(!broker.session(next.session()).await.to_string().contains("Sorry"));
}

#[tokio::test]
async fn an_answer_that_breaks_off_ends_with_the_apology() {
    let broker = broker(APOLOGISES).await;
    let broken = broker.ask("count to 9").session("one").fault("cut:3").answer().await;
    broken.expect_ok();
    assert!(broken.text.starts_with("1 2") && broken.text.ends_with(APOLOGY), "{}", broken.text);
    let session = broker.session("one").await;
    assert_eq!(session["messages"][1]["status"], "failed");
    assert!(!session.to_string().contains("Sorry"));
}

#[tokio::test]
async fn a_wrong_request_is_an_error_where_failures_are_spoken_too() {
    let broker = broker(APOLOGISES).await;
    let wrong = broker.ask("hello there").with("temperature", json!("warm")).answer().await;
    assert_eq!(wrong.status, 400);
    let refused = broker.ask("hello there").fault("validation").answer().await;
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn an_empty_answer_says_what_the_settings_say() {
    let broker = broker("empty_answer = \"I have nothing to say to that.\"").await;
    let answer = broker.ask("hello there").session("one").fault("empty").answer().await;
    answer.expect_ok();
    assert_eq!(answer.text, "I have nothing to say to that.");
    let session = broker.session("one").await;
    assert_eq!(contents(&session)[1], ("I have nothing to say to that.", "completed"));
}

#[tokio::test]
async fn vapi_tells_that_a_call_is_over_and_its_session_ends() {
    let tables = "[[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\n";
    let broker = Broker::with(Setup { tables, ..Setup::default() }).await;
    let key = "sk-acme-first-key";
    let turn = broker.ask("my name is Ann").key(key).with("call", json!({ "id": "call-one" }));
    turn.text().await;
    let tell = async |message: Value| {
        let told = broker.post("/v1/voice/vapi", &json!({ "message": message }));
        let mut reply = told.header("x-vapi-secret", key).send().await;
        assert_eq!(reply.status, 200);
        reply.json().await["session_ended"] == true
    };
    let call = json!({ "id": "call-one", "customer": { "number": "+15550100199" } });
    broker.keep_secret("5550100199");
    assert!(!tell(json!({ "type": "status-update", "status": "ringing", "call": call })).await);
    assert!(tell(json!({ "type": "status-update", "status": "ended", "call": call })).await);
    assert!(!tell(json!({ "type": "end-of-call-report", "call": call })).await, "it is over");
    let gone = broker.get("/v1/sessions/call-one").key(key).send().await;
    assert_eq!(gone.status, 404);
    until("the session to end upstream", async || {
        broker.calls().await.iter().any(|call| call["end_session"] == true)
    })
    .await;
    let told = json!({ "message": { "type": "end-of-call-report", "call": call } });
    assert_eq!(broker.post("/v1/voice/vapi", &told).send().await.status, 401);
    assert_eq!(broker.post("/v1/voice/vapi", &json!({})).key(key).send().await.status, 400);
}
