//! Everything that can go wrong, as the SDK reports it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_bedrockagentruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockagentruntime::types::ResponseStream;
use aws_sdk_bedrockagentruntime::types::error::ResponseStreamError;
use outcrop::config;
use serde_json::Value;
use tokio::time::timeout;

use crate::harness::{
    Heard, PATIENCE, Running, StreamFailure, attributes, faulty, hear, start, start_with, streamed,
};

/// How soon a client that hangs up must be noticed; far more than it takes.
const PROMPT: Duration = Duration::from_millis(500);

/// Asks for a count to 5 in pieces, with a fault.
async fn counted(emulator: &Running, fault: &str) -> Heard {
    let call = emulator.call("counts").session_state(faulty(fault)).input_text("count to 5");
    hear(call.streaming_configurations(streamed())).await.unwrap()
}

async fn broken(emulator: &Running, fault: &str) -> (usize, StreamFailure) {
    let heard = counted(emulator, fault).await;
    (heard.chunks.len(), heard.failure.unwrap())
}

#[tokio::test]
async fn each_refusal_has_its_status_and_type() {
    let emulator = start().await;
    for (fault, status, code) in [
        ("throttle", 429, Some("ThrottlingException")),
        ("access-denied", 403, Some("AccessDeniedException")),
        ("not-found", 404, Some("ResourceNotFoundException")),
        ("validation", 400, Some("ValidationException")),
        ("conflict", 409, Some("ConflictException")),
        ("dependency", 424, Some("DependencyFailedException")),
        ("quota", 400, Some("ServiceQuotaExceededException")),
        ("model-not-ready", 424, Some("ModelNotReadyException")),
        ("internal", 500, Some("InternalServerException")),
        ("bad-gateway", 502, Some("BadGatewayException")),
        ("expired-token", 403, Some("ExpiredTokenException")),
        ("503", 503, None),
    ] {
        let call = emulator.call("refused").session_state(faulty(fault)).input_text("hello");
        let error = hear(call).await.unwrap_err();
        let raw = error.raw_response().unwrap().status().as_u16();
        assert_eq!((raw, error.code()), (status, code), "{fault}");
    }
    let shown = emulator.state().await;
    assert_eq!(shown["calls_open"], 0);
    assert_eq!(shown["calls"][0]["ended"], "fault");
    assert_eq!(shown["sessions"][0]["turns"], 0);
}

#[tokio::test]
async fn a_refusal_may_be_for_the_first_calls_only() {
    let emulator = start().await;
    let call = || emulator.call("twice").session_state(faulty("throttle:2")).input_text("hello");
    assert!(hear(call()).await.is_err());
    assert!(hear(call()).await.is_err());
    assert!(hear(call()).await.is_ok());
}

#[tokio::test]
async fn a_missing_streaming_permission_leaves_whole_answers() {
    let emulator = start().await;
    let call = || emulator.call("permission").session_state(faulty("access-denied-streaming"));
    let stream = call().streaming_configurations(streamed()).input_text("hello");
    let error = hear(stream).await.unwrap_err();
    assert_eq!(error.code(), Some("AccessDeniedException"));
    assert!(error.message().unwrap().contains("bedrock:InvokeModelWithResponseStream"));
    assert!(hear(call().input_text("hello")).await.is_ok());
}

#[tokio::test]
async fn an_unknown_fault_is_a_validation_error_that_names_it() {
    let emulator = start().await;
    let call = emulator.call("unknown").session_state(faulty("explode")).input_text("hello");
    let error = hear(call).await.unwrap_err();
    assert_eq!(error.code(), Some("ValidationException"));
    assert!(error.message().unwrap().contains("\"explode\""));
}

#[tokio::test]
async fn exceptions_in_the_stream_are_typed() {
    let emulator = start().await;
    let (chunks, failure) = broken(&emulator, "exception:throttlingException:2").await;
    assert_eq!(chunks, 2);
    assert!(matches!(failure.into_service_error(), ResponseStreamError::ThrottlingException(_)));
    let (chunks, failure) = broken(&emulator, "exception:internalServerException:0").await;
    assert_eq!(chunks, 0);
    assert!(failure.into_service_error().is_internal_server_exception());
    let (_, failure) = broken(&emulator, "exception:dependencyFailedException:1").await;
    let ResponseStreamError::DependencyFailedException(details) = failure.into_service_error()
    else {
        panic!("not a DependencyFailedException")
    };
    assert!(details.resource_name.is_some());
}

#[tokio::test]
async fn frames_that_make_no_sense_break_the_answer() {
    let emulator = start().await;
    let (chunks, failure) = broken(&emulator, "error-frame:1").await;
    assert!(chunks == 1 && matches!(failure, SdkError::ResponseError(_)), "{failure:?}");
    let (chunks, failure) = broken(&emulator, "garbage:2").await;
    assert!(chunks == 2 && matches!(failure, SdkError::ResponseError(_)), "{failure:?}");
}

