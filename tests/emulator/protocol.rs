//! HTTP around the answers: credentials, paths, bodies, STS, and the server's own life.

use std::time::Duration;

use aws_sdk_bedrockagentruntime::error::ProvideErrorMetadata;
use http::{Method, StatusCode};
use outcrop::config;
use outcrop::emulator::{self, BindError};
use tokio::time::timeout;

use crate::harness::{PATIENCE, SIGNED, client, faulty, hear, start, start_with};

const TEXT_PATH: &str = "/agents/ABCDEF1234/agentAliases/TSTALIASID/sessions/some-session/text";

#[tokio::test]
async fn errors_have_the_services_form() {
    let emulator = start().await;
    let bad_path = TEXT_PATH.replace("some-session", "a%20b");
    let missing = TEXT_PATH.replace("ABCDEF1234", "MISSING404");
    let no_such = TEXT_PATH.replace("ABCDEF1234", "NOSUCHAGNT");
    let text = r#"{"inputText":"hello"}"#;
    for (path, signed, body, status, kind) in [
        (TEXT_PATH, None, text, 403, "MissingAuthenticationTokenException"),
        (TEXT_PATH, Some(SIGNED), "{", 400, "SerializationException"),
        (TEXT_PATH, Some(SIGNED), "{}", 400, "ValidationException"),
        (&bad_path, Some(SIGNED), text, 400, "ValidationException"),
        (&missing, Some(SIGNED), text, 404, "ResourceNotFoundException"),
        (&no_such, Some(SIGNED), text, 404, "ResourceNotFoundException"),
        ("/agents/x/y", Some(SIGNED), text, 404, "UnknownOperationException"),
        ("/agents/x", Some(SIGNED), text, 400, "ValidationException"),
        ("/agents/xy", Some(SIGNED), text, 400, "ValidationException"),
    ] {
        let (head, body) = emulator.request(Method::POST, path, signed, body).await;
        assert_eq!(head.status().as_u16(), status, "{path}");
        assert_eq!(head.headers()["x-amzn-errortype"], kind);
        assert!(head.headers().contains_key("x-amzn-requestid"));
        assert!(body["message"].is_string(), "{body}");
    }
    let (head, _) = emulator.request(Method::GET, TEXT_PATH, Some(SIGNED), "").await;
    assert_eq!(head.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_answer_has_the_services_headers() {
    let emulator = start().await;
    let body = r#"{"inputText":"hello"}"#;
    let (head, _) = emulator.request(Method::POST, TEXT_PATH, Some(SIGNED), body).await;
    assert_eq!(head.status(), StatusCode::OK);
    let headers = head.headers();
    assert_eq!(headers["content-type"], "application/vnd.amazon.eventstream");
    assert_eq!(headers["x-amzn-bedrock-agent-content-type"], "application/json");
    assert_eq!(headers["x-amz-bedrock-agent-session-id"], "some-session");
    assert_eq!(headers["transfer-encoding"], "chunked");
}

#[tokio::test]
async fn a_denied_access_key_may_do_nothing() {
    let emulator = start().await;
    let call = client(&emulator.url, "AKIADENIED").invoke_agent();
    let call = call.agent_id("ABC").agent_alias_id("DEF").session_id("denied").input_text("hello");
    assert_eq!(hear(call).await.unwrap_err().code(), Some("AccessDeniedException"));
}

#[tokio::test]
async fn sts_tells_the_account() {
    let account = "210987654321".to_owned();
    let emulator = start_with(config::Emulator { account, ..config::Emulator::default() }).await;
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(aws_sdk_sts::config::BehaviorVersion::latest())
        .region(aws_sdk_sts::config::Region::new("us-east-1"))
        .credentials_provider(aws_sdk_sts::config::Credentials::new("A", "s", None, None, "test"))
        .endpoint_url(&emulator.url)
        .build();
    let caller = aws_sdk_sts::Client::from_conf(config).get_caller_identity().send().await.unwrap();
    assert_eq!(caller.account(), Some("210987654321"));
    assert_eq!(caller.arn(), Some("arn:aws:iam::210987654321:user/outcrop-emulator"));
    let (head, _) = emulator.request(Method::POST, "/", Some(SIGNED), "Action=AssumeRole").await;
    assert_eq!(head.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_stopped_emulator_ends_its_open_answers() {
    let mut emulator = start().await;
    let call = emulator.call("open").session_state(faulty("stall")).input_text("hello");
    let mut open = call.send().await.unwrap();
    emulator.stop.cancel();
    timeout(PATIENCE, &mut emulator.served).await.unwrap().unwrap();
    assert!(timeout(PATIENCE, open.completion.recv()).await.unwrap().is_err());
}

#[tokio::test]
async fn a_dropped_emulator_ends_its_open_answers() {
    let emulator = start().await;
    let call = emulator.call("open").session_state(faulty("stall")).input_text("hello");
    let mut open = call.send().await.unwrap();
    drop(emulator);
    assert!(timeout(PATIENCE, open.completion.recv()).await.unwrap().is_err());
}

#[tokio::test]
async fn settings_that_make_no_sense_are_errors_at_start() {
    let loopback = config::Emulator {
        listen: "127.0.0.1:0".parse().unwrap(),
        chunk_delay: Duration::ZERO,
        ..config::Emulator::default()
    };
    let fault = Some("explode".to_owned());
    let error = emulator::bind(&config::Emulator { fault, ..loopback.clone() }).await.unwrap_err();
    assert!(error.to_string().contains("emulator.fault: unknown fault \"explode\""), "{error}");
    let account = "12".to_owned();
    let error =
        emulator::bind(&config::Emulator { account, ..loopback.clone() }).await.unwrap_err();
    assert!(matches!(error, BindError::Account(_)));
    let first = emulator::bind(&loopback).await.unwrap();
    let taken = config::Emulator { listen: first.address(), ..loopback };
    assert!(matches!(emulator::bind(&taken).await.unwrap_err(), BindError::Listen { .. }));
}
