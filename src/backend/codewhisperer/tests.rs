//! Whole conversations as they are written for the service.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::backend::{Ask, AwsClients, KINDS, Kind};
use crate::config::{Config, Model};
use crate::turn::{
    Confirmation, Failure, FailureKind, Message, Part, Role, SessionKey, Status, Tool, ToolCall,
    TurnRequest, UpstreamSessionId,
};

use super::access::Conversations;
use super::request::Call;
use super::{NAME, TARGET, Token, request};

const DOT: &str = "data:image/gif;base64,R0lGODlh";

fn user(text: &str) -> Message {
    Message::text(Role::User, text)
}

fn assistant(text: &str) -> Message {
    Message::text(Role::Assistant, text)
}

fn calling(calls: &[(&str, &str)]) -> Message {
    let call = |(id, name): &(&str, &str)| ToolCall {
        id: (*id).to_owned(),
        name: (*name).to_owned(),
        arguments: "{\"x\":1}".to_owned(),
        confirmation: Confirmation::None,
    };
    Message { tool_calls: calls.iter().map(call).collect(), parts: Vec::new(), ..assistant("") }
}

fn result(id: &str, text: &str) -> Message {
    Message { tool_call_id: Some(id.to_owned()), ..Message::text(Role::Tool, text) }
}

fn picture() -> Part {
    let value = json!({"type": "image_url", "image_url": {"url": DOT}});
    Part::Attachment { kind: "image_url".to_owned(), value: Arc::new(value) }
}

fn offering(tools: &[&str]) -> TurnRequest {
    let tool = |name: &&str| Tool {
        name: (*name).to_owned(),
        description: None,
        parameters: None,
        strict: None,
        cache: None,
    };
    TurnRequest { tools: tools.iter().map(tool).collect(), ..TurnRequest::default() }
}

fn prepared(history: &[Message], input: &[Message], request: TurnRequest) -> Result<Call, Failure> {
    let ask = Ask {
        key: SessionKey { tenant: "acme".parse().unwrap(), id: "s1".parse().unwrap() },
        upstream: UpstreamSessionId::generate(),
        history: history.iter().cloned().map(Arc::new).collect(),
        input: input.to_vec(),
        pending: None,
        system: Arc::default(),
        request: Arc::new(request),
    };
    let model = Model::new("q".parse().unwrap(), NAME);
    request::prepare(&model, &ask, &HashMap::new())
}

fn said(history: &[Message], input: &[Message], request: TurnRequest) -> Result<Value, Failure> {
    let call = prepared(history, input, request)?;
    let body: Value = serde_json::from_slice(&call.body(None).unwrap()).unwrap();
    Ok(body["conversationState"].clone())
}

/// Who says what, in order, the current message last.
fn told<'v>(state: &'v Value) -> Vec<(&'static str, &'v str)> {
    let entries = state["history"].as_array().unwrap().iter().chain([&state["currentMessage"]]);
    let entry = |entry: &'v Value| match entry.get("userInputMessage") {
        Some(said) => ("user", said["content"].as_str().unwrap()),
        None => ("assistant", entry["assistantResponseMessage"]["content"].as_str().unwrap()),
    };
    entries.map(entry).collect()
}

fn now(state: &Value) -> &Value {
    &state["currentMessage"]["userInputMessage"]
}

#[test]
fn sides_alternate_and_the_user_speaks_first_and_last() {
    let history = [assistant("Hello."), user("one"), user("two"), assistant("three")];
    let state = said(&history, &[assistant("and four")], TurnRequest::default()).unwrap();
    assert_eq!(
        told(&state),
        [
            ("user", "(no message)"),
            ("assistant", "Hello."),
            ("user", "one\n\ntwo"),
            ("assistant", "three\n\nand four"),
            ("user", "Continue."),
        ]
    );
    let silent = said(&[], &[user("")], TurnRequest::default()).unwrap();
    assert_eq!(told(&silent), [("user", "(no message)")]);
}