#[tokio::test]
async fn a_cut_connection_is_no_clean_end() {
    let emulator = start().await;
    let (chunks, failure) = broken(&emulator, "cut:3").await;
    assert_eq!(chunks, 3);
    assert!(!matches!(failure, SdkError::ServiceError(_)), "{failure:?}");
    let shown = emulator.state_when(|state| state["calls"][0]["ended"] == "fault").await;
    assert_eq!(shown["disconnected"], 0);
}

#[tokio::test]
async fn faults_that_a_client_must_bear_leave_the_answer_whole() {
    let emulator = start().await;
    for fault in ["slow", "unknown-event", "thinking:120"] {
        let heard = counted(&emulator, fault).await;
        assert!(heard.failure.is_none(), "{heard:?}");
        assert_eq!(heard.text(), "1 2 3 4 5 ", "{fault}");
        assert_eq!(heard.unknown, if fault == "unknown-event" { 5 } else { 0 });
    }
    assert!(counted(&emulator, "empty").await.chunks.is_empty());
    let call = emulator.call("thinks").session_state(faulty("thinking:120")).enable_trace(true);
    let heard = hear(call.input_text("hello")).await.unwrap();
    assert_eq!(heard.traces.len(), 3 + 2);
}

#[tokio::test]
async fn the_configuration_may_hold_a_fault_for_all_calls() {
    let fault = Some("quota".to_owned());
    let emulator = start_with(config::Emulator { fault, ..config::Emulator::default() }).await;
    let error = hear(emulator.call("all").input_text("hello")).await.unwrap_err();
    assert_eq!(error.code(), Some("ServiceQuotaExceededException"));
    let spared = emulator.call("all").session_state(faulty("none")).input_text("hello");
    assert!(hear(spared).await.is_ok());
}

#[tokio::test]
async fn a_client_that_leaves_a_silent_answer_is_noticed_at_once() {
    let emulator = start().await;
    let call = emulator.call("leaves").session_state(faulty("stall:2")).input_text("count to 5");
    let mut answer = call.streaming_configurations(streamed()).send().await.unwrap();
    for _ in 0..2 {
        let event = timeout(PATIENCE, answer.completion.recv()).await.unwrap().unwrap();
        assert!(matches!(event, Some(ResponseStream::Chunk(_))));
    }
    assert_eq!(emulator.state().await["calls_open"], 1);
    let left_ms = unix_ms();
    drop(answer);
    noticed(&emulator, left_ms).await;
    let next = emulator.call("leaves").session_state(faulty("none")).input_text("hello");
    assert!(hear(next).await.unwrap().failure.is_none());
}

#[tokio::test]
async fn a_client_that_leaves_before_any_head_is_noticed_at_once() {
    let emulator = start().await;
    let call = emulator.call("leaves").session_state(faulty("stall-headers"));
    let waiting = tokio::spawn(call.input_text("hello").send());
    emulator.state_when(|state| state["calls_open"] == 1).await;
    let left_ms = unix_ms();
    waiting.abort();
    noticed(&emulator, left_ms).await;
}

#[tokio::test]
async fn a_client_that_leaves_a_slow_answer_is_noticed_at_once() {
    let emulator = start().await;
    let slow = attributes(&[("outcrop-emulator-chunk-ms", "3600000")]);
    let call = emulator.call("leaves").session_state(slow).input_text("count to 5");
    let mut answer = call.streaming_configurations(streamed()).send().await.unwrap();
    timeout(PATIENCE, answer.completion.recv()).await.unwrap().unwrap().unwrap();
    let left_ms = unix_ms();
    drop(answer);
    noticed(&emulator, left_ms).await;
}

async fn noticed(emulator: &Running, left_ms: u64) {
    let shown = emulator.state_when(|state| state["disconnected"] == 1).await;
    assert_eq!(
        (&shown["calls_open"], &shown["calls"][0]["ended"]),
        (&0.into(), &"disconnected".into())
    );
    let noticed_ms = shown["last_disconnect_ms"].as_u64().unwrap();
    assert!(u128::from(noticed_ms - left_ms) <= PROMPT.as_millis(), "{}", noticed_ms - left_ms);
}

#[tokio::test]
async fn a_second_call_at_once_on_a_session_is_a_conflict() {
    let emulator = start().await;
    let call = emulator.call("busy").session_state(faulty("stall")).input_text("hello");
    let _open = call.send().await.unwrap();
    let error = hear(emulator.call("busy").input_text("hello")).await.unwrap_err();
    assert_eq!(error.code(), Some("ConflictException"));
    let shown = emulator.state().await;
    assert_eq!(shown["max_concurrent_per_session"], 2);
    assert_eq!(shown["calls"][1]["status"], Value::from(409));
}

fn unix_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(elapsed.as_millis()).unwrap()
}
