//! Servers that are not there, are none, or say no: each is told, with what to do.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::super::broker::{Broker, Emulated, Setup};
use super::run;

/// The verbs that talk to a server, each with a URL for the last word.
const VERBS: &[&[&str]] = &[
    &["chat", "hello", "--server-url"],
    &["models", "--server-url"],
    &["sessions", "list", "--server-url"],
    &["compare"],
    &["bench"],
];

/// What each verb says of a server; its exit code is always 1.
async fn told(url: &str) -> Vec<String> {
    let mut told = Vec::new();
    for verb in VERBS {
        let arguments: Vec<&str> = verb.iter().copied().chain([url]).collect();
        let done = run(&arguments).await;
        assert_eq!((done.code, done.out.as_str()), (Some(1), ""), "{arguments:?}: {done:?}");
        told.push(done.err);
    }
    told
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for told in told(&format!("http://{free}")).await {
        assert!(told.contains("cannot be reached") && told.contains("nothing listens"), "{told}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told() {
    let emulator = Emulated::start(None).await;
    for told in told(&format!("https://{}", emulator.address)).await {
        assert!(told.contains("try http:// in the URL"), "{told}");
    }
}

#[tokio::test]
async fn a_server_of_web_pages_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Ends with the test's process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().take(VERBS.len()).flatten() {
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).unwrap();
            let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\
                        connection: close\r\n\r\n<html></html>";
            stream.write_all(page.as_bytes()).unwrap();
        }
    });
    for told in told(&url).await {
        assert!(told.contains("<html></html>"), "{told}");
    }
}

#[tokio::test]
async fn a_key_that_is_wrong_is_told_and_one_of_the_environment_is_taken() {
    let tables = "[[keys]]\ntenant = \"acme\"\nkey = \"sk-acme-first-key\"\n";
    let broker = Broker::with(Setup { tables, ..Setup::default() }).await;
    let url = format!("http://{}", broker.address);
    for told in told(&url).await {
        assert!(told.contains("(401)") && told.contains("OUTCROP_API_KEY"), "{told}");
    }
    let arguments = ["models", "--server-url", &url, "--api-key", "sk-acme-first-key"];
    assert!(run(&arguments).await.well().contains("agent"));
}

#[tokio::test]
async fn what_makes_no_sense_is_the_commands_fault() {
    for arguments in [
        &["chat", "hello", "--server-url", "localhost:8000"][..],
        &["compare", "ftp://x"],
        &["bench", "http://x", "--connections", "0"],
        &["config", "set", "turn.queue"],
        &["sessions", "list", "--limit", "0"],
        &["keys", "revoke"],
        &["chat", "--json"],
    ] {
        let done = run(arguments).await;
        assert!(done.code == Some(2) && !done.err.is_empty(), "{arguments:?}: {done:?}");
    }
}
