//! `outcrop sessions` and `outcrop models` against a running broker.

use serde_json::Value;

use super::super::broker::{Broker, Setup, until};
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
async fn models_are_listed_with_what_is_known_of_them() {
    let tables = "[[models]]\nname = \"gone\"\nbackend = \"openai\"\nmodel_id = \"missing\"\n";
    let broker = Broker::with(Setup { tables, ..Setup::default() }).await;
    let url = format!("http://{}", broker.address);
    let list = run(&["models", "--server-url", &url]).await.well();
    let rows: Vec<Vec<_>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1][..2], ["agent", "bedrock-agent"], "{list}");
    let probed = run(&["models", "--server-url", &url, "--probe", "--json"]).await;
    assert_eq!(probed.code, Some(1), "{probed:?}");
    let rows: Value = serde_json::from_str(&probed.out).unwrap();
    assert_eq!((&rows[0]["healthy"], &rows[1]["healthy"]), (&true.into(), &false.into()), "{rows}");
}
