//! `outcrop sessions` against a running broker.

use serde_json::Value;

use super::super::broker::{Broker, until};
use super::{Done, run, start};

#[tokio::test]
async fn sessions_are_listed_shown_and_ended() {
    let broker = Broker::start().await;
    let url = format!("http://{}", broker.address);
    let sessions = async |arguments: &[&str]| {
        run(&[&["sessions", "--server-url", &url], arguments].concat()).await
    };
    assert_eq!(sessions(&["list"]).await.well(), "no sessions\n");
    broker.ask("my name is Ann").session("ann:1").text().await;
    let list = sessions(&["list"]).await.well();
    let row: Vec<_> = list.lines().nth(1).unwrap().split_whitespace().take(4).collect();
    assert_eq!(row, ["ann:1", "agent", "idle", "1"], "{list}");
    let shown = sessions(&["show", "ann:1"]).await.well();
    assert!(shown.contains("user\nmy name is Ann\n"), "{shown}");
    let json: Value =
        serde_json::from_str(&sessions(&["show", "ann:1", "--json"]).await.well()).unwrap();
    assert_eq!(json["messages"][0]["role"], "user");
    assert_eq!(sessions(&["end", "ann:1"]).await.well(), "ann:1 ended\n");
    let gone = sessions(&["show", "ann:1"]).await;
    assert!(gone.code == Some(1) && gone.err.contains("has no such session"), "{gone:?}");
}

#[tokio::test]
async fn a_running_turn_is_followed_to_its_end() {
    let broker = Broker::start().await;
    let url = format!("http://{}", broker.address);
    let ask = broker.ask("count to 200").session("long").pace(0, 5);
    let follow = async {
        until("the turn to run", async || broker.session("long").await["running_turn"].is_string())
            .await;
        Done::of(start(&["sessions", "--server-url", &url, "follow", "long", "--once"])).await
    };
    let (answer, followed) = tokio::join!(ask.text(), follow);
    let out = followed.well();
    assert!(answer.trim_end().ends_with("200") && out.contains(&answer), "{out}");
}

#[tokio::test]
async fn answers_are_followed_as_lines_for_scripts() {
    let broker = Broker::start().await;
    let url = format!("http://{}", broker.address);
    let ask = broker.ask("count to 200").session("long").pace(0, 5);
    let follow = async {
        until("the turn to run", async || broker.session("long").await["running_turn"].is_string())
            .await;
        let follow = ["sessions", "--server-url", &url, "follow", "long", "--once", "--json"];
        Done::of(start(&follow)).await
    };
    let (answer, followed) = tokio::join!(ask.text(), follow);
    let line: Value = serde_json::from_str(&followed.well()).unwrap();
    assert_eq!((&line["text"], &line["failed"]), (&answer.as_str().into(), &Value::Null));
}
