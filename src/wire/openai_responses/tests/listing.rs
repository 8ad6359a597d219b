use std::collections::BTreeMap;
use std::sync::Arc;

use crate::turn::{ItemId, Message, Place, Role, Status, ToolCall};

use super::*;

/// A session's messages: a question with a picture, an answer with a call, and its result.
fn said() -> Vec<Arc<Message>> {
    let body = json!({"input": [
        {"role": "user", "content": [{"type": "input_text", "text": "See."},
            {"type": "input_image", "image_url": "https://x/a.png"},
            {"type": "input_file", "file_data": "aGk=", "filename": "a.txt"}]},
        {"type": "message", "role": "assistant", "content": "Let me."},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "7"},
    ]});
    decoded(&body).messages.into_iter().map(Arc::new).collect()
}

fn ids(items: &[(ItemId, Value)]) -> Vec<String> {
    for (id, item) in items {
        assert_eq!(item["id"], id.to_string());
    }
    items.iter().map(|(id, _)| id.to_string().replace(SUFFIX, "X")).collect()
}

#[test]
fn input_is_listed_with_an_id_for_every_item() {
    let items = input_items(&turn(), &said());
    assert_eq!(ids(&items), ["msg_X_i0", "msg_X_i1", "fc_X_i1_0", "fco_X_i2"]);
    assert_eq!(
        items[0].1["content"],
        json!([
            {"type": "input_text", "text": "See."},
            {"type": "input_image", "image_url": "https://x/a.png", "file_id": null,
             "detail": "auto"},
            {"type": "input_file", "file_data": "aGk=", "filename": "a.txt"},
        ])
    );
    let result = json!({"id": format!("fco_{SUFFIX}_i2"), "type": "function_call_output",
        "call_id": "a", "status": "completed", "output": "7"});
    assert_eq!(items[3].1, result);
}

#[test]
fn what_a_turn_brought_ends_with_its_answer() {
    let mut messages = said();
    let confirmation = Confirmation::None;
    let call = ToolCall {
        id: "b".to_owned(),
        name: "g".to_owned(),
        arguments: String::new(),
        confirmation,
    };
    messages.push(Arc::new(Message {
        tool_calls: vec![call],
        status: Status::Interrupted,
        ..Message::text(Role::Assistant, "Seven")
    }));
    let items = items_of(&turn(), &messages, true);
    assert_eq!(ids(&items)[4..], ["msg_X_0", "fc_X_0"]);
    assert_eq!(items[4].1["status"], "incomplete");
    assert_eq!(items[5].1["arguments"], "{}");
    assert_eq!(ids(&items_of(&turn(), &messages, false))[4..], ["msg_X_i3", "fc_X_i3_0"]);
    assert!(items_of(&turn(), &[], true).is_empty());
}

#[test]
fn output_is_what_the_response_holds() {
    let head = head_of(json!({"tools": [{"type": "custom", "name": "sh"}]}));
    let events = [TurnEvent::Started, text("One."), call(0, "c", "sh"), text("Two."), finished()];
    let items = output_items(&turn(), head.echo.as_deref(), &events);
    assert_eq!(ids(&items), ["msg_X_0", "fc_X_0", "msg_X_1"]);
    let listed: Value = items.into_iter().map(|(_, item)| item).collect();
    assert_eq!(listed, whole(&head, &events)["output"]);
    assert!(output_items(&turn(), None, &[]).is_empty());
}

fn wanted<'a>(limit: &'a str, order: &'a str, after: Option<&'a str>) -> Wanted<'a> {
    Wanted { limit: Some(limit), order: Some(order), after }
}

#[test]
fn pages_follow_each_other_in_either_order() {
    let items = input_items(&turn(), &said());
    for order in ["asc", "desc"] {
        let mut expected = ids(&items);
        if order == "desc" {
            expected.reverse();
        }
        let mut seen = Vec::new();
        let mut after: Option<String> = None;
        for left in [true, false] {
            let page = page(&items, wanted("3", order, after.as_deref())).unwrap();
            assert_eq!((&page["object"], &page["has_more"]), (&json!("list"), &json!(left)));
            let data = page["data"].as_array().unwrap();
            assert_eq!(page["first_id"], data[0]["id"]);
            assert_eq!(page["last_id"], data[data.len() - 1]["id"]);
            seen.extend(data.iter().map(|i| i["id"].as_str().unwrap().replace(SUFFIX, "X")));
            after = page["last_id"].as_str().map(str::to_owned);
        }
        assert_eq!(seen, expected);
    }
    let usual = page(&items, Wanted::default()).unwrap();
    assert_eq!(usual["data"][0]["type"], "function_call_output");
}

#[test]
fn an_empty_page_has_empty_ids() {
    let page = page(&[], Wanted::default()).unwrap();
    let expected =
        json!({"object": "list", "data": [], "first_id": "", "last_id": "", "has_more": false});
    assert_eq!(page, expected);
}

