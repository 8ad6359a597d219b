//! What an agent is given beside the words: attributes, files, its long-term memory.

use serde_json::json;

use super::broker::{Broker, Setup, until};

#[tokio::test]
async fn attributes_of_the_settings_are_filled_and_those_of_the_request_go_before_them() {
    let model = "session_attributes = { tenant = \"{tenant}\", plan = \"free\", city = \
                 \"{metadata.city}\" }\nprompt_session_attributes = { who = \"{user}\" }";
    let broker = Broker::with(Setup { model, ..Setup::default() }).await;
    let options = json!({ "session_attributes": { "plan": "gold" } });
    let ask = broker.ask("What are my attributes?").with("user", json!("ann"));
    let text = ask.with("outcrop", options).text().await;
    let expected = "Session attributes: plan=gold, tenant=local. Prompt attributes: who=ann.";
    assert_eq!(text, expected);
}

#[tokio::test]
async fn files_come_as_bytes_and_as_objects_in_s3() {
    let broker = Broker::start().await;
    let file = |file| json!({ "type": "file", "file": file });
    let bytes = json!({ "filename": "a.csv", "file_data": "data:text/csv;base64,YSxi" });
    let content = json!([
        { "type": "text", "text": "What are my files?" },
        file(bytes.clone()),
        file(bytes),
        file(json!({ "file_id": "s3://bucket/dir/fees.pdf" })),
        { "type": "image_url", "image_url": { "url": "data:image/png;base64,eA==" } },
    ]);
    let messages = json!([{ "role": "user", "content": content }]);
    let ask = broker.ask("x").with("messages", messages);
    let text = ask.with("outcrop", json!({ "file_use": "code_interpreter" })).text().await;
    let expected = "Files: a.csv (text/csv, 3 bytes, CODE_INTERPRETER), a-2.csv (text/csv, 3 bytes, \
                    CODE_INTERPRETER), fees.pdf (s3://bucket/dir/fees.pdf, CODE_INTERPRETER), \
                    image-4.png (image/png, 1 bytes, CODE_INTERPRETER).";
    assert_eq!(text, expected);
}

#[tokio::test]
async fn a_session_that_was_ended_is_remembered_by_the_same_user_only() {
    let broker = Broker::with(Setup { model: "memory_id = \"{user}\"", ..Setup::default() }).await;
    let as_user = |text: &str, user: &str| broker.ask(text).with("user", json!(user));
    as_user("my name is Ann", "ann@example.com").session("one").text().await;
    let ended = broker.request("DELETE", "/v1/sessions/one").send().await;
    assert!((200..300).contains(&ended.status), "{}", ended.status);
    let remembers = async |user: &str| as_user("What do you remember?", user).text().await;
    until("the memory to be written", async || {
        remembers("ann@example.com").await.contains("I remember 1")
    })
    .await;
    assert!(!remembers("bob@example.com").await.contains("I remember 1"));
}
