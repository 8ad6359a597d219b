//! Exceptions in an agent's stream, wherever they come: what the client is told, and that the
//! session goes on.

use serde_json::json;

use super::broker::{Broker, Setup};

/// Every exception of the stream, with the status and the code that it becomes.
const EXCEPTIONS: &[(&str, u16, &str)] = &[
    ("accessDeniedException", 502, "upstream_denied"),
    ("badGatewayException", 502, "upstream_dependency"),
    ("conflictException", 409, "session_busy"),
    ("dependencyFailedException", 502, "upstream_dependency"),
    ("internalServerException", 503, "upstream_unavailable"),
    ("modelNotReadyException", 503, "upstream_unavailable"),
    ("resourceNotFoundException", 404, "model_not_found"),
    ("serviceQuotaExceededException", 429, "upstream_throttled"),
    ("throttlingException", 429, "upstream_throttled"),
    ("validationException", 400, "upstream_rejected"),
];

/// Where one comes: the message, after how many of its events, and whether the client saw any.
const POSITIONS: &[(&str, &str, bool)] = &[
    ("repeat: before anything", "first", false),
    ("repeat: after a trace", "0", false),
    ("count to 9", "2", true),
    ("call: lookup n=1; then say: never", "1", true),
    ("file: a.txt 9", "1", true),
];

/// One exception at one position, for a stream or a whole answer.
async fn expect_error(
    broker: &Broker,
    session: &str,
    (text, after, is_seen): (&str, &str, bool),
    (name, status, code): (&str, u16, &str),
) {
    let ask = broker.ask(text).session(session).fault(&format!("exception:{name}:{after}"));
    for (ask, is_streamed) in [(ask.clone(), true), (ask.whole(), false)] {
        let place = format!("{name} in {text:?}");
        let failed = ask.answer().await;
        let expected = if is_streamed && is_seen { 200 } else { status };
        assert_eq!((failed.status, &*failed.code()), (expected, code), "{place}");
        assert!(!failed.is_done(), "{place}: {failed:?}");
        assert!(!failed.everything().contains("Exception"), "{place}: {failed:?}");
        let next = broker.ask("repeat: still here").session(session).answer().await;
        let is_ok = next.status == 200 && next.is_done();
        assert!(is_ok && next.text == "still here", "after {place}: {next:?}");
    }
}

#[tokio::test]
async fn an_exception_is_the_right_error_at_any_point_and_the_session_goes_on() {
    let settings = "turn.retries = 0";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    for (place, position) in POSITIONS.iter().enumerate() {
        for (kind, exception) in EXCEPTIONS.iter().enumerate() {
            expect_error(&broker, &format!("s{place}-{kind}"), *position, *exception).await;
        }
    }
}

#[tokio::test]
async fn results_of_calls_before_an_exception_are_told_to_a_new_session_of_the_agent() {
    let broker = Broker::start().await;
    let ask = broker.ask("call: lookup n=1; then say: never").session("one");
    let failed = ask.fault("exception:internalServerException:1").answer().await;
    let id = failed.frames.iter().find_map(|frame| {
        let call = frame.json().pointer("/choices/0/delta/tool_calls/0/id")?.clone();
        call.as_str().map(str::to_owned)
    });
    let result = json!([{ "role": "tool", "tool_call_id": id.unwrap(), "content": "seven" }]);
    let told = broker.ask("x").session("one").with("messages", result).answer().await;
    told.expect_ok();
    assert_eq!(told.origin(), "rehydrated");
    let calls = broker.calls().await;
    assert_eq!(calls[1]["input_text"], "Result of lookup ({\"n\":1}): seven");
    assert_ne!(calls[0]["session"], calls[1]["session"]);
}
