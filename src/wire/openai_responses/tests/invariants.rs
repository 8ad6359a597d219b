//! What holds of every stream, whatever happens in its turn: checked over random turns, against
//! a table of what OpenAI's description requires of each event, item and part.

use std::sync::Arc;

use crate::turn::{
    Citation, FailureKind, FileId, Fold, Logprobs, OutputFile, Reference, Role, Trace, Usage,
};

use super::*;

/// The kinds of members, as the table names them.
fn is_of(kind: &str, value: &Value) -> bool {
    match kind.strip_suffix('?') {
        Some(_) if value.is_null() => true,
        Some(kind) => is_of(kind, value),
        None => match kind {
            "int" => value.is_u64(),
            "num" => value.is_number(),
            "str" => value.is_string(),
            "bool" => value.is_boolean(),
            "list" => value.is_array(),
            "obj" => value.is_object(),
            "any" => !value.is_null(),
            _ => panic!("no such kind: {kind}"),
        },
    }
}

const PLACE: &str = "item_id:str output_index:int";
const IN_PART: &str = "item_id:str output_index:int content_index:int";
const IN_SUMMARY: &str = "item_id:str output_index:int summary_index:int";

/// What each event has besides its type and number.
const EVENTS: &[(&str, &str, &str)] = &[
    ("response.created", "", "response:obj"),
    ("response.queued", "", "response:obj"),
    ("response.in_progress", "", "response:obj"),
    ("response.completed", "", "response:obj"),
    ("response.incomplete", "", "response:obj"),
    ("response.failed", "", "response:obj"),
    ("response.output_item.added", "", "output_index:int item:obj"),
    ("response.output_item.done", "", "output_index:int item:obj"),
    ("response.content_part.added", IN_PART, "part:obj"),
    ("response.content_part.done", IN_PART, "part:obj"),
    ("response.output_text.delta", IN_PART, "delta:str logprobs:list"),
    ("response.output_text.done", IN_PART, "text:str logprobs:list"),
    ("response.output_text.annotation.added", IN_PART, "annotation_index:int annotation:obj"),
    ("response.function_call_arguments.delta", PLACE, "delta:str"),
    ("response.function_call_arguments.done", PLACE, "name:str arguments:str"),
    ("response.custom_tool_call_input.delta", PLACE, "delta:str"),
    ("response.custom_tool_call_input.done", PLACE, "input:str"),
    ("response.reasoning_text.delta", IN_PART, "delta:str"),
    ("response.reasoning_text.done", IN_PART, "text:str"),
    ("response.reasoning_summary_part.added", IN_SUMMARY, "part:obj"),
    ("response.reasoning_summary_part.done", IN_SUMMARY, "part:obj"),
    ("response.reasoning_summary_text.delta", IN_SUMMARY, "delta:str"),
    ("response.reasoning_summary_text.done", IN_SUMMARY, "text:str"),
];

/// What items, parts and annotations have besides their type.
const PIECES: &[(&str, &str)] = &[
    ("message", "id:str status:str role:str content:list"),
    ("function_call", "id:str status:str call_id:str name:str arguments:str"),
    ("custom_tool_call", "id:str status:str call_id:str name:str input:str"),
    ("reasoning", "id:str summary:list status:str"),
    ("output_text", "text:str annotations:list logprobs:list"),
    ("reasoning_text", "text:str"),
    ("summary_text", "text:str"),
    ("url_citation", "url:str title:str start_index:int end_index:int"),
    ("file_citation", "file_id:str filename:str index:int"),
];

const RESPONSE: &str = "id:str object:str created_at:int status:str error:obj? \
    incomplete_details:obj? instructions:str? model:str tools:list output:list \
    parallel_tool_calls:bool metadata:obj tool_choice:any temperature:num? top_p:num? \
    background:bool max_output_tokens:int? max_tool_calls:int? previous_response_id:str? \
    text:obj truncation:str? top_logprobs:int? reasoning:obj? conversation:obj? usage:obj?";

const USAGE: &str = "input_tokens:int input_tokens_details:obj output_tokens:int \
    output_tokens_details:obj total_tokens:int";

