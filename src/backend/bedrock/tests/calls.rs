//! Requests in the service's words.

use std::num::NonZeroU32;

use aws_sdk_bedrockruntime::types::{
    CacheTtl, PerformanceConfigLatency, ServiceTierType, SystemContentBlock,
    ToolChoice as AwsChoice,
};
use serde_json::{Value, json};

use super::super::call::{Call, Contents, prepare, urls};
use super::super::families;
use super::{CLAUDE, THINKER, ask, assistant, attached, calls, result, thinking, user};
use crate::config::{Model, PromptCache};
use crate::turn::{
    AnswerFormat, CacheLife, Effort, Failure, FailureKind, Generation, JsonSchema, Latency,
    Message, Part, Role, Tool, ToolChoice, TurnRequest,
};

fn model(id: &str) -> Model {
    let mut model = Model::new("m".parse().unwrap(), "bedrock");
    model.text.model_id = Some(id.to_owned());
    model
}

fn said_to(model: &Model, request: TurnRequest) -> Result<Call, Failure> {
    let id = model.text.model_id.clone().unwrap();
    let ask = ask(Vec::new(), vec![user("Hello")], request);
    prepare(model, families::of(&id), &ask, &Contents::new())
}

fn with(generation: Generation) -> TurnRequest {
    TurnRequest { generation, ..TurnRequest::default() }
}

fn said(id: &str, generation: Generation) -> Call {
    said_to(&model(id), with(generation)).unwrap()
}

fn fields(call: &Call) -> Value {
    call.fields.as_ref().map_or(Value::Null, |fields| call.json.value(fields))
}

fn tool(name: &str) -> Tool {
    Tool { name: name.to_owned(), description: None, parameters: None, ..Tool::default() }
}

fn person(strict: bool) -> AnswerFormat {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}},
                        "additionalProperties": false});
    AnswerFormat::JsonSchema(JsonSchema {
        name: "person".to_owned(),
        description: None,
        schema,
        strict,
    })
}

#[test]
fn sampling_is_told_within_what_the_model_takes() {
    let generation = Generation {
        max_tokens: Some(50),
        temperature: Some(1.7),
        top_p: Some(0.5),
        top_k: Some(40),
        stop: vec!["END".to_owned()],
        ..Generation::default()
    };
    let call = said(CLAUDE, generation.clone());
    let inference = &call.inference;
    assert_eq!((inference.max_tokens, inference.temperature), (Some(50), Some(1.0)));
    assert_eq!(inference.top_p, Some(0.5));
    assert_eq!(inference.stop_sequences(), ["END"]);
    assert_eq!(fields(&call)["top_k"], 40);
    let nova = said("amazon.nova-lite-v1:0", generation.clone());
    assert_eq!(fields(&nova)["inferenceConfig"]["topK"], 40);
    let either = said("anthropic.claude-sonnet-4-5-20250929-v1:0", generation.clone());
    assert_eq!((either.inference.temperature, either.inference.top_p), (Some(1.0), None));
    let neither = said("anthropic.claude-opus-5-v1:0", generation);
    assert_eq!((neither.inference.temperature, neither.inference.top_p), (None, None));
}

#[test]
fn the_models_own_length_stands_in_for_none() {
    let mut short = model(CLAUDE);
    short.text.max_tokens = NonZeroU32::new(99);
    let call = said_to(&short, TurnRequest::default()).unwrap();
    assert_eq!(call.inference.max_tokens, Some(99));
    assert_eq!(said(CLAUDE, Generation::default()).inference.max_tokens, None);
    let none = Generation { max_tokens: Some(0), ..Generation::default() };
    let failure = said_to(&short, with(none)).unwrap_err();
    assert_eq!(failure.param.as_deref(), Some("max_tokens"));
}

