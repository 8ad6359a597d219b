//! An upstream that fails, and what its client is told.

use super::ask::Answer;
use super::broker::{Broker, Setup};

/// Every timeout is short, so that a silent upstream is soon taken for dead.
const IMPATIENT: &str = "turn.first_event_timeout_seconds = 0.4\nturn.stall_timeout_seconds = 0.4";

async fn impatient() -> Broker {
    Broker::with(Setup { settings: IMPATIENT, ..Setup::default() }).await
}

/// AWS's own words, ids and accounts are for the log.
fn expect_nothing_of_aws(answer: &Answer) {
    let everything = answer.everything();
    for word in ["arn:", "123456789012", "amzn", "Exception", "emulated", "AKIA"] {
        assert!(!everything.contains(word), "{word} in {everything}");
    }
}

async fn expect_usable(broker: &Broker, session: &str) {
    let next = broker.ask("what do you offer?").session(session).answer().await;
    next.expect_ok();
}

async fn counted(broker: &Broker, kind: &str) -> f64 {
    let label = format!("kind=\"{kind}\"");
    broker.metric("outcrop_upstream_errors_total", &[&label]).await
}

#[tokio::test]
async fn a_failure_before_the_first_word_is_a_status() {
    let broker = impatient().await;
    let cases = [
        ("throttle", 429, "upstream_throttled"),
        ("access-denied", 502, "upstream_denied"),
        ("not-found", 404, "model_not_found"),
        ("validation", 400, "upstream_rejected"),
        ("conflict", 409, "session_busy"),
        ("dependency", 502, "upstream_dependency"),
        ("quota", 429, "upstream_throttled"),
        ("model-not-ready", 503, "upstream_unavailable"),
        ("internal", 503, "upstream_unavailable"),
        ("bad-gateway", 502, "upstream_dependency"),
        ("503", 503, "upstream_unavailable"),
        ("expired-token", 502, "upstream_denied"),
        ("stall", 504, "upstream_timeout"),
        ("stall-headers", 504, "upstream_timeout"),
        ("stall:0", 504, "upstream_timeout"),
        ("cut:0", 502, "upstream_protocol"),
        ("garbage:0", 502, "upstream_protocol"),
        ("error-frame:0", 502, "upstream_protocol"),
        ("exception:throttlingException:0", 429, "upstream_throttled"),
        ("exception:accessDeniedException:0", 502, "upstream_denied"),
    ];
    for (place, (fault, status, code)) in cases.into_iter().enumerate() {
        let session = format!("of-{place}");
        let ask = broker.ask("what loans do you offer?").session(&session).fault(fault);
        let before = counted(&broker, code).await;
        for ask in [ask.clone(), ask.whole()] {
            let answer = ask.answer().await;
            assert_eq!((answer.status, &*answer.code()), (status, code), "{fault}: {answer:?}");
            assert_ne!(answer.error()["message"], "", "{fault}");
            let comes_back = [429, 503].contains(&status);
            assert_eq!(!answer.header("retry-after").is_empty(), comes_back, "{fault}: {answer:?}");
            expect_nothing_of_aws(&answer);
        }
        // What is no failure of the upstream's has no series there.
        if code.starts_with("upstream_") {
            assert!(counted(&broker, code).await >= before + 2.0, "{fault} was not counted");
        }
        expect_usable(&broker, &session).await;
    }
}

#[tokio::test]
async fn a_failure_in_mid_stream_is_an_error_object_and_no_proper_end() {
    let broker = impatient().await;
    let cases = [
        ("stall:3", "upstream_timeout"),
        ("cut:3", "upstream_protocol"),
        ("garbage:3", "upstream_protocol"),
        ("error-frame:3", "upstream_protocol"),
        ("exception:throttlingException:3", "upstream_throttled"),
        ("exception:dependencyFailedException:3", "upstream_dependency"),
        ("exception:internalServerException:3", "upstream_unavailable"),
        ("exception:validationException:3", "upstream_rejected"),
        ("exception:somethingNewException:3", "upstream_protocol"),
    ];
    for (place, (fault, code)) in cases.into_iter().enumerate() {
        let session = format!("of-{place}");
        let ask = broker.ask("count to 20").session(&session).fault(fault);
        let answer = ask.answer().await;
        assert_eq!((answer.status, &*answer.text), (200, "1 2 3 "), "{fault}: {answer:?}");
        assert_eq!(answer.code(), code, "{fault}");
        assert!(answer.frames.iter().all(|frame| !frame.is_done()), "{fault}");
        assert_eq!(answer.finish_reason(), "", "{fault}");
        expect_nothing_of_aws(&answer);
        assert!(counted(&broker, code).await >= 1.0, "{fault} was not counted");
        let held = &broker.session(&session).await["messages"][1];
        assert_eq!((&held["content"], &held["status"]), (&"1 2 3 ".into(), &"failed".into()));
        let whole = broker.ask("count to 20").session(&session).fault(fault).whole().answer().await;
        assert_eq!(whole.code(), code, "{fault}");
        assert!(whole.status >= 400, "{fault}: half an answer is none");
        expect_usable(&broker, &session).await;
    }
    let calls = broker.calls().await;
    let asked = |text| calls.iter().filter(move |call| call["input_text"] == text).count();
    assert_eq!(asked("count to 20"), 2 * cases.len(), "a turn that began is not tried again");
}