#[test]
fn results_stand_right_behind_their_calls_and_missing_ones_are_said_to_be() {
    let history = [user("look"), calling(&[("a", "look"), ("b", "look")])];
    let failed = Message { status: Status::Failed, ..result("b", "no such place") };
    let state = said(&history, &[failed], offering(&["look"])).unwrap();
    let results = &now(&state)["userInputMessageContext"]["toolResults"];
    let expected = json!([
        {"toolUseId": "a", "status": "error",
            "content": [{"text": "(no result: the call was not carried out)"}]},
        {"toolUseId": "b", "status": "error", "content": [{"text": "no such place"}]},
    ]);
    assert_eq!(results, &expected);
    assert_eq!(now(&state)["content"], " ");
    let uses = &state["history"][1]["assistantResponseMessage"]["toolUses"];
    assert_eq!(uses[0], json!({"toolUseId": "a", "name": "look", "input": {"x": 1}}));
}

#[test]
fn calls_of_tools_that_are_not_offered_now_are_told_in_words() {
    let history = [user("look"), calling(&[("a", "look")]), result("a", "found"), assistant("Ok")];
    let state = said(&history, &[user("thanks")], offering(&["other"])).unwrap();
    assert_eq!(
        told(&state),
        [
            ("user", "look"),
            ("assistant", "[called look with {\"x\":1}]"),
            ("user", "[look gave: found]"),
            ("assistant", "Ok"),
            ("user", "thanks"),
        ]
    );
    let stray = said(&[user("hi")], &[result("gone", "old")], TurnRequest::default()).unwrap();
    assert_eq!(told(&stray), [("user", "hi\n\n[gone gave: old]")]);
}

#[test]
fn one_id_for_two_calls_becomes_two() {
    let history =
        [user("look"), calling(&[("a", "look")]), result("a", "1"), calling(&[("a", "look")])];
    let state = said(&history, &[result("a", "2")], offering(&["look"])).unwrap();
    let first = &state["history"][1]["assistantResponseMessage"]["toolUses"][0]["toolUseId"];
    let second = &state["history"][3]["assistantResponseMessage"]["toolUses"][0]["toolUseId"];
    assert_ne!(first, second);
    let results = &now(&state)["userInputMessageContext"]["toolResults"];
    assert_eq!(&results[0]["toolUseId"], second);
}

#[test]
fn a_message_has_ten_images_at_most() {
    let with = |count: usize| Message { parts: vec![picture(); count], ..user("") };
    let state = said(&[], &[with(10)], TurnRequest::default()).unwrap();
    assert_eq!(now(&state)["images"].as_array().unwrap().len(), 10);
    let failure = said(&[], &[with(11)], TurnRequest::default()).unwrap_err();
    assert_eq!(failure.kind, FailureKind::BadRequest);
    let earlier = said(&[with(11), assistant("Nice.")], &[user("hm")], TurnRequest::default());
    let earlier = earlier.unwrap();
    let images = &earlier["history"][0]["userInputMessage"]["images"];
    assert_eq!(images.as_array().unwrap().len(), 10);
}

#[test]
fn what_can_not_be_shown_is_refused_when_it_is_new_and_left_out_when_it_is_not() {
    let sound = json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}});
    let part = Part::Attachment { kind: "input_audio".to_owned(), value: Arc::new(sound) };
    let heard = Message { parts: vec![part], ..user("") };
    let failure = said(&[], std::slice::from_ref(&heard), TurnRequest::default()).unwrap_err();
    assert_eq!(failure.kind, FailureKind::UnsupportedParameter);
    let state = said(&[heard, assistant("Ok")], &[user("hm")], TurnRequest::default()).unwrap();
    assert_eq!(told(&state)[0].1, "(an attachment that cannot be shown any more)");
}

#[test]
fn what_is_too_long_for_a_tools_description_goes_to_the_instructions() {
    let mut request = offering(&["look"]);
    request.tools[0].description = Some(format!("{}and more", "x".repeat(10_000)));
    let state = said(&[], &[user("hi")], request).unwrap();
    let spec = &now(&state)["userInputMessageContext"]["tools"][0]["toolSpecification"];
    assert_eq!(spec["description"].as_str().unwrap().len(), 10_000);
    let content = now(&state)["content"].as_str().unwrap();
    assert!(content.contains("More about the tool look: and more"), "{content}");
}

