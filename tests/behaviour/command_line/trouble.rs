//! Servers that are not there, are none, or say no: each is told, with what to do.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::broker::{Broker, Emulated, Setup, new_folder, outcrop};
use super::{Done, run};

/// Connections that a canned server takes, at most.
const CONNECTIONS: usize = 16;

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

/// A server that answers every connection with the same, whatever it is asked.
fn canned(reply: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Ends with the test's process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().take(CONNECTIONS).flatten() {
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(reply.as_bytes()).unwrap();
        }
    });
    url
}

/// A reply with a status and a body of a type.
fn reply(status: &str, media_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn what_is_no_openai_compatible_server_is_told() {
    let page = ("200 OK", "text/html", "<html></html>", "\"<html></html>\"; check the URL");
    let other = ("200 OK", "application/json", "{\"pong\": true}", "check the URL");
    let lost = ("404 Not Found", "text/html", "<p>nothing here", "status 404, \"<p>nothing here\"");
    let refused = ("404 Not Found", "application/json", "{\"error\": \"no\"}", "(404): no; check");
    for (status, media_type, body, expected) in [page, other, lost, refused] {
        let url = canned(reply(status, media_type, body));
        for told in told(&url).await {
            assert!(told.contains(expected) && told.contains(&url), "{body}: {told}");
            assert!(!told.contains('\x1b'), "{told}");
        }
    }
}

#[tokio::test]
async fn a_server_without_models_is_told_where_one_is_needed() {
    let empty = || canned(reply("200 OK", "application/json", "{\"data\": []}"));
    for verb in [&["chat", "hello", "--server-url"][..], &["compare"], &["bench"]] {
        let url = empty();
        let done = run(&[verb, &[&url]].concat()).await;
        let expected = format!("{url}/v1 lists no models; name one with --model");
        assert!(done.code == Some(1) && done.err.starts_with(&expected), "{done:?}");
    }
    assert!(run(&["models", "--server-url", &empty()]).await.well().starts_with("no models"));
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_told_and_what_came_is_kept() {
    let chunk = |delta: &str| format!("data: {{\"choices\":[{{\"delta\":{delta}}}]}}\n\n");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n";
    let words = chunk("{\"content\":\"half a\"}");
    // One ends without its end, one is cut within what it promised.
    let ended = format!("{head}\r\n{words}");
    let cut = format!("{head}content-length: 999\r\n\r\n{words}");
    let strange = format!("{head}\r\n{words}data: <oops>\n\n");
    for (reply, expected) in [(ended, "broke off"), (cut, "broke off"), (strange, "no JSON")] {
        let url = canned(reply);
        let chat = ["chat", "hello", "--model", "m", "--server-url", &url];
        let done = run(&chat).await;
        assert_eq!((done.code, done.out.as_str()), (Some(1), "half a\n"), "{done:?}");
        assert!(done.err.contains(expected), "{done:?}");
        let bench = ["bench", &url, "--model", "m", "--requests", "1", "--json"];
        assert_eq!(run(&bench).await.code, Some(1));
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for_without_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let begun = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: here\n\n";
    let half = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(begun.as_bytes()).unwrap();
            // Until the other end gives up.
            let _ = stream.read(&mut request);
        });
        url
    };
    let quick = ["--timeout", "1", "--server-url"];
    for (verb, url) in [
        (&["models"][..], &url),
        (&["sessions", "list"], &url),
        (&["chat", "hello"], &url),
        (&["chat", "hello", "--model", "m"], &half),
    ] {
        let done = run(&[verb, &quick, &[url.as_str()]].concat()).await;
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.err.contains("has said nothing for 1 s") && done.err.contains("--timeout"));
    }
}

/// A certificate for 127.0.0.1 that nobody has signed but itself, and its key.
fn self_signed(folder: &Path) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    (certificate, key)
}

#[tokio::test]
async fn a_certificate_that_nobody_trusts_is_told_and_can_be_trusted() {
    let folder = new_folder();
    let (certificate, key) = self_signed(&folder);
    let mut server = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-www", "-cert"])
        .arg(&certificate)
        .arg("-key")
        .arg(&key)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    let port = lines.find_map(|line| line.strip_prefix("ACCEPT 127.0.0.1:").map(str::to_owned));
    // It goes on to say what it does.
    let reading = std::thread::spawn(move || lines.for_each(drop));
    let port = port.unwrap();
    for told in told(&format!("https://127.0.0.1:{port}")).await {
        assert!(told.contains("certificate") && told.contains("SSL_CERT_FILE"), "{told}");
    }
    let mut trusting =
        outcrop(&folder, &["models", "--server-url", &format!("https://127.0.0.1:{port}")]);
    let trusting = trusting.env("SSL_CERT_FILE", &certificate);
    let trusting = trusting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let done = Done::of(trusting).await;
    assert!(done.err.contains("does not answer like an OpenAI-compatible server"), "{done:?}");
    server.kill().unwrap();
    server.wait().unwrap();
    reading.join().unwrap();
    fs::remove_dir_all(folder).unwrap();
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