#[tokio::test]
async fn an_upstream_that_is_only_odd_is_understood() {
    let broker = impatient().await;
    let expected = broker.ask("what loans do you offer?").text().await;
    for fault in ["slow", "unknown-event", "none", "thinking:900"] {
        let ask = broker.ask("what loans do you offer?").fault(fault);
        assert_eq!(ask.text().await, expected, "{fault}");
        assert_eq!(ask.whole().text().await, expected, "{fault}");
    }
    let empty = broker.ask("what loans do you offer?").fault("empty");
    assert_eq!(empty.text().await, "");
    assert_eq!(empty.whole().text().await, "");
}

#[tokio::test]
async fn an_agent_that_thinks_without_a_sign_of_it_is_taken_for_dead() {
    let model = "traces = false";
    let broker = Broker::with(Setup { settings: IMPATIENT, model, ..Setup::default() }).await;
    let answer = broker.ask("what loans do you offer?").fault("thinking:2000").answer().await;
    assert_eq!((answer.status, &*answer.code()), (504, "upstream_timeout"));
    broker.open_calls_become(0).await;
}

#[tokio::test]
async fn a_model_may_have_timeouts_of_its_own() {
    let model = "first_event_timeout_seconds = 0.3\nstall_timeout_seconds = 0.3";
    let broker = Broker::with(Setup { model, ..Setup::default() }).await;
    for fault in ["stall", "stall:0"] {
        let answer = broker.ask("count to 20").fault(fault).answer().await;
        assert_eq!((answer.status, &*answer.code()), (504, "upstream_timeout"), "{fault}");
    }
    let answer = broker.ask("count to 20").fault("stall:3").answer().await;
    assert_eq!((&*answer.text, &*answer.code()), ("1 2 3 ", "upstream_timeout"));
}

#[tokio::test]
async fn silence_after_a_head_is_held_to_the_time_for_the_first_event() {
    let settings = "turn.first_event_timeout_seconds = 0.4";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    let answer = broker.ask("count to 20").fault("stall").answer().await;
    assert_eq!((answer.status, &*answer.code()), (504, "upstream_timeout"));
}

#[tokio::test]
async fn a_turn_may_not_take_longer_than_it_may_in_all() {
    let settings = "turn.total_timeout_seconds = 0.5";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    let answer = broker.ask("count to 400").pace(0, 20).answer().await;
    assert_eq!((answer.status, &*answer.code()), (200, "upstream_timeout"));
    assert!(answer.text.starts_with("1 2 3 "), "{}", answer.text);
    broker.open_calls_become(0).await;
}

#[tokio::test]
async fn an_answer_that_grows_too_large_is_cut_and_says_so() {
    let settings = "turn.output_bytes = 2000";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    let answer = broker.ask("count to 2000").pace(0, 1).answer().await;
    answer.expect_ok();
    assert_eq!(answer.finish_reason(), "length");
    assert!(answer.text.len() < 2_000, "{}", answer.text.len());
    broker.open_calls_become(0).await;
}

#[tokio::test]
async fn a_throttled_call_is_tried_again_before_the_client_hears_of_it() {
    let broker = Broker::start().await;
    let answer = broker.ask("what loans do you offer?").fault("throttle:1").answer().await;
    answer.expect_ok();
    let retries = broker.metric("outcrop_upstream_retries_total", &[]).await;
    assert!((retries - 1.0).abs() < 0.1, "{retries}");
    assert!((counted(&broker, "upstream_throttled").await - 1.0).abs() < 0.1);
    assert_eq!(broker.calls().await.len(), 2);
    let always = broker.ask("what loans do you offer?").fault("throttle").answer().await;
    assert_eq!(always.header("x-should-retry"), "true");
    assert_eq!(broker.calls().await.len(), 5, "two retries, and no more");
}

#[tokio::test]
async fn a_turn_that_may_have_had_effects_is_not_tried_again() {
    let broker = Broker::start().await;
    for fault in ["internal", "dependency", "cut:0"] {
        broker.forget_upstream().await;
        assert!(broker.ask("what loans do you offer?").fault(fault).answer().await.status >= 500);
        assert_eq!(broker.calls().await.len(), 1, "{fault}");
    }
}

#[tokio::test]
async fn a_missing_grant_for_streaming_is_named() {
    let broker = Broker::start().await;
    let ask = broker.ask("what loans do you offer?").fault("access-denied-streaming");
    let answer = ask.answer().await;
    assert_eq!((answer.status, &*answer.code()), (502, "upstream_denied"));
    let message = answer.error()["message"].to_string();
    assert!(message.contains("bedrock:InvokeModelWithResponseStream"), "{message}");
    expect_nothing_of_aws(&answer);
}

#[tokio::test]
async fn an_agent_that_does_not_exist_is_a_model_that_is_not_found() {
    let tables =
        "[[models]]\nname = \"lost\"\nbackend = \"bedrock-agent\"\nagent_id = \"MISSING123\"\n";
    let broker = Broker::with(Setup { tables, ..Setup::default() }).await;
    for model in ["lost", "nobody-knows-it"] {
        let answer = broker.ask("hello there").with("model", model.into()).answer().await;
        assert_eq!((answer.status, &*answer.code()), (404, "model_not_found"), "{model}");
        assert_eq!(answer.error()["param"], "model", "{model}");
    }
}

#[tokio::test]
async fn an_upstream_that_nobody_answers_for_is_unavailable() {
    let tables = "[[models]]\nname = \"away\"\nbackend = \"bedrock-agent\"\n\
                  agent_id = \"AGENT12345\"\nendpoint_url = \"http://127.0.0.1:1\"\n";
    let broker = Broker::with(Setup { tables, ..Setup::default() }).await;
    let answer = broker.ask("hello there").with("model", "away".into()).answer().await;
    assert_eq!((answer.status, &*answer.code()), (503, "upstream_unavailable"));
    assert!(!answer.everything().contains("127.0.0.1"), "{answer:?}");
}
