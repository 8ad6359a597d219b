//! Conversations that Bedrock would refuse as they stand.

use std::collections::HashMap;

use aws_sdk_bedrockruntime::types::{ContentBlock, ConversationRole, ToolResultContentBlock};
use serde_json::json;

use super::super::families;
use super::super::media::Media;
use super::super::names::ToolNames;
use super::super::raw_json::RawJson;
use super::super::transcript::{Manner, Writer, lacks_thoughts};
use super::{CLAUDE, assistant, attached, calls, failed, result, thinking, user};
use crate::turn::{CacheLife, Failure, Message, Part};

/// What goes upstream, a line a message, its blocks in short.
fn written_for(
    model: &str,
    change: fn(&mut Manner),
    history: &[Message],
    input: &[Message],
) -> Result<Vec<String>, Failure> {
    let family = families::of(model);
    let mut manner = Manner { family, calls_as_text: false, thoughts: false };
    change(&mut manner);
    let (mut names, mut json, none) = (ToolNames::default(), RawJson::default(), HashMap::new());
    let writer = Writer::new(manner, Media::new(family.reads, &none), &mut names, &mut json);
    let history: Vec<_> = history.iter().cloned().map(std::sync::Arc::new).collect();
    let said = writer.write(&history, input)?;
    let line = |said: &super::super::transcript::Said| {
        let role = if said.role == ConversationRole::User { "user" } else { "assistant" };
        let blocks: Vec<_> = said.blocks.iter().map(|block| short(block, &json)).collect();
        format!("{role}: {}", blocks.join(" | "))
    };
    Ok(said.iter().map(line).collect())
}

fn written(history: &[Message], input: &[Message]) -> Vec<String> {
    written_for(CLAUDE, |_| {}, history, input).unwrap()
}

fn short(block: &ContentBlock, json: &RawJson) -> String {
    match block {
        ContentBlock::Text(text) => text.clone(),
        ContentBlock::ToolUse(call) => {
            format!("call {} {} {}", call.tool_use_id, call.name, json.value(&call.input))
        }
        ContentBlock::ToolResult(result) => {
            let parts = result.content.iter().map(|part| match part {
                ToolResultContentBlock::Text(text) => text.clone(),
                ToolResultContentBlock::Image(image) => format!("{} image", image.format.as_str()),
                other => format!("{other:?}"),
            });
            let parts: Vec<_> = parts.collect();
            let status = result.status.as_ref().map_or("", |status| status.as_str());
            format!("result {} {}{status}", result.tool_use_id, parts.join("+"))
        }
        ContentBlock::ReasoningContent(_) => "thought".to_owned(),
        ContentBlock::CachePoint(_) => "point".to_owned(),
        ContentBlock::Image(image) => format!("{} image", image.format.as_str()),
        ContentBlock::Document(document) => format!("document {}", document.name),
        other => format!("{other:?}"),
    }
}

#[test]
fn roles_alternate_and_the_user_speaks_first() {
    let history = [assistant("Hello!"), user("one"), user("two"), assistant(""), user("three")];
    let expected = ["user: (no message)", "assistant: Hello!", "user: one | two | three"];
    assert_eq!(written(&history, &[]), expected);
}

#[test]
fn a_user_who_said_nothing_still_spoke() {
    assert_eq!(written(&[assistant("a")], &[user("  \n")])[2..], ["user: (no message)"]);
}

#[test]
fn calls_and_results_stand_together_in_the_clients_order() {
    let history = [user("q"), calls(&[("1", "a"), ("2", "b")])];
    let results = [result("2", "two"), result("1", "one")];
    let expected = [
        "user: q",
        r#"assistant: call 1 a {"z":1,"a":2} | call 2 b {"z":1,"a":2}"#,
        "user: result 1 one | result 2 two",
    ];
    assert_eq!(written(&history, &results), expected);
}

#[test]
fn a_call_without_a_result_gets_one_before_the_user_goes_on() {
    let history = [user("q"), calls(&[("1", "a"), ("2", "b")]), result("1", "one")];
    let last = written(&history, &[user("never mind")]).pop().unwrap();
    let expected = "user: result 1 one | result 2 (no result: the call was not carried out)error \
                    | never mind";
    assert_eq!(last, expected);
}

#[test]
fn a_result_whose_call_is_gone_is_told_as_text() {
    let written = written(&[], &[result("1", "one"), user("so?")]);
    assert_eq!(written, ["user: [1 gave: one] | so?"]);
}

#[test]
fn ids_that_come_twice_are_told_apart_and_stay_with_their_results() {
    let turn = [calls(&[("look_up", "look_up")]), result("look_up", "found")];
    let history: Vec<_> = [user("q")].into_iter().chain(turn.clone()).chain(turn).collect();
    let written = written(&history, &[user("q")]);
    let id = |line: &str| line.split(' ').nth(2).unwrap().to_owned();
    assert_eq!(id(&written[1]), id(&written[2]));
    assert_eq!(id(&written[3]), id(&written[4]));
    assert_ne!(id(&written[1]), id(&written[3]));
}

#[test]
fn ids_and_names_that_the_service_would_not_take_are_rewritten_alike() {
    let id = "call id/1";
    let written = written(&[user("q"), calls(&[(id, "files.read")])], &[result(id, "r")]);
    let call: Vec<_> = written[1].split(' ').collect();
    let result: Vec<_> = written[2].split(' ').collect();
    assert!(call[2].starts_with("call_id_1_") && call[3].starts_with("files_read_"), "{call:?}");
    assert_eq!(call[2], result[2]);
}