#[test]
fn a_model_that_thinks_gets_room_for_it_and_no_sampling() {
    let generation = Generation {
        effort: Some(Effort::High),
        max_tokens: Some(500),
        temperature: Some(0.2),
        top_k: Some(5),
        ..Generation::default()
    };
    let call = said(THINKER, generation);
    let expected = json!({"thinking": {"type": "enabled", "budget_tokens": 4096}});
    assert_eq!(fields(&call), expected);
    assert_eq!((call.inference.max_tokens, call.inference.temperature), (Some(4596), None));
    assert!(call.reading.shows_thoughts);
    assert!(!said(THINKER, Generation::default()).reading.shows_thoughts);
}

#[test]
fn thoughts_go_back_while_the_model_thinks_on() {
    let request = TurnRequest {
        tools: vec![tool("a")],
        ..with(Generation { effort: Some(Effort::Low), ..Generation::default() })
    };
    let prepared = |before: Message| {
        let ask = ask(vec![user("q"), before], vec![result("1", "r")], request.clone());
        prepare(&model(THINKER), families::of(THINKER), &ask, &Contents::new()).unwrap()
    };
    let kept = prepared(thinking(calls(&[("1", "a")])));
    assert!(kept.messages[1].content[0].is_reasoning_content());
    assert!(kept.fields.is_some());
    let lost = prepared(calls(&[("1", "a")]));
    assert!(lost.messages[1].content[0].is_tool_use());
    assert_eq!(fields(&lost), Value::Null, "it would be refused");
}

#[test]
fn a_forced_call_comes_before_thinking() {
    let generation = Generation {
        effort: Some(Effort::High),
        tool_choice: ToolChoice::Required,
        ..Generation::default()
    };
    let request = TurnRequest { tools: vec![tool("a")], ..with(generation) };
    let call = said_to(&model(THINKER), request).unwrap();
    assert!(matches!(call.tools.as_ref().unwrap().tool_choice, Some(AwsChoice::Any(_))));
    assert_eq!(fields(&call), Value::Null);
}

#[test]
fn schemas_are_native_forced_or_told() {
    let generation = Generation { format: person(true), ..Generation::default() };
    let native = said("anthropic.claude-sonnet-4-5-20250929-v1:0", generation.clone());
    assert!(native.output.unwrap().text_format.is_some());
    assert!(native.tools.is_none());
    let forced = said(CLAUDE, generation.clone());
    let tools = forced.tools.unwrap();
    assert!(matches!(tools.tool_choice, Some(AwsChoice::Tool(_))));
    assert_eq!(forced.reading.answer_tool.unwrap().name, "json_answer");
    let told = said("meta.llama3-1-70b-instruct-v1:0", generation);
    let Some([SystemContentBlock::Text(words)]) = told.system.as_deref() else { panic!() };
    assert!(words.contains("JSON schema"));
}

#[test]
fn with_the_clients_tools_beside_it_any_call_will_do() {
    let generation = Generation { format: person(false), ..Generation::default() };
    let request = TurnRequest { tools: vec![tool("a")], ..with(generation.clone()) };
    let tools = said_to(&model(CLAUDE), request).unwrap().tools.unwrap();
    assert_eq!(tools.tools.len(), 2);
    assert!(matches!(tools.tool_choice, Some(AwsChoice::Any(_))));
    let thinks = Generation { effort: Some(Effort::Low), ..generation };
    let call = said(THINKER, thinks);
    assert!(call.tools.unwrap().tool_choice.is_none());
    assert!(matches!(&call.system.unwrap()[0], SystemContentBlock::Text(text)
        if text.contains("json_answer")));
}

#[test]
fn instructions_stand_beside_the_conversation_or_before_it() {
    let instructions = TurnRequest {
        messages: vec![Message::text(Role::System, "Be brief."), user("Hello")],
        ..TurnRequest::default()
    };
    let call = said_to(&model(CLAUDE), instructions.clone()).unwrap();
    assert_eq!(call.system.unwrap()[0].as_text().unwrap(), "Be brief.");
    let call = said_to(&model("amazon.titan-text-express-v1"), instructions).unwrap();
    assert!(call.system.is_none());
    assert_eq!(call.messages[0].content[0].as_text().unwrap(), "Be brief.");
}

