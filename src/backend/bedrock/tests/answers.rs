//! Answers, piece by piece.

use aws_sdk_bedrockruntime::types::StopReason;
use serde_json::json;

use super::super::answer::{Answer, NoAnswer, Reading};
use super::super::format::AnswerTool;
use super::super::piece::Piece;
use crate::turn::{FinishReason, Fold, Message, Thought, TurnEvent, Usage};

fn text(text: &str) -> Piece {
    Piece::Text(text.to_owned())
}

fn call(block: i32, name: &str) -> Piece {
    Piece::CallStarted { block, id: format!("tooluse_{block}"), name: name.to_owned() }
}

fn input(block: i32, input: &str) -> Piece {
    Piece::CallInput { block, input: input.to_owned() }
}

fn ended(block: i32) -> Piece {
    Piece::Ended { block }
}

fn stopped(reason: StopReason) -> Piece {
    Piece::Stopped { reason, at: None }
}

fn stop(reason: StopReason) -> [Piece; 2] {
    [stopped(reason), Piece::Measured(Some(Usage::default()))]
}

/// The message that the pieces make, and how it ends; the grammar is checked on the way.
fn read_with(
    reading: &Reading,
    pieces: impl IntoIterator<Item = Piece>,
) -> (Message, Result<FinishReason, NoAnswer>) {
    let mut answer = Answer::new(reading);
    let mut fold = Fold::default();
    fold.push(&TurnEvent::Started).unwrap();
    for piece in pieces {
        for event in answer.take(piece) {
            fold.push(&event).unwrap();
        }
    }
    let end = answer.end();
    (fold.into_message(), end)
}

fn read(pieces: impl IntoIterator<Item = Piece>) -> (Message, Result<FinishReason, NoAnswer>) {
    read_with(&Reading::default(), pieces)
}

fn called(message: &Message) -> Vec<(&str, &str, &str)> {
    let calls = message.tool_calls.iter();
    calls.map(|call| (call.id.as_str(), call.name.as_str(), call.arguments.as_str())).collect()
}

#[test]
fn calls_count_from_zero_though_blocks_do_not() {
    let pieces = [text("Let me see."), ended(0), call(1, "a"), input(1, "{\"x\""), input(1, ":1}")];
    let more = [ended(1), call(2, "b"), ended(2)];
    let all = pieces.into_iter().chain(more).chain(stop(StopReason::ToolUse));
    let (message, end) = read(all);
    assert_eq!(message.plain_text(), "Let me see.");
    assert_eq!(called(&message), [("tooluse_1", "a", "{\"x\":1}"), ("tooluse_2", "b", "{}")]);
    assert_eq!(end, Ok(FinishReason::ToolCalls));
}

#[test]
fn a_reply_may_begin_with_a_call_and_speak_after_it() {
    let pieces = [call(0, "a"), input(0, "{}"), ended(0), text("Done."), ended(1)];
    let (message, _) = read(pieces.into_iter().chain(stop(StopReason::ToolUse)));
    assert_eq!(called(&message), [("tooluse_0", "a", "{}")]);
    assert_eq!(message.plain_text(), "Done.");
}

#[test]
fn calls_that_come_mixed_are_put_in_order() {
    let pieces = [
        call(1, "a"),
        call(2, "b"),
        input(2, "{\"b\":"),
        input(1, "{\"a\":1}"),
        input(2, "2}"),
        ended(2),
        ended(1),
    ];
    let (message, _) = read(pieces.into_iter().chain(stop(StopReason::ToolUse)));
    let expected = [("tooluse_1", "a", "{\"a\":1}"), ("tooluse_2", "b", "{\"b\":2}")];
    assert_eq!(called(&message), expected);
}

