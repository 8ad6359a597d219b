//! Turns as they are written for an upstream.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::backend::Ask;
use crate::backend::fields::{ANY_OTHER, CACHE_CONTROL, STRICT, Treatment};
use crate::config::Model;
use crate::turn::{
    AnswerFormat, CacheLife, Confirmation, Effort, Generation, JsonSchema, Message, Part, Role,
    SessionKey, Status, Thought, Tool, ToolCall, ToolChoice, TurnRequest, UpstreamSessionId,
};

use super::server::Spelling;
use super::{fields, request};

const SPELLING: Spelling = Spelling { include_usage: true, newer_limit: true, thoughts: true };

fn model() -> Model {
    let mut model = Model::new("m".parse().unwrap(), "openai");
    model.text.model_id = Some("gpt".to_owned());
    model
}

fn ask(history: Vec<Message>, input: Vec<Message>, request: TurnRequest) -> Ask {
    let messages = request.messages.iter();
    let system = messages.filter(|message| message.role == Role::System).cloned().collect();
    Ask {
        key: SessionKey { tenant: "acme".parse().unwrap(), id: "s1".parse().unwrap() },
        upstream: UpstreamSessionId::generate(),
        history: history.into_iter().map(Arc::new).collect(),
        input,
        pending: None,
        system,
        request: Arc::new(request),
    }
}

fn written(ask: &Ask, spelling: Spelling) -> Value {
    serde_json::from_slice(&request::write(&model(), ask, spelling).unwrap()).unwrap()
}

fn messages(history: Vec<Message>, input: Vec<Message>) -> Value {
    written(&ask(history, input, TurnRequest::default()), SPELLING)["messages"].take()
}

fn user(text: &str) -> Message {
    Message::text(Role::User, text)
}

fn call(id: &str, arguments: &str) -> ToolCall {
    let (id, name, arguments) = (id.to_owned(), "look".to_owned(), arguments.to_owned());
    ToolCall { id, name, arguments, confirmation: Confirmation::None }
}

fn calls(text: &str, calls: Vec<ToolCall>) -> Message {
    Message { tool_calls: calls, ..Message::text(Role::Assistant, text) }
}

fn result(id: &str, text: &str) -> Message {
    Message { tool_call_id: Some(id.to_owned()), ..Message::text(Role::Tool, text) }
}

/// A request that says something by every member.
fn full_request() -> TurnRequest {
    let extra = json!({"thinking": {"type": "enabled"}, "verbosity": "low", "logit_bias": {"1": 1},
        "logprobs": true, "top_logprobs": 2, "prediction": {"content": "x"}, "web_search_options": {},
        "moderation": {"model": "x"}, "prompt_cache_key": "k", "prompt_cache_options": {"ttl": "1h"},
        "prompt_cache_retention": "24h", "store": true, "user": "ann", "safety_identifier": "s",
        "any other": [1]});
    let Value::Object(extra) = extra else { unreachable!("it is written so") };
    let schema = json!({"type": "object"});
    let tool = Tool {
        name: "look".to_owned(),
        description: None,
        parameters: Some(schema.clone()),
        strict: Some(true),
        cache: Some(CacheLife::Hour),
    };
    TurnRequest {
        messages: vec![Message::text(Role::System, "be kind")],
        metadata: [("a".to_owned(), "b".to_owned())].into(),
        tools: vec![tool],
        generation: Generation {
            max_tokens: Some(9),
            temperature: Some(0.5),
            top_p: Some(0.25),
            top_k: Some(3),
            stop: vec!["END".to_owned()],
            seed: Some(-1),
            frequency_penalty: Some(1.5),
            presence_penalty: Some(-1.5),
            tool_choice: ToolChoice::Named("look".to_owned()),
            parallel_tool_calls: Some(false),
            format: AnswerFormat::JsonSchema(JsonSchema {
                name: "thing".to_owned(),
                description: Some("A thing.".to_owned()),
                schema,
                strict: true,
            }),
            effort: Some(Effort::High),
            thinking_budget: Some(5_000),
            service_tier: Some("flex".to_owned()),
            extra,
        },
        ..TurnRequest::default()
    }
}

#[test]
fn a_whole_request_is_written_in_openais_words() {
    let body = written(&ask(Vec::new(), vec![user("hi")], full_request()), SPELLING);
    let schema = json!({"type": "object"});
    let mut expected = json!({
        "model": "gpt",
        "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}],
        "stream": true,
        "stream_options": {"include_usage": true},
        "tools": [{"type": "function", "function": {"name": "look", "parameters": schema, "strict": true}}],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "parallel_tool_calls": false,
        "max_completion_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.25,
        "top_k": 3,
        "stop": ["END"],
        "seed": -1,
        "frequency_penalty": 1.5,
        "presence_penalty": -1.5,
        "response_format": {"type": "json_schema", "json_schema": {
            "name": "thing", "description": "A thing.", "schema": schema, "strict": true}},
        "reasoning_effort": "high",
        "service_tier": "flex",
    });
    expected.as_object_mut().unwrap().extend(full_request().generation.extra);
    assert_eq!(body, expected);
}