fn check(members: &str, value: &Value) {
    for member in members.split_whitespace() {
        let (name, kind) = member.split_once(':').unwrap();
        let held = value.get(name).unwrap_or_else(|| panic!("no {name} in {value}"));
        assert!(is_of(kind, held), "{name} is no {kind} in {value}");
    }
}

/// Checks an item, a part or an annotation, and all that is in it.
fn check_piece(piece: &Value) {
    let (_, members) = PIECES.iter().find(|(kind, _)| piece["type"] == *kind).unwrap();
    check(members, piece);
    for list in ["content", "summary", "annotations"] {
        piece[list].as_array().into_iter().flatten().for_each(check_piece);
    }
    for entry in piece["logprobs"].as_array().into_iter().flatten() {
        check("token:str logprob:num bytes:list top_logprobs:list", entry);
    }
}

fn check_response(response: &Value) {
    check(RESPONSE, response);
    response["output"].as_array().unwrap().iter().for_each(check_piece);
    if let Some(usage) = response.get("usage").filter(|usage| !usage.is_null()) {
        check(USAGE, usage);
        check("cached_tokens:int cache_write_tokens:int", &usage["input_tokens_details"]);
        check("reasoning_tokens:int", &usage["output_tokens_details"]);
    }
    if let Some(error) = response.get("error").filter(|error| !error.is_null()) {
        check("code:str message:str", error);
    }
}

fn check_event(event: &Value) {
    let (_, place, members) = EVENTS.iter().find(|(kind, ..)| event["type"] == *kind).unwrap();
    check("type:str sequence_number:int", event);
    check(place, event);
    check(members, event);
    for piece in ["item", "part", "annotation"] {
        event.get(piece).into_iter().for_each(check_piece);
    }
    event.get("response").into_iter().for_each(check_response);
}

/// A small generator (xorshift64*), the same numbers in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % bound
    }

    fn text(&mut self) -> String {
        const PIECES: &[&str] = &["a", "\"", "\\", "\n", "\u{2028}", "é", "😀", "input", "{}"];
        (0..self.below(5)).map(|_| PIECES[self.below(PIECES.len())]).collect()
    }

    fn source(&mut self) -> TurnEvent {
        let addresses = ["https://x/a", "doc-1", ""];
        let references = (0..self.below(3)).map(|_| Reference {
            kind: "WEB".to_owned(),
            location: Some(addresses[self.below(3)].to_owned()),
            text: Some(self.text()),
            metadata: None,
        });
        let references = references.collect();
        let text = Some(self.text());
        TurnEvent::Citation(Arc::new(Citation { text, span: None, references }))
    }

    /// Entries as upstreams tell them, and what is none.
    fn logprobs(&mut self) -> TurnEvent {
        let entry = |token: String| json!({"token": token, "logprob": -0.5, "bytes": null});
        let mut content: Vec<_> = (0..self.below(3)).map(|_| entry(self.text())).collect();
        if self.below(4) == 0 {
            content.push(json!("x"));
        }
        for told in content.iter_mut().filter(|told| told.is_object()) {
            told["top_logprobs"] = json!([{"token": "é", "logprob": -1, "bytes": [195, 169]}]);
        }
        TurnEvent::Logprobs(Arc::new(Logprobs { content, refusal: Vec::new(), weight: 0 }))
    }

    fn file(&mut self) -> TurnEvent {
        TurnEvent::File(Arc::new(OutputFile {
            id: FileId::generate(),
            name: self.text(),
            media_type: "text/plain".to_owned(),
            bytes: Bytes::new(),
        }))
    }

    fn call(&mut self, index: u32, events: &mut Vec<TurnEvent>) {
        let names = ["f", "custom"];
        events.push(call(index, &format!("call_{index}"), names[self.below(2)]));
        let said = json!({ "input": self.text() }).to_string();
        match self.below(3) {
            0 => {}
            1 => events.push(arguments(index, &said)),
            _ => {
                let (one, other) = said.split_at(4);
                events.extend([arguments(index, one), arguments(index, other)]);
            }
        }
    }

    fn end(&mut self) -> TurnEvent {
        match self.below(6) {
            0 => TurnEvent::Finished(FinishReason::Length),
            1 => TurnEvent::Finished(FinishReason::Interrupted),
            2 => TurnEvent::Failed(Failure::new(FailureKind::UpstreamTimeout, "too slow")),
            3 => TurnEvent::Finished(FinishReason::ToolCalls),
            _ => finished(),
        }
    }

    /// A turn by the grammar of events.
    fn turn(&mut self) -> Vec<TurnEvent> {
        let mut events = vec![TurnEvent::Started];
        let mut calls = 0;
        for _ in 0..self.below(12) {
            match self.below(12) {
                0 => {
                    let said = format!("x{}", self.text());
                    events.push(TurnEvent::Reasoning(said.as_str().into()));
                    events.push(thought(&said, "proof"));
                }
                1 => events.push(TurnEvent::Reasoning(self.text().into())),
                2 => {
                    let sealed = Thought::Redacted(self.text().into());
                    events.push(TurnEvent::Thought(sealed.into()));
                }
                3 => {
                    self.call(calls, &mut events);
                    calls += 1;
                }
                4 => events.push(self.source()),
                5 => events.push(self.file()),
                11 => events.push(self.logprobs()),
                6 => events.push(TurnEvent::Usage(Usage { input_tokens: 3, ..Usage::default() })),
                7 => events.push(TurnEvent::Trace(Arc::new(Trace {
                    step: "orchestration",
                    collaborator: None,
                    raw: None,
                    weight: 0,
                }))),
                _ => events.push(text(&self.text())),
            }
        }
        events.push(self.end());
        events
    }
}

