//! Clients that send rubbish, dawdle, or vanish.

use serde_json::{Value, json};

use super::ask::Answer;
use super::broker::{Broker, Setup, soon, until};
use super::client::{Connection, Request};

const CHAT: &str = "/v1/chat/completions";
/// Small and short limits.
const STRICT: &str = "server.body_limit_bytes = 20000\nserver.body_timeout_seconds = 0.3\n\
                      server.header_timeout_seconds = 0.3\nserver.header_limit_bytes = 8192";

async fn strict() -> Broker {
    Broker::with(Setup { settings: STRICT, ..Setup::default() }).await
}

/// Expects OpenAI's error object with this status and code, and gives it.
async fn expect_refused(request: &Request, status: u16, code: &str) -> Value {
    let answer = Answer::of(request.send().await).await;
    assert_eq!((answer.status, &*answer.code()), (status, code), "{answer:?}");
    assert_ne!(answer.header("x-request-id"), "", "{answer:?}");
    let error = answer.error();
    for member in ["message", "type", "param", "code"] {
        assert!(error.get(member).is_some(), "{member} is not in {error}");
    }
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
    error
}

/// The broker lives, and nothing of what it was sent is left.
async fn expect_well(broker: &Broker) {
    broker.ask("are you still there?").session("one").text().await;
    broker.metric_becomes("outcrop_turns_in_flight", 0.0).await;
    broker.metric_becomes("outcrop_turns_queued", 0.0).await;
}

