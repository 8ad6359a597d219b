//! `outcrop login` where the service is not there, is not the service, or is given up on.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};

use serde_json::json;

use super::broker::{new_folder, outcrop, soon};
use super::sign_in::{MODEL, Signed, text};

/// Whoever connects is answered with this; as often as any test asks.
fn answering(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().take(4) {
            let mut socket = socket.unwrap();
            let mut asked = [0; 4096];
            // What is asked does not matter, nor whether the answer is taken.
            let _ = socket.read(&mut asked).and_then(|_| socket.write_all(bytes));
        }
    });
    address
}

async fn login(endpoint: &str) -> Output {
    let place = new_folder();
    let mut command = outcrop(&place, &["login"]);
    command.env("AWS_ENDPOINT_URL", endpoint);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    fs::remove_dir_all(place).unwrap();
    output
}

#[tokio::test]
async fn each_way_in_which_the_service_is_not_there_has_its_own_advice() {
    let page = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 20\r\n\
                 connection: close\r\n\r\n<html>welcome</html>";
    let gate = b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\
                 connection: close\r\n\r\nfull";
    let cases = [
        (
            format!("http://{}", answering(page)),
            "is not it (it answered 200, text/html): a login page or a proxy",
        ),
        (format!("http://{}", answering(gate)), "cannot be reached: it answered 502, text/html"),
        (format!("https://{}", answering(page)), "could not be reached safely: "),
        ("http://127.0.0.1:9".to_owned(), "cannot be reached: "),
    ];
    for (endpoint, expected) in cases {
        let output = login(&endpoint).await;
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{endpoint}");
        assert!(told.contains(expected), "{endpoint}: {told}");
        assert!(told.contains("check "), "it says what to do: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[tokio::test]
async fn who_gives_up_waiting_is_told_so_and_nothing_is_kept() {
    let signed = Signed::out("", MODEL).await;
    let polls = vec!["authorization_pending"; 100];
    signed.broker.set_up_sign_in(&json!({ "polls": polls })).await;
    let mut command = outcrop(&signed.place, &["login"]);
    command.env("OUTCROP_CODEWHISPERER__DIRECTORY", &signed.place);
    command.env("AWS_ENDPOINT_URL", format!("http://{}", signed.broker.upstream_address()));
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let shown = tokio::task::spawn_blocking(move || {
        // Whoever reads a pipe gets the code at once.
        lines.find(|line| line.as_ref().unwrap().starts_with("Waiting"))
    });
    assert!(soon("the code", shown).await.unwrap().is_some());
    let number = process.id().to_string();
    assert!(Command::new("kill").args(["-INT", &number]).status().unwrap().success());
    let ended = tokio::task::spawn_blocking(move || process.wait_with_output().unwrap());
    let ended = soon("the end", ended).await.unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(text(&ended.stderr).contains("not waited for any more"), "{ended:?}");
    assert!(!signed.place.join("tokens.json").exists());
}

#[tokio::test]
async fn profiles_that_cannot_be_asked_for_are_not_said_to_be_missing() {
    let signed = Signed::out("", MODEL).await;
    signed.broker.set_up_sign_in(&json!({ "polls": [], "token_lifetime_seconds": 0 })).await;
    let url = "https://acme.awsapps.com/start/#/";
    let output = signed.run(&["login", "--start-url", url, "--region", "eu-central-1"]).await;
    let told = text(&output.stdout);
    assert!(told.contains("signed in to https://acme.awsapps.com/start\n"), "{output:?}");
    assert!(told.contains("could not be asked for"), "{output:?}");
}