/// The heads under which every turn is written: plain, and with all that changes the writing.
fn heads() -> [Head; 2] {
    let rich = head_of(json!({
        "tools": [{"type": "custom", "name": "custom"}, {"type": "function", "name": "f"}],
        "include": ["reasoning.encrypted_content"], "reasoning": {"summary": "auto"},
        "conversation": "conv_1",
    }));
    [head(), Head { is_background: true, previous: Some(turn()), ..rich }]
}

/// Follows a stream as a strict reader would: one item open at a time, each with the same id and
/// index from its first event to its last. Returns the items that were done.
fn follow(documents: &[Value]) -> Vec<Value> {
    let mut done = Vec::new();
    let mut open: Option<(Value, String)> = None;
    let mut likely = Vec::new();
    for document in documents {
        let kind = document["type"].as_str().unwrap();
        if let Some(index) = document.get("output_index") {
            assert_eq!(*index, json!(done.len()), "{document}");
        }
        match (kind, &mut open) {
            ("response.output_item.added", None) => {
                open = Some((document["item"]["id"].clone(), String::new()));
            }
            ("response.output_item.done", Some((id, _))) => {
                assert_eq!(document["item"]["id"], *id);
                done.push(document["item"].clone());
                open = None;
            }
            // Half a call is none.
            ("response.failed", half) => *half = None,
            (kind, Some((id, said))) => {
                assert_eq!(document["item_id"], *id, "{document}");
                said.push_str(document["delta"].as_str().unwrap_or_default());
                match (kind, document["logprobs"].as_array()) {
                    ("response.output_text.delta", Some(more)) => likely.extend_from_slice(more),
                    (_, Some(all)) => assert_eq!(*all, std::mem::take(&mut likely)),
                    (_, None) => {}
                }
                let whole = ["text", "arguments", "input"].iter().find_map(|m| document.get(m));
                if let Some(whole) = whole {
                    assert_eq!(whole, said, "{kind}");
                }
            }
            (_, None) => assert!(document.get("item_id").is_none(), "{document}"),
        }
    }
    assert!(open.is_none());
    done
}