#[test]
fn arguments_are_not_lost_where_a_block_never_ends() {
    let open = [call(0, "a"), input(0, "{\"x\":1}"), call(1, "b")];
    let (message, _) = read(open.into_iter().chain(stop(StopReason::ToolUse)));
    assert_eq!(called(&message), [("tooluse_0", "a", "{\"x\":1}"), ("tooluse_1", "b", "{}")]);
    let cut = [call(0, "a"), input(0, "{\"x\":")];
    let (message, end) = read(cut.into_iter().chain(stop(StopReason::MaxTokens)));
    assert_eq!(called(&message), [("tooluse_0", "a", "{\"x\":")]);
    assert_eq!(end, Ok(FinishReason::Length));
}

#[test]
fn only_the_first_call_counts_where_the_client_takes_one() {
    let reading = Reading { one_call: true, ..Reading::default() };
    let pieces = [call(0, "a"), ended(0), call(1, "b"), input(1, "{}"), ended(1)];
    let (message, _) = read_with(&reading, pieces.into_iter().chain(stop(StopReason::ToolUse)));
    assert_eq!(called(&message), [("tooluse_0", "a", "{}")]);
}

#[test]
fn an_id_that_the_conversation_has_already_is_given_anew() {
    let taken = ["tooluse_0".to_owned()].into();
    let reading = Reading { taken, ..Reading::default() };
    let again = [call(0, "a"), ended(0), call(0, "a"), ended(0)];
    let (message, _) = read_with(&reading, again.into_iter().chain(stop(StopReason::ToolUse)));
    let ids: std::collections::HashSet<_> = called(&message).iter().map(|(id, ..)| *id).collect();
    assert_eq!(ids.len(), 2);
    assert!(!ids.contains("tooluse_0"));
}

#[test]
fn every_stop_reason_has_its_own_end() {
    use FinishReason::{ContentFilter, Length, Stop};
    let cases = [
        (StopReason::EndTurn, Ok(Stop)),
        (StopReason::StopSequence, Ok(Stop)),
        (StopReason::MaxTokens, Ok(Length)),
        (StopReason::ModelContextWindowExceeded, Ok(Length)),
        (StopReason::GuardrailIntervened, Ok(ContentFilter)),
        (StopReason::ContentFiltered, Ok(ContentFilter)),
        (StopReason::ToolUse, Ok(Stop)),
        (StopReason::from("something_new"), Ok(Stop)),
        (StopReason::MalformedModelOutput, Err(NoAnswer::Malformed)),
        (StopReason::MalformedToolUse, Err(NoAnswer::Malformed)),
    ];
    for (reason, expected) in cases {
        let (_, end) = read([text("x")].into_iter().chain(stop(reason.clone())));
        assert_eq!(end, expected, "{reason}");
    }
}

#[test]
fn a_stream_is_whole_only_with_both_of_its_ends() {
    assert_eq!(read([text("We off")]).1, Err(NoAnswer::CutOff));
    let unmeasured = [text("We offer."), stopped(StopReason::EndTurn)];
    assert_eq!(read(unmeasured).1, Err(NoAnswer::CutOff));
    assert_eq!(read([]).1, Err(NoAnswer::CutOff));
}

#[test]
fn thoughts_are_shown_where_they_may_be_and_kept_with_their_proof() {
    let thought = |text: &str| Piece::Thought { block: 0, text: text.to_owned() };
    let signature = Piece::Signature { block: 0, signature: "proof".to_owned() };
    let redacted = Piece::Redacted { block: 1, bytes: b"secret".to_vec() };
    let pieces = [thought("Hm, "), thought("yes."), signature, ended(0), redacted, ended(1)];
    for shows_thoughts in [true, false] {
        let reading = Reading { shows_thoughts, ..Reading::default() };
        let mut answer = Answer::new(&reading);
        let events: Vec<_> = pieces
            .iter()
            .flat_map(|piece| answer.take(piece.clone()).collect::<Vec<_>>())
            .collect();
        let shown = events.iter().filter(|event| matches!(event, TurnEvent::Reasoning(_))).count();
        assert_eq!(shown, if shows_thoughts { 2 } else { 0 });
        let kept: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                TurnEvent::Thought(thought) => Some(Thought::clone(thought)),
                _ => None,
            })
            .collect();
        let whole =
            Thought::Text { text: "Hm, yes.".to_owned(), signature: Some("proof".to_owned()) };
        assert_eq!(kept, [whole, Thought::Redacted(b"secret".as_slice().into())]);
    }
}

