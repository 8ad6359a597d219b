//! What an agent says, and what it remembers.

use std::time::Duration;

use aws_sdk_bedrockagentruntime::types::{
    ContentBlock, ConversationHistory, ConversationRole, Message, OrchestrationTrace, SessionState,
    Trace,
};
use outcrop::config;
use tokio::time::Instant;

use crate::harness::{attributes, hear, pairs, start, start_with, streamed};

fn user_said(text: &str) -> SessionState {
    let message = Message::builder()
        .role(ConversationRole::User)
        .content(ContentBlock::Text(text.to_owned()))
        .build()
        .unwrap();
    let history = ConversationHistory::builder().messages(message).build();
    SessionState::builder().conversation_history(history).build()
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_is_one_chunk() {
    let emulator = start().await;
    let heard = hear(emulator.call("whole").input_text("count to 100")).await.unwrap();
    assert_eq!(heard.chunks.len(), 1);
    assert!(heard.text().ends_with("99 100 ") && heard.traces.is_empty());
}

#[tokio::test]
async fn a_count_is_streamed_as_one_chunk_a_word() {
    let emulator = start().await;
    let call = emulator.call("count").input_text("count to 64");
    let heard = hear(call.streaming_configurations(streamed())).await.unwrap();
    let expected: Vec<_> = (1..=64).map(|number| format!("{number} ").into_bytes()).collect();
    assert_eq!(heard.chunks, expected);
}

#[tokio::test]
async fn characters_may_straddle_chunks_and_are_whole_in_the_end() {
    let emulator = start().await;
    let text = "Grüße aus 日本 \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}";
    let call = emulator.call("unicode").input_text(format!("repeat: {text}"));
    let heard = hear(call.streaming_configurations(streamed())).await.unwrap();
    assert_eq!(heard.text(), text);
    assert!(heard.chunks.iter().any(|chunk| std::str::from_utf8(chunk).is_err()));
}

#[tokio::test]
async fn a_session_remembers_and_others_do_not_know() {
    let emulator = start().await;
    emulator.say("one:1", "Hi, my name is Ann").await;
    assert_eq!(emulator.say("one:1", "What is my name?").await, "Your name is Ann.");
    let unknown = "You have not told me your name yet.";
    assert_eq!(emulator.say("two", "What is my name?").await, unknown);
    let other_alias = emulator.call("one:1").agent_alias_id("PROD").input_text("who am I?");
    assert_eq!(hear(other_alias).await.unwrap().text(), unknown);
}

#[tokio::test]
async fn session_attributes_are_kept_and_prompt_attributes_are_not() {
    let emulator = start().await;
    let told = emulator.call("caller").session_state(attributes(&[("phone_number", "+15550100")]));
    hear(told.input_text("hello")).await.unwrap();
    let asked = "What number am I calling from?";
    assert_eq!(emulator.say("caller", asked).await, "You are calling from +15550100.");

    let prompt = pairs(&[("outcrop-emulator-fault", "empty")]);
    let state = SessionState::builder().set_prompt_session_attributes(prompt).build();
    let once = hear(emulator.call("caller").session_state(state).input_text("hello")).await;
    assert_eq!(once.unwrap().text(), "");
    assert_ne!(emulator.say("caller", "hello").await, "");
}

#[tokio::test]
async fn a_history_is_taken_up_by_a_new_session_only() {
    let emulator = start().await;
    let asked = || emulator.call("seeded").input_text("What is my name?");
    let first = hear(asked().session_state(user_said("I am Ann"))).await.unwrap();
    assert_eq!(first.text(), "Your name is Ann.");
    let second = hear(asked().session_state(user_said("I am Bob"))).await.unwrap();
    assert_eq!(second.text(), "Your name is Ann.");
    let turns = emulator.say("seeded", "How many turns do you hold?").await;
    assert!(turns.contains("I hold 3 turns"), "{turns}");
}

#[tokio::test]
async fn an_ended_session_answers_nothing_and_is_forgotten() {
    let emulator = start().await;
    emulator.say("ends", "I am Ann").await;
    let last = hear(emulator.call("ends").end_session(true)).await.unwrap();
    assert!(last.chunks.is_empty() && last.failure.is_none());
    let after = emulator.say("ends", "What is my name?").await;
    assert_eq!(after, "You have not told me your name yet.");
}

#[tokio::test]
async fn an_expired_session_starts_blank_without_an_error() {
    let idle_session_ttl = Duration::ZERO;
    let config = config::Emulator { idle_session_ttl, ..config::Emulator::default() };
    let emulator = start_with(config).await;
    emulator.say("expires", "I am Ann").await;
    let after = emulator.say("expires", "What is my name?").await;
    assert_eq!(after, "You have not told me your name yet.");
}

#[tokio::test]
async fn traces_come_when_asked_for_and_their_usage_is_the_same_each_time() {
    let emulator = start().await;
    let mut totals = Vec::new();
    for session in ["traced-1", "traced-2"] {
        let call = emulator.call(session).input_text("hello").enable_trace(true);
        let heard = hear(call).await.unwrap();
        assert_eq!((heard.traces.len(), heard.chunks.len()), (3, 1));
        assert_eq!(heard.traces[0].session_id.as_deref(), Some(session));
        assert!(heard.traces.iter().all(|trace| trace.event_time.is_some()));
        let usages = heard.traces.into_iter().filter_map(|part| match part.trace? {
            Trace::OrchestrationTrace(OrchestrationTrace::ModelInvocationOutput(output)) => {
                let usage = output.metadata?.usage?;
                Some((usage.input_tokens?, usage.output_tokens?))
            }
            _ => None,
        });
        totals.push(usages.fold((0, 0), |sum, usage| (sum.0 + usage.0, sum.1 + usage.1)));
    }
    assert_eq!(totals[0], totals[1]);
    assert!(totals[0].0 > 240 && totals[0].1 > 24, "{totals:?}");
}

#[tokio::test]
async fn an_answer_keeps_the_pace_that_is_set() {
    let emulator = start().await;
    let pace = [("outcrop-emulator-first-token-ms", "60"), ("outcrop-emulator-chunk-ms", "20")];
    let call = emulator.call("paced").session_state(attributes(&pace)).input_text("count to 5");
    let began = Instant::now();
    let heard = hear(call.streaming_configurations(streamed())).await.unwrap();
    assert_eq!(heard.chunks.len(), 5);
    assert!(began.elapsed() >= Duration::from_millis(60 + 4 * 20));
}

#[tokio::test]
async fn the_state_tells_what_was_asked_and_what_is_remembered() {
    let emulator = start().await;
    let state = attributes(&[("tenant", "acme")]);
    let call = emulator.call("seen").session_state(state).input_text("I am Ann, lend me $9,000");
    hear(call.streaming_configurations(streamed()).enable_trace(true)).await.unwrap();
    let shown = emulator.state().await;
    assert_eq!((&shown["calls_total"], &shown["calls_open"]), (&1.into(), &0.into()));
    let call = &shown["calls"][0];
    assert_eq!(call["input_text"], "I am Ann, lend me $9,000");
    assert_eq!((&call["stream"], &call["has_trace"]), (&true.into(), &true.into()));
    assert_eq!((&call["ended"], &call["status"]), (&"ok".into(), &200.into()));
    assert_eq!(call["attributes"]["tenant"], "acme");
    let session = &shown["sessions"][0];
    assert_eq!((&session["id"], &session["turns"]), (&"seen".into(), &1.into()));
    assert_eq!(session["facts"]["name"], "Ann");
    assert_eq!(session["facts"]["amount_cents"], 900_000);

    emulator.request(http::Method::POST, "/_emulator/reset", None, "").await;
    let shown = emulator.state().await;
    assert_eq!((&shown["calls_total"], &shown["sessions_total"]), (&0.into(), &0.into()));
}