#[test]
fn prompts_are_marked_for_the_cache_unless_told_not_to() {
    let history = vec![user("one"), assistant("1")];
    let points = |model: &Model, id: &str| {
        let request = TurnRequest {
            messages: vec![Message::text(Role::System, "Be brief.")],
            tools: vec![tool("a")],
            ..TurnRequest::default()
        };
        let ask = ask(history.clone(), vec![user("two")], request);
        let call = prepare(model, families::of(id), &ask, &Contents::new()).unwrap();
        let blocks = call.messages.iter().flat_map(|message| &message.content);
        let in_messages = blocks.filter(|block| block.is_cache_point()).count();
        let in_system = call.system.iter().flatten().filter(|b| b.is_cache_point()).count();
        let tools = call.tools.unwrap().tools;
        (tools.iter().filter(|tool| tool.is_cache_point()).count(), in_system, in_messages)
    };
    assert_eq!(points(&model(THINKER), THINKER), (1, 1, 2));
    let nova = "amazon.nova-lite-v1:0";
    assert_eq!(points(&model(nova), nova), (0, 1, 2));
    assert_eq!(points(&model(CLAUDE), CLAUDE), (0, 0, 0));
    let mut off = model(THINKER);
    off.text.prompt_cache = PromptCache::Off;
    assert_eq!(points(&off, THINKER), (0, 0, 0));
}

#[test]
fn the_clients_own_points_stand_where_it_put_them_and_alone() {
    let mut system = Message::text(Role::System, "Be brief.");
    system.keep_to_here(CacheLife::Hour);
    system.parts.push(Part::Text("It is noon.".to_owned()));
    let kept = Tool { cache: Some(CacheLife::Hour), ..tool("a") };
    let request = TurnRequest {
        messages: vec![system],
        tools: vec![kept, tool("b")],
        ..TurnRequest::default()
    };
    let prepared = |id: &str| {
        let ask = ask(vec![user("one"), assistant("1")], vec![user("two")], request.clone());
        prepare(&model(id), families::of(id), &ask, &Contents::new()).unwrap()
    };
    let claude = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    for (id, tool_points, ttl) in [
        (claude, 1, Some(CacheTtl::OneHour)),
        (THINKER, 1, None),
        ("amazon.nova-lite-v1:0", 0, None),
    ] {
        let call = prepared(id);
        let system = call.system.unwrap();
        assert_eq!(system[0].as_text().unwrap(), "Be brief.");
        assert_eq!(system[1].as_cache_point().unwrap().ttl, ttl, "{id}");
        assert_eq!(system[2].as_text().unwrap(), "It is noon.");
        let tools = call.tools.unwrap().tools;
        let points = tools.iter().filter(|tool| tool.is_cache_point()).count();
        assert_eq!((points, tools[1].is_cache_point()), (tool_points, tool_points == 1), "{id}");
        assert!(call.messages.iter().flat_map(|m| &m.content).all(|b| !b.is_cache_point()));
    }
    let without = prepared(CLAUDE).system.unwrap();
    assert_eq!(without, [SystemContentBlock::Text("Be brief.\n\nIt is noon.".to_owned())]);
}

#[test]
fn a_strict_tool_is_one_where_the_model_keeps_to_schemas_and_the_schema_is_closed() {
    let closed = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let strict = |id: &str, schema: &Value| {
        let tool = Tool { strict: Some(true), parameters: Some(schema.clone()), ..tool("a") };
        let request = TurnRequest { tools: vec![tool], ..TurnRequest::default() };
        let tools = said_to(&model(id), request).unwrap().tools.unwrap().tools;
        tools[0].as_tool_spec().unwrap().strict
    };
    let claude = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    assert_eq!(strict(claude, &closed), Some(true));
    assert_eq!(strict(claude, &json!({"type": "object"})), None);
    assert_eq!(strict(CLAUDE, &closed), None);
}