#[test]
fn every_stream_keeps_the_protocol_and_holds_what_the_whole_does() {
    let mut dice = Dice(0x0a11);
    for _ in 0..400 {
        let events = dice.turn();
        for head in heads() {
            let documents = documents(&streamed(&head, None, &events));
            for (number, document) in documents.iter().enumerate() {
                assert_eq!(document["sequence_number"], json!(number));
                check_event(document);
            }
            assert_eq!(documents[0]["type"], "response.created");
            let last = &documents[documents.len() - 1]["response"];
            assert_eq!(last["output"], json!(follow(&documents)));
            assert_eq!(*last, whole(&head, &events));
            let ids: Vec<_> = documents.iter().filter_map(|d| d.pointer("/response/id")).collect();
            assert!(ids.iter().all(|id| **id == format!("resp_{SUFFIX}")));
        }
    }
}

#[test]
fn a_stream_goes_on_after_any_frame_with_exactly_the_rest() {
    let mut dice = Dice(0x9e57);
    for _ in 0..60 {
        let events = dice.turn();
        for head in heads() {
            let all = streamed(&head, None, &events);
            let mut rest = all.as_str();
            let mut number = 0;
            while let Some((_, after)) = rest.split_once("\n\n") {
                assert_eq!(streamed(&head, Some(number), &events), after);
                (rest, number) = (after, number + 1);
            }
            assert_eq!(streamed(&head, Some(number + 5), &events), "");
        }
    }
}

#[test]
fn an_encoder_that_is_not_opened_or_skips_counts_the_same_frames() {
    let mut dice = Dice(0x5c1b);
    for _ in 0..60 {
        let events = dice.turn();
        let head = heads()[1].clone();
        let options = Options { starting_after: Some(1), ..Options::default() };
        let mut unopened = Responses.encoder(head.clone(), options);
        let mut skipping = Responses.encoder(head.clone(), Options::default());
        let (mut one, mut other) = (BytesMut::new(), BytesMut::new());
        skipping.skip(&events[0]);
        for (sequence, event) in (1..).zip(&events) {
            unopened.event(sequence, event, &mut one);
            if sequence > 1 {
                skipping.event(sequence, event, &mut other);
            }
        }
        let all = streamed(&head, None, &events);
        assert_eq!(one, streamed(&head, Some(1), &events).as_bytes());
        assert!(all.ends_with(std::str::from_utf8(&other).unwrap()));
    }
}

#[test]
fn every_response_on_the_way_is_one_too() {
    let mut dice = Dice(0x0f0f);
    for _ in 0..100 {
        let events = dice.turn();
        for head in heads() {
            for end in 0..=events.len() {
                let body =
                    response((&head, Options::default()), &events[..end], Some(head.created));
                check_response(&serde_json::from_slice(&body).unwrap());
            }
        }
    }
}

#[test]
fn an_answer_that_comes_back_reads_as_the_session_holds_it() {
    let mut dice = Dice(0xbac2);
    let head = heads()[1].clone();
    for _ in 0..500 {
        let mut events = dice.turn();
        // Thinking that its upstream did not complete is no thought, and an end that cuts is
        // told of the items alone.
        events.retain(|event| !matches!(event, TurnEvent::Reasoning(_) | TurnEvent::Thought(_)));
        events.insert(1, TurnEvent::Reasoning("Hm.".into()));
        events.insert(2, thought("Hm.", "proof"));
        *events.last_mut().unwrap() = finished();
        let mut fold = Fold::default();
        events.iter().for_each(|event| fold.push(event).unwrap());
        let held = fold.into_message();
        let mut input = vec![json!({"role": "user", "content": "hi"})];
        input.extend(whole(&head, &events)["output"].as_array().unwrap().clone());
        let came_back = decoded(&json!({ "input": input })).messages.pop().unwrap();
        assert_eq!(came_back.role, Role::Assistant);
        assert_eq!(came_back.thoughts, held.thoughts);
        assert_eq!(came_back.plain_text(), held.plain_text());
        let calls = came_back.tool_calls.iter().zip(&held.tool_calls);
        assert_eq!(came_back.tool_calls.len(), held.tool_calls.len());
        for (ours, theirs) in calls {
            assert_eq!((&ours.id, &ours.name), (&theirs.id, &theirs.name));
        }
    }
}