#[test]
fn arguments_that_are_no_object_become_one() {
    for (arguments, expected) in [
        ("", "{}"),
        ("{\"cut\": ", r#"{"input":"{\"cut\": "}"#),
        ("\"free text\"", r#"{"input":"free text"}"#),
        ("[1]", r#"{"input":[1]}"#),
    ] {
        let mut calling = calls(&[("1", "a")]);
        calling.tool_calls[0].arguments = arguments.to_owned();
        let line = written(&[user("q"), calling], &[result("1", "r")])[1].clone();
        assert_eq!(line, format!("assistant: call 1 a {expected}"));
    }
}

#[test]
fn an_empty_or_failed_result_says_so() {
    let history = [user("q"), calls(&[("1", "a")])];
    let empty = written(&history, &[result("1", "")]);
    assert_eq!(empty[2], "user: result 1 (no output)");
    let bad = [failed(result("1", "no such file"))];
    assert_eq!(written(&history, &bad)[2], "user: result 1 no such fileerror");
    let told = written_for("cohere.command-r-v1:0", |_| {}, &history, &bad).unwrap();
    assert_eq!(told[2], "user: result 1 The tool failed:+no such file");
}

#[test]
fn without_tools_calls_are_told_as_text() {
    let history = [user("q"), calls(&[("1", "a")]), failed(result("1", "broken"))];
    let told = written_for(CLAUDE, |manner| manner.calls_as_text = true, &history, &[user("so?")]);
    let expected = [
        "user: q",
        r#"assistant: [called a with {"z":1,"a":2}]"#,
        "user: [a failed with: broken] | so?",
    ];
    assert_eq!(told.unwrap(), expected);
}

#[test]
fn a_model_that_thinks_gets_its_thoughts_back_before_its_words() {
    let history = [user("q"), thinking(calls(&[("1", "a")]))];
    let with = written_for(CLAUDE, |manner| manner.thoughts = true, &history, &[result("1", "r")]);
    assert!(with.unwrap()[1].starts_with("assistant: thought | call 1"));
    assert!(!written(&history, &[result("1", "r")])[1].contains("thought"));
}

#[test]
fn a_turn_that_goes_on_without_its_thoughts_is_known() {
    let shared = |messages: Vec<Message>| -> Vec<_> {
        messages.into_iter().map(std::sync::Arc::new).collect()
    };
    let bare = shared(vec![user("q"), calls(&[("1", "a")])]);
    assert!(lacks_thoughts(&bare, &[result("1", "r")]));
    let thought = shared(vec![user("q"), thinking(calls(&[("1", "a")]))]);
    assert!(!lacks_thoughts(&thought, &[result("1", "r")]));
    assert!(!lacks_thoughts(&bare, &[result("1", "r"), user("q")]));
    assert!(!lacks_thoughts(&[], &[user("q")]));
}

fn png() -> Part {
    let url = "data:image/png;base64,iVBORw0KGgo=";
    attached(json!({"type": "image_url", "image_url": {"url": url}}))
}

#[test]
fn images_stand_among_words_and_in_results() {
    let mut question = user("What is this?");
    question.parts.insert(0, png());
    assert_eq!(written(&[], &[question])[0], "user: png image | What is this?");
    let history = [user("q"), calls(&[("1", "a")])];
    let mut shown = result("1", "here");
    shown.parts.push(png());
    let line = written(&history, &[shown.clone()])[2].clone();
    assert_eq!(line, "user: result 1 here+png image");
    let refused = written_for("cohere.command-r-v1:0", |_| {}, &history, &[shown]);
    assert!(refused.is_err());
}

#[test]
fn what_cannot_be_shown_any_more_does_not_end_a_conversation() {
    let mut earlier = user("Look:");
    let url = "https://example.com/gone.png";
    earlier.parts.push(attached(json!({"type": "image_url", "image_url": {"url": url}})));
    let history = [earlier.clone(), assistant("Nice.")];
    let line = written(&history, &[user("And?")])[0].clone();
    assert_eq!(line, "user: Look: | (an attachment that cannot be shown any more)");
    let new = written_for(CLAUDE, |_| {}, &[], &[earlier]);
    assert_eq!(new.unwrap_err().param.as_deref(), Some("messages"));
}

#[test]
fn a_document_stands_beside_a_text() {
    let file = json!({"filename": "a.txt", "file_data": "data:text/plain;base64,aGVsbG8="});
    let mut question = user("");
    question.parts = vec![attached(json!({"type": "file", "file": file}))];
    assert_eq!(written(&[], &[question])[0], "user: document a | See the document.");
}

#[test]
fn a_cache_point_stands_behind_the_part_that_asks_for_it() {
    let mut question = user("Long.");
    question.keep_to_here(CacheLife::FiveMinutes);
    question.parts.push(Part::Text("Short.".to_owned()));
    let with = written_for(super::THINKER, |_| {}, &[], std::slice::from_ref(&question)).unwrap();
    assert_eq!(with[0], "user: Long. | point | Short.");
    assert_eq!(written(&[], &[question])[0], "user: Long. | Short.");
}

#[test]
fn a_cache_point_stands_behind_calls_and_results_and_never_first() {
    let mut silent = user(" ");
    silent.keep_to_here(CacheLife::Hour);
    silent.parts.push(Part::Text("q".to_owned()));
    let (mut called, mut told) = (calls(&[("1", "a"), ("2", "b")]), result("1", "one"));
    called.keep_to_here(CacheLife::Hour);
    told.keep_to_here(CacheLife::Hour);
    let history = [silent, called];
    let input = [told, result("2", "two")];
    let expected = [
        "user: q",
        r#"assistant: call 1 a {"z":1,"a":2} | call 2 b {"z":1,"a":2} | point"#,
        "user: result 1 one | point | result 2 two",
    ];
    assert_eq!(written_for(super::THINKER, |_| {}, &history, &input).unwrap(), expected);
}