#[test]
fn invocation_logs_are_told_whose_session_it_is_and_the_requests_notes() {
    let mut request = TurnRequest::default();
    let long = "x".repeat(257);
    for (name, value) in [("plan", "gold"), ("wild", "a|b"), ("long", &long), ("tenant", "evil")] {
        request.metadata.insert(name.to_owned(), value.to_owned());
    }
    let told = said_to(&model(CLAUDE), request.clone()).unwrap().metadata;
    let mut told: Vec<_> = told.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    told.sort_unstable();
    assert_eq!(told, [("plan", "gold"), ("session_id", "call_7"), ("tenant", "acme")]);
    for index in 0..30 {
        request.metadata.insert(format!("note{index}"), "x".to_owned());
    }
    assert_eq!(said_to(&model(CLAUDE), request).unwrap().metadata.len(), 16);
}

#[test]
fn tiers_latency_and_guardrails_are_the_requests_or_the_models() {
    let mut set = model(CLAUDE);
    set.text.service_tier = Some("flex".to_owned());
    set.agents.latency = Some(Latency::Optimized);
    set.guardrail.id = Some("gr1".to_owned());
    let tier = |asked: Option<&str>| {
        let service_tier = asked.map(str::to_owned);
        let call = said_to(&set, with(Generation { service_tier, ..Generation::default() }))?;
        Ok::<_, Failure>(call.tier.map(|tier| tier.r#type))
    };
    assert_eq!(tier(None).unwrap(), Some(ServiceTierType::Flex));
    assert_eq!(tier(Some("auto")).unwrap(), Some(ServiceTierType::Flex));
    assert_eq!(tier(Some("priority")).unwrap(), Some(ServiceTierType::Priority));
    assert_eq!(tier(Some("default")).unwrap(), None);
    assert_eq!(tier(Some("scale")).unwrap_err().param.as_deref(), Some("service_tier"));
    let call = said_to(&set, TurnRequest::default()).unwrap();
    let latency = call.performance.as_ref().unwrap().latency.clone();
    assert_eq!(latency, PerformanceConfigLatency::Optimized);
    let guardrail = call.stream_guardrail().unwrap();
    assert_eq!(guardrail.guardrail_identifier(), "gr1");
    assert_eq!(guardrail.guardrail_version(), "DRAFT");
}

#[test]
fn what_cannot_be_had_is_refused_where_it_stands() {
    let cases = [
        (
            CLAUDE,
            Generation { effort: Some(Effort::High), ..Generation::default() },
            "reasoning_effort",
        ),
        ("xai.grok-4", Generation { stop: vec!["x".to_owned()], ..Generation::default() }, "stop"),
    ];
    for (id, generation, param) in cases {
        let failure = said_to(&model(id), with(generation)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::UnsupportedParameter);
        assert_eq!(failure.param.as_deref(), Some(param));
    }
}

#[test]
fn a_model_that_streams_no_tools_answers_in_one_piece() {
    let llama = model("us.meta.llama3-3-70b-instruct-v1:0");
    assert!(said_to(&llama, TurnRequest::default()).unwrap().streams);
    let request = TurnRequest { tools: vec![tool("a")], ..TurnRequest::default() };
    assert!(!said_to(&llama, request.clone()).unwrap().streams);
    assert!(said_to(&model(CLAUDE), request).unwrap().streams);
    let mut whole = model(CLAUDE);
    whole.stream = false;
    assert!(!said_to(&whole, TurnRequest::default()).unwrap().streams);
}

#[test]
fn urls_are_bounded_and_the_latest_come_first() {
    let pointing = |numbers: std::ops::Range<usize>| {
        let url = |n| format!("https://example.com/{n}.png");
        let part = |n| attached(json!({"type": "image_url", "image_url": {"url": url(n)}}));
        Message { parts: numbers.map(part).collect(), ..user("") }
    };
    let earlier = vec![pointing(0..15), assistant("Nice."), pointing(15..30)];
    let found = urls(&ask(earlier, vec![pointing(30..31)], TurnRequest::default())).unwrap();
    assert_eq!(found.len(), 20);
    assert_eq!(found[0], "https://example.com/30.png");
    assert!(found.contains(&"https://example.com/29.png".to_owned()));
    let many = ask(Vec::new(), vec![pointing(0..21)], TurnRequest::default());
    assert_eq!(urls(&many).unwrap_err().param.as_deref(), Some("messages"));
}