#[test]
fn the_table_of_members_says_what_is_written() {
    let newer = written(&ask(Vec::new(), vec![user("hi")], full_request()), SPELLING);
    let older = Spelling { newer_limit: false, ..SPELLING };
    let older = written(&ask(Vec::new(), vec![user("hi")], full_request()), older);
    for (member, treatment) in fields::FIELDS {
        let is_written = match *member {
            STRICT => newer.pointer("/tools/0/function/strict").is_some(),
            CACHE_CONTROL => newer.to_string().contains(CACHE_CONTROL),
            member => newer.get(member).is_some() || older.get(member).is_some(),
        };
        match treatment {
            Treatment::Mapped | Treatment::Passed => assert!(is_written, "{member}"),
            Treatment::Ignored | Treatment::Refused(_) => assert!(!is_written, "{member}"),
        }
    }
    assert!(newer.get(ANY_OTHER).is_some());
}

#[test]
fn what_is_not_said_is_not_written() {
    let bare = ask(Vec::new(), vec![user("hi")], TurnRequest::default());
    let spelling = Spelling { include_usage: false, ..SPELLING };
    let expected =
        json!({"model": "gpt", "messages": [{"role": "user", "content": "hi"}], "stream": true});
    assert_eq!(written(&bare, spelling), expected);
}

#[test]
fn nothing_that_is_passed_on_replaces_what_is_written_or_names_a_caller() {
    let mut request = TurnRequest::default();
    let odd = json!({"model": "x", "stream": false, "n": 4, "metadata": {"phone": "+15550100199"},
        "customer": {"number": "+15550100199"}, "min_p": 0.1});
    let Value::Object(odd) = odd else { unreachable!("it is written so") };
    request.generation.extra = odd;
    let body = written(&ask(Vec::new(), vec![user("hi")], request), SPELLING);
    let members: Vec<_> = body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["model", "messages", "stream", "stream_options", "min_p"]);
    assert_eq!((&body["model"], &body["stream"]), (&json!("gpt"), &json!(true)));
}

#[test]
fn settings_stand_in_where_the_request_says_nothing() {
    let mut model = model();
    model.text.max_tokens = std::num::NonZeroU32::new(100);
    model.text.service_tier = Some("priority".to_owned());
    let bare = ask(Vec::new(), vec![user("hi")], TurnRequest::default());
    let body = request::write(&model, &bare, SPELLING).unwrap();
    let body: Map<String, Value> = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&body["max_completion_tokens"], &body["service_tier"]),
        (&json!(100), &json!("priority"))
    );
}

#[test]
fn attachments_stay_in_their_clients_own_spelling() {
    let image = json!({"type": "image_url", "image_url": {"url": "data:,x", "detail": "low"}});
    let attachment =
        Part::Attachment { kind: "image_url".to_owned(), value: Arc::new(image.clone()) };
    let mut message = user("what is this?");
    message.parts.push(attachment);
    let content = json!([{"type": "text", "text": "what is this?"}, image]);
    assert_eq!(messages(Vec::new(), vec![message]), json!([{"role": "user", "content": content}]));
}

#[test]
fn results_stand_right_behind_their_calls() {
    let history = vec![
        user("look twice"),
        calls("", vec![call("a", "{\"x\":1}"), call("b", "")]),
        user("and hurry"),
    ];
    let mut failed = result("a", "no such place");
    failed.status = Status::Failed;
    let sent = messages(history, vec![result("b", "found"), failed]);
    let expected = json!([
        {"role": "user", "content": "look twice"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{\"x\":1}"}},
            {"id": "b", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
        {"role": "tool", "content": "error: no such place", "tool_call_id": "a"},
        {"role": "tool", "content": "found", "tool_call_id": "b"},
        {"role": "user", "content": "and hurry"},
    ]);
    assert_eq!(sent, expected);
}

#[test]
fn calls_without_results_and_results_without_calls_are_made_good() {
    let cut = Message { status: Status::Interrupted, ..calls("Let me", vec![call("a", "{\"x")]) };
    let history = vec![user("look"), cut, user("never mind"), result("gone", "old")];
    let silent = Message { parts: Vec::new(), ..Message::text(Role::Assistant, "") };
    let sent = messages([history, vec![silent]].concat(), vec![user("hello?")]);
    let told: Vec<_> = sent
        .as_array()
        .unwrap()
        .iter()
        .map(|message| (message["role"].as_str().unwrap(), message["content"].as_str().unwrap()))
        .collect();
    let expected = [
        ("user", "look"),
        ("assistant", "Let me"),
        ("tool", "no result: the call was not waited for"),
        ("user", "never mind"),
        ("user", "(an earlier tool call had this result: old)"),
        ("user", "hello?"),
    ];
    assert_eq!(told, expected);
    assert_eq!(sent[1]["tool_calls"][0]["function"]["arguments"], "{}");
}

#[test]
fn unsigned_thinking_goes_back_within_its_turn_only() {
    let thought = |text: &str| {
        let mut answer = calls("", vec![call(text, "{}")]);
        answer.thoughts = vec![
            Thought::Text { text: text.to_owned(), signature: None },
            Thought::Text { text: "signed".to_owned(), signature: Some("x".to_owned()) },
        ];
        answer
    };
    let history = vec![user("one"), thought("a"), result("a", "1"), user("two"), thought("b")];
    let request = TurnRequest::default();
    let ask = ask(history, vec![result("b", "2")], request);
    let body = written(&ask, SPELLING);
    let told: Vec<_> =
        body["messages"].as_array().unwrap().iter().map(|m| &m["reasoning_content"]).collect();
    assert_eq!(told.iter().filter(|told| !told.is_null()).count(), 1);
    assert_eq!(told[4], "b");
    let openai = written(&ask, Spelling { thoughts: false, ..SPELLING });
    assert!(!openai.to_string().contains("reasoning_content"));
}