#[tokio::test]
async fn bodies_that_are_no_chat_request_are_refused_with_the_field_at_fault() {
    let broker = Broker::start().await;
    let user = json!([{ "role": "user", "content": "hello there" }]);
    let image = json!([{ "type": "image_url", "image_url": { "url": "data:," } }]);
    let format = json!({ "type": "json_object" });
    let cases = [
        (json!({ "model": "agent" }), "messages"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": "hello" }), "messages"),
        (json!({ "messages": [7] }), "messages[0]"),
        (json!({ "messages": [{ "role": "robot", "content": "hi" }] }), "messages[0].role"),
        (json!({ "messages": [{ "content": "hi" }] }), "messages[0].role"),
        (json!({ "messages": [{ "role": "user", "content": 7 }] }), "messages[0].content"),
        (json!({ "messages": [{ "role": "user", "content": "  " }] }), "messages[0].content"),
        (json!({ "messages": [{ "role": "user", "content": image }] }), "messages"),
        (json!({ "messages": [{ "role": "assistant", "content": "hello" }] }), "messages"),
        (json!({ "model": 7, "messages": user }), "model"),
        (json!({ "model": "a b", "messages": user }), "model"),
        (json!({ "messages": user, "stream": "yes" }), "stream"),
        (json!({ "messages": user, "n": 2 }), "n"),
        (json!({ "messages": user, "session_id": 7 }), "session_id"),
        (json!({ "messages": user, "metadata": 7 }), "metadata"),
        (json!({ "messages": user, "response_format": format }), "response_format"),
    ];
    for (body, param) in cases {
        let answer = Answer::of(broker.post(CHAT, &body).send().await).await;
        assert_eq!(
            (answer.status, answer.error()["param"].as_str()),
            (400, Some(param)),
            "{body}: {answer:?}"
        );
        assert_eq!(answer.error()["type"], "invalid_request_error", "{body}");
        assert_ne!(answer.header("x-request-id"), "");
    }
    assert_eq!(broker.calls().await.len(), 0);
    expect_well(&broker).await;
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let broker = Broker::start().await;
    let nested = |open: &str, close: &str| {
        let (open, close) = (open.repeat(100_000), close.repeat(100_000));
        let asked = "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"input_text\":\"hi\"";
        format!("{{{asked},\"session_attributes\":{open}{close},\"metadata\":{open}{close}}}")
    };
    let latin1 =
        b"{\"model\":\"agent\",\"messages\":[{\"role\":\"user\",\"content\":\"caf\xe9\"}]}";
    let cases: [Vec<u8>; 9] = [
        b"".to_vec(),
        b"{".to_vec(),
        b"[]".to_vec(),
        b"\"hello\"".to_vec(),
        b"null".to_vec(),
        b"{\"model\":\"agent\",\"messages\":[]} trailing".to_vec(),
        latin1.to_vec(),
        nested("[", "]").into(),
        nested("{\"a\":", "}").into(),
    ];
    for body in cases {
        for path in [CHAT, "/api/chat/completions/", "/api/agent/stream"] {
            let request = broker.request("POST", path).header("content-type", "application/json");
            expect_refused(&request.body(body.clone()), 400, "invalid_request").await;
        }
    }
    let form =
        broker.request("POST", CHAT).header("content-type", "multipart/form-data; boundary=x");
    expect_refused(&form.body("--x--"), 415, "unsupported_media_type").await;
    expect_well(&broker).await;
}

#[tokio::test]
async fn bodies_larger_than_the_limit_are_refused_declared_or_not() {
    let broker = strict().await;
    let large = vec![b' '; 1_000_000];
    let declared = broker.request("POST", CHAT).body(large.clone());
    expect_refused(&declared, 413, "request_too_large").await;
    let mut chunked = b"f4240\r\n".to_vec();
    chunked.extend(&large);
    chunked.extend(b"\r\n0\r\n\r\n");
    let chunked = broker.request("POST", CHAT).header("transfer-encoding", "chunked").body(chunked);
    expect_refused(&chunked, 413, "request_too_large").await;
    let interrupt = broker.request("POST", "/v1/sessions/one/interrupt").body(large);
    broker.ask("hello there").session("one").text().await;
    expect_refused(&interrupt, 413, "request_too_large").await;
    expect_well(&broker).await;
}

#[tokio::test]
async fn a_client_that_waits_for_leave_to_send_its_body_is_not_told_to_send_too_much() {
    let broker = strict().await;
    let large =
        broker.request("POST", CHAT).header("expect", "100-continue").body(vec![b' '; 30_000]);
    let bytes = large.bytes();
    let head = bytes.len() - 30_000;
    let mut connection = Connection::open(broker.address).await;
    connection.write(&bytes[..head]).await;
    assert_eq!(connection.reply().await.status, 413);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let broker = strict().await;
    let request = broker.ask("hello there").session("one").request().bytes();
    let mut connection = Connection::open(broker.address).await;
    connection.write(&request[..request.len() - 5]).await;
    let answer = Answer::of(soon("a reply", connection.reply()).await).await;
    assert_eq!((answer.status, &*answer.code()), (408, "request_timeout"));
    assert_ne!(answer.header("x-request-id"), "");
    expect_well(&broker).await;
}

#[tokio::test]
async fn wrong_paths_and_methods_are_told_what_there_is() {
    let broker = Broker::start().await;
    for path in ["/nothing", "/v1/nothing", "/v1/chat", "/v1/sessions/one/two", "/%ff"] {
        expect_refused(&broker.get(path), 404, "not_found").await;
        expect_refused(&broker.post(path, &json!({})), 404, "not_found").await;
    }
    let cases = [
        ("PUT", CHAT, "POST"),
        ("GET", "/api/agent/stream", "POST"),
        ("POST", "/v1/models", "GET"),
        ("PATCH", "/v1/sessions/one", "GET, POST, DELETE"),
        ("POST", "/v1/files", "GET"),
        ("PUT", "/v1/files/file-1", "GET, DELETE"),
        ("DELETE", "/v1/files/file-1/content", "GET"),
        ("GET", "/v1/sessions/one/move", "POST"),
        ("DELETE", "/health", "GET"),
    ];
    for (method, path, allowed) in cases {
        let request = broker.request(method, path);
        let reply = request.send().await;
        assert_eq!((reply.status, reply.header("allow")), (405, allowed), "{method} {path}");
        expect_refused(&request, 405, "method_not_allowed").await;
    }
    let models = broker.get("/v1/models/nobody-knows-it");
    expect_refused(&models, 404, "model_not_found").await;
}

#[tokio::test]
async fn heads_that_are_too_large_or_broken_are_refused_and_too_slow_ones_closed() {
    let broker = strict().await;
    let huge = broker.get("/health").header("x-padding", &"x".repeat(20_000)).send().await;
    assert_eq!(huge.status, 431);
    let many = (0..200).fold(broker.get("/health"), |request, _| request.header("x-a", "b"));
    assert_eq!(many.send().await.status, 431);
    for broken in [
        "GET\r\n\r\n",
        "rubbish here\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
    ] {
        let mut connection = Connection::open(broker.address).await;
        connection.write(broken.as_bytes()).await;
        let said = soon("the connection to close", connection.rest()).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 400"), "{broken:?}: {said}");
    }
    for begun in ["", "GET / HT", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"] {
        let mut connection = Connection::open(broker.address).await;
        connection.write(begun.as_bytes()).await;
        let said = soon("the connection to close", connection.rest()).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{begun:?}: {said}");
    }
    expect_well(&broker).await;
}

#[tokio::test]
async fn clients_that_vanish_at_any_point_of_a_request_leave_nothing_behind() {
    let broker = Broker::start().await;
    let request = broker.ask("count to 400").session("one").pace(0, 20).request().bytes();
    for part in [1, 20, request.len() / 2, request.len() - 1, request.len()] {
        for hard in [false, true] {
            let mut connection = Connection::open(broker.address).await;
            connection.write(&request[..part]).await;
            if hard {
                connection.reset();
            }
        }
    }
    broker.metric_becomes("outcrop_turns_in_flight", 0.0).await;
    broker.open_calls_become(0).await;
    expect_well(&broker).await;
}

#[tokio::test]
async fn a_client_that_closes_its_sending_half_has_left() {
    let broker = Broker::start().await;
    let mut connection = Connection::open(broker.address).await;
    connection
        .write(&broker.ask("count to 400").session("one").pace(0, 20).request().bytes())
        .await;
    broker.open_calls_become(1).await;
    connection.half_close().await;
    broker.open_calls_become(0).await;
    expect_well(&broker).await;
}

/// Asks for lines that repeat themselves until no buffer on the way takes any more, and reads
/// none of them.
async fn ask_without_reading(broker: &Broker) -> Connection {
    let body = json!({ "agent_id": "agent", "session_id": "lazy", "input_text": "count to 2000" });
    let mut lazy = Connection::open(broker.address).await;
    lazy.write(&broker.post("/api/agent/stream", &body).bytes()).await;
    lazy
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_neither_its_turn_nor_others() {
    let broker = Broker::start().await;
    let lazy = ask_without_reading(&broker).await;
    broker.ask("are you there?").session("one").text().await;
    until("the turn to end", async || broker.session("lazy").await["turns"] == 1).await;
    let session = broker.session("lazy").await;
    assert_eq!(session["messages"][1]["status"], "completed");
    let mut reply = lazy.reply().await;
    let mut last = String::new();
    while let Some(line) = reply.line().await {
        last = line;
    }
    assert!(last.starts_with("{\"type\":\"completion\""), "it reads on where it was");
}

#[tokio::test]
async fn a_client_that_does_not_read_for_long_is_dropped() {
    let settings = "server.write_timeout_seconds = 0.5";
    let broker = Broker::with(Setup { settings, ..Setup::default() }).await;
    let lazy = ask_without_reading(&broker).await;
    broker.open_calls_become(0).await;
    broker.metric_becomes("outcrop_connections_open", 1.0).await;
    drop(lazy);
    expect_well(&broker).await;
}

#[tokio::test]
async fn one_connection_serves_turn_after_turn_refusals_between_them() {
    let broker = Broker::start().await;
    let mut connection = Connection::open(broker.address).await;
    for _ in 0..3 {
        for (request, status) in [
            (broker.ask("hello there").session("one").request(), 200),
            (broker.get("/nothing"), 404),
            (broker.post(CHAT, &json!({})), 400),
            (broker.ask("hello there").session("one").fault("internal").request(), 503),
        ] {
            connection.write(&request.bytes()).await;
            let mut reply = connection.reply().await;
            assert_eq!(reply.status, status);
            reply.text().await;
            connection = reply.into_connection();
        }
    }
}