#[test]
fn a_page_that_there_is_not_is_refused() {
    let items = input_items(&turn(), &said());
    let elsewhere = ItemId { turn: TurnId::generate(), place: Place::Input(0) }.to_string();
    let cases = [
        (wanted("0", "asc", None), "limit"),
        (wanted("101", "asc", None), "limit"),
        (wanted("many", "asc", None), "limit"),
        (wanted("1", "up", None), "order"),
        (wanted("1", "asc", Some("msg_1")), "after"),
        (wanted("1", "asc", Some(&elsewhere)), "after"),
    ];
    for (wanted, expected) in cases {
        assert_eq!(param(&page(&items, wanted).unwrap_err()), expected, "{wanted:?}");
    }
}

#[test]
fn a_conversation_is_written_as_one() {
    let id = "conv_1".parse().unwrap();
    let metadata = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let expected = json!({"id": "conv_1", "object": "conversation", "created_at": 5,
                          "metadata": {"a": "b"}});
    assert_eq!(conversation(&id, UNIX_EPOCH + Duration::from_secs(5), &metadata), expected);
    let gone = json!({"id": "conv_1", "object": "conversation.deleted", "deleted": true});
    assert_eq!(deleted_conversation(&id), gone);
}

#[test]
fn what_is_brought_to_a_conversation_is_read() {
    let body = json!({"items": [{"role": "user", "content": "hi"}], "metadata": {"a": "b"}});
    let brought = read_items(body.to_string().as_bytes()).unwrap();
    assert_eq!(brought.messages, [Message::text(Role::User, "hi")]);
    assert_eq!(brought.metadata.unwrap()["a"], "b");
    for empty in ["", "{}", r#"{"items":null,"metadata":null}"#] {
        let brought = read_items(empty.as_bytes()).unwrap();
        assert!(brought.messages.is_empty() && brought.metadata.is_none());
    }
    let many = vec![json!({"role": "user", "content": "hi"}); 21];
    let reference = json!({"id": format!("msg_{SUFFIX}_0")});
    let cases = [
        (json!({ "items": many }), "items"),
        (json!({"items": [{"role": "x"}]}), "items[0].role"),
        (json!({ "items": [reference] }), "items[0].id"),
        (json!({"metadata": {"a": "v".repeat(513)}}), "metadata"),
    ];
    for (body, expected) in cases {
        let failure = read_items(body.to_string().as_bytes()).unwrap_err();
        assert_eq!(param(&failure), expected);
    }
}

#[test]
fn items_that_are_named_are_put_where_they_belong() {
    let events = [
        TurnEvent::Started,
        TurnEvent::Reasoning("Hm.".into()),
        text("Let me."),
        call(0, "a", "f"),
        finished(),
    ];
    let output = output_items(&turn(), None, &events);
    let named: Vec<_> = output.iter().map(|(id, _)| json!({ "id": id.to_string() })).collect();
    let mut items = vec![json!({"role": "user", "content": "one"})];
    items.extend(named);
    items.push(json!({"type": "function_call_output", "call_id": "a", "output": "7"}));
    items.push(json!({"id": format!("msg_{SUFFIX}_i0")}));
    let mut request = decoded(&json!({"instructions": "Be kind.", "input": items}));
    let input = input_items(&turn(), &[Arc::new(Message::text(Role::User, "two"))]);
    let all: Vec<_> = output.into_iter().chain(input).collect();
    let find =
        |wanted: &ItemId| all.iter().find(|(id, _)| id == wanted).map(|(_, item)| item.clone());
    put_references(&mut request, find).unwrap();
    assert!(request.references.is_empty());
    let told: Vec<_> = request.messages.iter().map(|m| (m.role, m.plain_text())).collect();
    let expected = [
        (Role::System, "Be kind."),
        (Role::User, "one"),
        (Role::Assistant, "Let me."),
        (Role::Tool, "7"),
        (Role::User, "two"),
    ];
    assert_eq!(told, expected.map(|(role, text)| (role, text.to_owned())));
    let answer = &request.messages[2];
    assert_eq!((answer.thoughts.len(), answer.tool_calls.len()), (1, 1));

    let mut request = decoded(&json!({"input": [{"id": format!("msg_{SUFFIX}_9")}]}));
    let failure = put_references(&mut request, |_| None).unwrap_err();
    assert_eq!(param(&failure), "input[0].id");
}

#[test]
fn a_response_id_is_its_turn_s() {
    assert_eq!(response_id(&turn()), format!("resp_{SUFFIX}"));
    assert_eq!(turn_of(&response_id(&turn())), Some(turn()));
    assert_eq!(turn_of(SUFFIX), None);
    assert_eq!(
        deleted(&turn()),
        format!(r#"{{"id":"resp_{SUFFIX}","object":"response","deleted":true}}"#)
    );
    assert_eq!(input_tokens(7), r#"{"object":"response.input_tokens","input_tokens":7}"#);
}