#[test]
fn tools_that_make_no_sense_are_refused_by_their_place() {
    let twice = said(&[], &[user("hi")], offering(&["look", "look"])).unwrap_err();
    assert_eq!(twice.param.as_deref(), Some("tools[1].function"));
    let mut request = offering(&["look"]);
    request.tools[0].parameters = Some(json!("any"));
    let failure = said(&[], &[user("hi")], request).unwrap_err();
    assert_eq!(failure.param.as_deref(), Some("tools[0].function.parameters"));
}

#[test]
fn a_session_is_one_conversation_whose_id_no_client_chose() {
    let id = |state: Value| state["conversationId"].as_str().unwrap().to_owned();
    let first = id(said(&[], &[user("hi")], TurnRequest::default()).unwrap());
    let second = id(said(&[user("hi")], &[user("ho")], TurnRequest::default()).unwrap());
    assert_eq!(first, second);
    assert!(uuid::Uuid::parse_str(&first).is_ok(), "{first}");
}

#[test]
fn a_conversation_that_moved_goes_on_where_it_went_last() {
    let known = Conversations::default();
    let mut call = prepared(&[], &[user("hi")], TurnRequest::default()).unwrap();
    let own = call.conversation().to_owned();
    known.resume(&own, &mut call);
    assert_eq!(call.conversation(), own);
    for known_as in ["another", "and another"] {
        known.moved(own.clone(), known_as.to_owned());
        known.resume(&own, &mut call);
        assert_eq!(call.conversation(), known_as);
    }
}

#[test]
fn a_conversation_that_is_longer_than_the_service_takes_says_so() {
    let history = |turns: usize| -> Vec<Message> {
        (0..turns).flat_map(|_| [user("hi"), assistant("ho")]).collect()
    };
    let longest = said(&history(5_000), &[user("hi")], TurnRequest::default()).unwrap();
    assert_eq!(longest["history"].as_array().unwrap().len(), 10_000);
    let failure = said(&history(5_001), &[user("hi")], TurnRequest::default()).unwrap_err();
    assert_eq!(failure.kind, FailureKind::ContextLengthExceeded);
}

#[test]
fn direct_names_have_a_slash_or_nothing_behind_them() {
    let kind: &Kind = KINDS.iter().find(|kind| kind.name == NAME).unwrap();
    for (name, expected) in [
        ("codewhisperer", Some(None)),
        ("codewhisperer/claude-sonnet-4", Some(Some("claude-sonnet-4"))),
        ("codewhisperer/", None),
        ("codewhisperers", None),
        ("openai/codewhisperer", None),
    ] {
        let mut model = Model::new("q".parse().unwrap(), NAME);
        let rest = kind.behind_prefix(name);
        let named = rest.and_then(|rest| (kind.direct)(&mut model, rest).ok());
        let found = named.map(|()| model.text.model_id.as_deref());
        assert_eq!(found, expected, "{name}");
    }
}

#[tokio::test]
async fn the_service_may_not_use_what_is_said_unless_it_is_let() {
    for (opt_out, told) in [(true, "true"), (false, "false")] {
        let mut config = Config::default();
        config.codewhisperer.opt_out = opt_out;
        let aws = AwsClients::emulated("http://127.0.0.1:9/");
        let access = aws.codewhisperer(&config);
        let headers = access.headers(TARGET, &Token::for_tests("t")).unwrap();
        assert_eq!(headers["x-amzn-codewhisperer-optout"], told);
        assert_eq!(headers["authorization"], "Bearer t");
        assert!(headers["authorization"].is_sensitive());
        assert!(access.headers(TARGET, &Token::for_tests("line\nbreak")).is_none());
        assert_eq!(access.url(None, "eu-central-1"), "http://127.0.0.1:9/");
    }
}