#[test]
fn a_thought_without_proof_is_not_kept() {
    let thought = Piece::Thought { block: 0, text: "Hm.".to_owned() };
    let (message, _) = read([thought, ended(0)].into_iter().chain(stop(StopReason::EndTurn)));
    assert!(message.thoughts.is_empty());
}

fn answer_tool(is_wrapped: bool) -> Reading {
    let tool = AnswerTool {
        name: "json_answer".to_owned(),
        description: String::new(),
        schema: json!({}),
        is_wrapped,
        is_forced: true,
    };
    Reading { answer_tool: Some(tool), ..Reading::default() }
}

#[test]
fn the_input_of_the_answers_own_tool_is_the_answer() {
    let reading = answer_tool(false);
    let mut answer = Answer::new(&reading);
    let _ = answer.take(text("Here you are:")).count();
    let _ = answer.take(call(1, "json_answer")).count();
    let streamed: Vec<_> = answer.take(input(1, "{\"a\"")).collect();
    assert_eq!(streamed, [TurnEvent::Text("{\"a\"".into())]);
    let pieces = [
        text("Here you are:"),
        call(1, "json_answer"),
        input(1, "{\"a\""),
        input(1, ":1}"),
        ended(1),
        text("Anything else?"),
    ];
    let (message, end) = read_with(&reading, pieces.into_iter().chain(stop(StopReason::ToolUse)));
    assert_eq!(message.plain_text(), "{\"a\":1}");
    assert_eq!(end, Ok(FinishReason::Stop));
    assert!(message.tool_calls.is_empty());
}

#[test]
fn a_wrapped_answer_is_unwrapped_and_an_empty_one_is_an_object() {
    let pieces = [call(0, "json_answer"), input(0, "{\"value\":[1,"), input(0, "2]}"), ended(0)];
    let all = pieces.into_iter().chain(stop(StopReason::ToolUse));
    assert_eq!(read_with(&answer_tool(true), all).0.plain_text(), "[1,2]");
    let empty = [call(0, "json_answer"), ended(0)].into_iter().chain(stop(StopReason::ToolUse));
    assert_eq!(read_with(&answer_tool(false), empty).0.plain_text(), "{}");
}

#[test]
fn a_model_that_answers_in_words_or_calls_another_tool_is_heard_too() {
    let words = [text("{\"a\":"), text("1}")].into_iter().chain(stop(StopReason::EndTurn));
    assert_eq!(read_with(&answer_tool(false), words).0.plain_text(), "{\"a\":1}");
    let other = [call(0, "look_up"), ended(0)].into_iter().chain(stop(StopReason::ToolUse));
    let (message, end) = read_with(&answer_tool(false), other);
    assert_eq!(called(&message), [("tooluse_0", "look_up", "{}")]);
    assert_eq!(end, Ok(FinishReason::ToolCalls));
}

#[test]
fn the_text_that_ended_an_answer_is_told_as_far_as_it_is_known() {
    let alone = Reading { only_stop: Some("END".into()), ..Reading::default() };
    let many = Reading::default();
    let cases = [
        (
            &many,
            StopReason::StopSequence,
            Some("|"),
            Some(TurnEvent::StopSequence(Some("|".into()))),
        ),
        (&alone, StopReason::StopSequence, None, Some(TurnEvent::StopSequence(Some("END".into())))),
        (&many, StopReason::StopSequence, None, Some(TurnEvent::StopSequence(None))),
        (&alone, StopReason::EndTurn, None, None),
    ];
    for (reading, reason, at, expected) in cases {
        let at = at.map(str::to_owned);
        let mut answer = Answer::new(reading);
        assert_eq!(answer.take(Piece::Stopped { reason, at }).next(), expected);
    }
}
