//! Responses whose conversation is longer than what is kept, or than what their model can read.

use serde_json::json;

use crate::broker::{Broker, Setup};
use crate::respond::{Respond, Responded};

use super::MODEL;

/// A model that can read little.
const SMALL: &str = "[[models]]\nname = \"small\"\nbackend = \"bedrock\"\n\
                     model_id = \"amazon.titan-text-express-v1\"\n";

/// A response after some others, of which the last two are more than the small model can read.
async fn long(broker: &Broker) -> Responded {
    let mut last = None;
    for text in ["my name is Ann".to_owned(), "word ".repeat(3_500), "text ".repeat(3_500)] {
        let ask = Respond::to(broker, text).with("model", "small");
        last = Some(match &last {
            None => ask.complete().await,
            Some(before) => ask.after(before).complete().await,
        });
    }
    last.unwrap()
}

#[tokio::test]
async fn what_the_model_cannot_read_is_refused_unless_the_oldest_may_be_left_out() {
    let broker = Broker::with(Setup { tables: SMALL, ..Setup::default() }).await;
    let long = long(&broker).await;
    let ask = || {
        let more = "more ".repeat(2_500);
        Respond::to(&broker, more).with("model", "small").after(&long)
    };
    for ask in [ask(), ask().with("truncation", "disabled")] {
        let refused = ask.send().await;
        assert_eq!(refused.refusal(), (400, "context_length_exceeded", "input"), "{refused:?}");
    }
    let cut = ask().with("truncation", "auto").complete().await;
    assert_eq!(cut.body["truncation"], "auto");
    let streamed = ask().with("truncation", "auto").streamed().complete().await;
    assert_eq!(streamed.text(), cut.text());
    let calls = broker.upstream().await["models"]["calls"].clone();
    let told = calls.as_array().unwrap().last().unwrap()["request"]["messages"].clone();
    assert!(!told.to_string().contains("my name is Ann"), "the oldest was told");
    // All of it is kept, and listed.
    let listed = cut.get(&broker, "/input_items?order=asc").await.body;
    assert_eq!(listed["data"][0]["content"][0]["text"], "my name is Ann");
}

#[tokio::test]
async fn an_input_that_is_too_long_by_itself_is_refused_whatever_may_be_left_out() {
    let broker = Broker::with(Setup { tables: SMALL, ..Setup::default() }).await;
    let ask = Respond::to(&broker, "word ".repeat(9_000)).with("model", "small");
    let refused = ask.with("truncation", "auto").send().await;
    assert_eq!(refused.refusal(), (400, "context_length_exceeded", "input"), "{refused:?}");
}

#[tokio::test]
async fn what_the_session_has_let_go_of_is_missed_only_by_those_who_want_all_told() {
    let settings = "session.history_messages = 4";
    let broker = Broker::with(Setup { settings, tables: MODEL, ..Setup::default() }).await;
    let say = |text: &str| Respond::to(&broker, text).with("model", "claude");
    let mut last = say("my name is Ann").complete().await;
    for text in ["count to 2", "count to 3"] {
        last = say(text).after(&last).complete().await;
    }
    let refused = say("count to 4").after(&last).with("truncation", "disabled").send().await;
    assert_eq!(refused.refusal(), (400, "context_length_exceeded", "truncation"), "{refused:?}");
    for truncation in [json!("auto"), json!(null)] {
        let ask = say("count to 4").after(&last).with("truncation", truncation);
        assert_eq!(ask.complete().await.text().trim(), "1 2 3 4");
    }
}
