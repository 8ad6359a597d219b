use std::sync::Arc;

use serde_json::{Value, json};

use crate::turn::{CacheLife, FailureKind, Message, Part, Role};

use super::super::*;

fn decode(body: &str) -> Result<Asked, Failure> {
    OpenAiChat.decode(body.as_bytes(), &Defaults::default())
}

fn asked(members: &str) -> Asked {
    decode(&format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],{members}}}"#)).unwrap()
}

fn refused(members: &str) -> (FailureKind, String) {
    let body = format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],{members}}}"#);
    let failure = decode(&body).unwrap_err();
    (failure.kind, failure.param.unwrap_or_default().into())
}

#[test]
fn a_plain_request_is_read() {
    let body = r#"{"model":"claude","stream":true,"stream_options":{"include_usage":true},
        "temperature":0.5,"messages":[
        {"role":"developer","content":"Be brief."},
        {"role":"user","content":"What is on the slip?","name":"ann"},
        {"role":"assistant","content":"","tool_calls":[
            {"id":"call_1","type":"function","function":{"name":"read","arguments":"{}"}},
            {"id":"call_2","type":"custom","custom":{"name":"say","input":"a\"b"}}]},
        {"role":"tool","tool_call_id":"call_1","content":[{"type":"text","text":"a"},{"text":"b","type":"input_text"}]},
        {"role":"tool","tool_call_id":"call_2"}]}"#;
    let asked = decode(body).unwrap();
    assert!(asked.stream && asked.options.include_usage);
    assert_eq!(asked.request.model.unwrap().as_str(), "claude");
    let messages = asked.request.messages;
    let roles: Vec<_> = messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool, Role::Tool]);
    assert_eq!(messages[1].plain_text(), "What is on the slip?");
    assert!(messages[2].parts.is_empty());
    assert_eq!(messages[2].tool_calls[0].name, "read");
    assert_eq!(messages[2].tool_calls[1].arguments, r#""a\"b""#);
    assert_eq!(messages[3].plain_text(), "a\n\nb");
    assert_eq!(messages[3].tool_call_id.as_deref(), Some("call_1"));
}

#[test]
fn what_real_clients_send_is_absorbed() {
    let body = "\u{feff}".to_owned()
        + r#"{"messages":[
        {"role":"system","content":null},{"role":"system","content":"Two of them."},
        {"role":"assistant","content":"Hello! How can I help?","created_at":"2026-01-01"},
        {"role":"user"},
        {"role":"assistant","refusal":"I would rather not.","content":null,"tool_calls":null,
         "function_call":{"name":"look_up","arguments":""}},
        {"role":"function","name":"look_up","content":"found"},
        {"role":"user","content":[{"type":"input_text","text":""},{"type":"refusal","refusal":"no"}]},
        {"role":"user","content":"My card is blocked.","tool_calls":[{}]}],
        "n":1.0,"stop":["a"],"modalities":["text"],"audio":null,"response_format":{"type":"text"},
        "stream":null,"stream_options":null,"model":null,"metadata":null,"user":"","unheard_of":{}}"#;
    let asked = decode(&body).unwrap();
    assert!(!asked.stream && asked.request.model.is_none());
    assert_eq!(asked.request.hints.speaker, None);
    let messages = asked.request.messages;
    let said: Vec<_> = messages.iter().map(Message::plain_text).collect();
    assert_eq!(
        said,
        [
            "",
            "Two of them.",
            "Hello! How can I help?",
            "",
            "I would rather not.",
            "found",
            "no",
            "My card is blocked."
        ]
    );
    assert_eq!(messages[4].tool_calls[0].id, "look_up");
    assert_eq!(messages[5].role, Role::Tool);
    assert_eq!(messages[5].tool_call_id.as_deref(), Some("look_up"));
    assert!(messages[7].tool_calls.is_empty());
}

#[test]
fn what_is_no_text_is_an_attachment_in_the_clients_own_spelling() {
    let image = json!({"image_url": {"url": "data:,x", "detail": "low"}, "type": "image_url"});
    let odd = json!({"text": "caption", "type": "hologram", "depth": [1.5, null]});
    let body = json!({"messages": [{"role": "user", "content": [image, odd]}]}).to_string();
    let parts = decode(&body).unwrap().request.messages.remove(0).parts;
    let attachment = |kind: &str, value: &Value| Part::Attachment {
        kind: kind.to_owned(),
        value: Arc::new(value.clone()),
    };
    assert_eq!(parts, [attachment("image_url", &image), attachment("hologram", &odd)]);
}

#[test]
fn a_member_of_the_wrong_shape_is_named() {
    let cases = [
        (r#"{}"#, "messages"),
        (r#"{"messages":null}"#, "messages"),
        (r#"{"messages":[]}"#, "messages"),
        (r#"{"messages":"hi"}"#, "messages"),
        (r#"{"messages":["hi"]}"#, "messages[0]"),
        (r#"{"messages":[{"content":"hi"}]}"#, "messages[0].role"),
        (r#"{"messages":[{"role":"robot","content":"hi"}]}"#, "messages[0].role"),
        (r#"{"messages":[{"role":"user","content":"hi"},{"role":1}]}"#, "messages[1].role"),
        (r#"{"messages":[{"role":"user","content":5}]}"#, "messages[0].content"),
        (r#"{"messages":[{"role":"user","content":{"type":"text"}}]}"#, "messages[0].content"),
        (r#"{"messages":[{"role":"user","content":["hi"]}]}"#, "messages[0].content[0]"),
        (r#"{"messages":[{"role":"user","content":[{"text":"x"}]}]}"#, "messages[0].content[0]"),
        (r#"{"messages":[{"role":"user","content":[{"type":"text"}]}]}"#, "messages[0].content[0]"),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":1}]}]}"#,
            "messages[0].content[0].text",
        ),
        (r#"{"messages":[{"role":"tool","content":"x"}]}"#, "messages[0].tool_call_id"),
        (r#"{"messages":[{"role":"function","content":"x"}]}"#, "messages[0].name"),
        (
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"a"}]}]}"#,
            "messages[0].tool_calls[0].function",
        ),
        (
            r#"{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f"}}]}]}"#,
            "messages[0].tool_calls[0].id",
        ),
        (
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":{}}}]}]}"#,
            "messages[0].tool_calls[0].function.arguments",
        ),
        (r#"{"messages":[{"role":"user","content":" \n"}]}"#, "messages[0].content"),
        (
            r#"{"messages":[{"role":"assistant","content":"hi"},{"role":"user"}]}"#,
            "messages[1].content",
        ),
        (r#"{"messages":[{"role":"system","content":""}]}"#, "messages"),
    ];
    for (body, param) in cases {
        let failure = decode(body).unwrap_err();
        assert_eq!(failure.kind, FailureKind::BadRequest, "{body}");
        assert_eq!(failure.param.as_deref(), Some(param), "{body}: {failure}");
    }
}

#[test]
fn a_top_level_member_of_the_wrong_shape_is_named() {
    for (members, param) in [
        (r#""stream":"true""#, "stream"),
        (r#""stream_options":{"include_usage":1}"#, "stream_options.include_usage"),
        (r#""n":"1""#, "n"),
        (r#""n":1.5"#, "n"),
        (r#""n":0"#, "n"),
        (r#""model":5"#, "model"),
        (r#""model":"two words""#, "model"),
        (r#""user":7"#, "user"),
        (r#""session_id":"two words""#, "session_id"),
        (r#""session_id":5"#, "session_id"),
        (r#""conversation":5"#, "conversation"),
        (r#""conversation":{"id":5}"#, "conversation.id"),
        (r#""call":{"id":"two words"}"#, "call.id"),
        (r#""metadata":{"session_id":""}"#, "metadata.session_id"),
        (r#""elevenlabs_extra_body":{"session_id":"é"}"#, "elevenlabs_extra_body.session_id"),
        (r#""metadata":"x""#, "metadata"),
        (r#""modalities":"text""#, "modalities"),
    ] {
        assert_eq!(refused(members), (FailureKind::BadRequest, param.to_owned()), "{members}");
    }
}

#[test]
fn what_would_change_the_meaning_is_refused_by_name() {
    for (members, param) in [
        (r#""n":2"#, "n"),
        (r#""n":128.0"#, "n"),
        (r#""modalities":["text","audio"]"#, "modalities"),
        (r#""audio":{"voice":"x"}"#, "audio"),
    ] {
        let expected = (FailureKind::UnsupportedParameter, param.to_owned());
        assert_eq!(refused(members), expected, "{members}");
    }
}

#[test]
fn the_first_way_to_name_a_session_counts() {
    let ways = [
        (r#""session_id":"a""#, "a"),
        (r#""conversation":{"id":"b"}"#, "b"),
        (r#""conversation_id":"c""#, "c"),
        (r#""metadata":{"session_id":"d"}"#, "d"),
        (r#""call":{"id":"e","customer":{"number":"+15550100199"}}"#, "e"),
        (r#""elevenlabs_extra_body":{"conversation_id":"f"}"#, "f"),
    ];
    for first in 0..ways.len() {
        let members: Vec<_> = ways[first..].iter().rev().map(|(member, _)| *member).collect();
        let named = asked(&members.join(",")).request.hints.named.unwrap();
        assert_eq!(named.as_str(), ways[first].1);
    }
    let by_name = asked(r#""conversation":"conv_1""#).request.hints.named.unwrap();
    assert_eq!(by_name.as_str(), "conv_1");
    let none = asked(r#""call":"x","elevenlabs_extra_body":[],"user":"u","user_id":"v""#);
    assert_eq!(none.request.hints.named, None);
    assert_eq!(none.request.hints.speaker.as_deref(), Some("u"));
    let other = asked(r#""safety_identifier":"s","user_id":"v""#);
    assert_eq!(other.request.hints.speaker.as_deref(), Some("s"));
}

#[test]
fn metadata_is_bounded_but_for_voice_platforms() {
    let small = asked(r#""metadata":{"tier":"gold","plan":{"a": [1]},"n":5,"none":null}"#);
    let metadata = small.request.metadata;
    let listed: Vec<_> = metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(listed, [("n", "5"), ("plan", r#"{"a": [1]}"#), ("tier", "gold")]);
    let long_key = format!(r#""metadata":{{"{}":"v"}}"#, "k".repeat(65));
    let long_value = format!(r#""metadata":{{"k":"{}"}}"#, "é".repeat(513));
    let pairs: Vec<_> = (0..17).map(|n| format!("\"k{n}\":\"v\"")).collect();
    let too_many = format!(r#""metadata":{{{}}}"#, pairs.join(","));
    for members in [long_key, long_value, too_many] {
        assert_eq!(refused(&members), (FailureKind::BadRequest, "metadata".to_owned()));
        asked(&format!(r#"{members},"call":{{"id":"7f"}}"#));
    }
    assert_eq!(
        asked(&format!(r#""metadata":{{"k":"{}"}}"#, "é".repeat(512))).request.metadata.len(),
        1
    );
    asked(r#""metadata":["x"],"call":{}"#);
}

#[test]
fn a_route_says_whether_silence_means_to_stream() {
    let defaults = Defaults { stream: true };
    let stream = |members: &str| {
        let body = format!(r#"{{"messages":[{{"role":"user","content":"hi"}}]{members}}}"#);
        OpenAiChat.decode(body.as_bytes(), &defaults).unwrap().stream
    };
    assert!(stream("") && stream(r#","stream":null"#) && stream(r#","stream":true"#));
    assert!(!stream(r#","stream":false"#));
}

#[test]
fn bodies_beyond_the_bounds_are_refused() {
    let message = r#"{"role":"user","content":"x"}"#;
    let list = |count: usize| format!(r#"{{"messages":[{}]}}"#, vec![message; count].join(","));
    assert_eq!(decode(&list(10_000)).unwrap().request.messages.len(), 10_000);
    assert_eq!(decode(&list(10_001)).unwrap_err().param.as_deref(), Some("messages"));

    let parts = |part: &str, count: usize| {
        let parts = vec![part; count].join(",");
        decode(&format!(r#"{{"messages":[{{"role":"user","content":[{parts}]}}]}}"#))
    };
    assert!(parts(r#"{"type":"x"}"#, 1_000).is_ok());
    let complex = format!(r#"{{"type":"x","y":[{}]}}"#, vec!["{}"; 20_001].join(","));
    let wide = format!(r#"{{"type":"x","y":[{}]}}"#, vec!["0"; 200_001].join(","));
    let deep = format!(r#"{{"type":"x","y":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let long = format!(r#"{{"type":"x","y":"{}"}}"#, "{,[".repeat(300_000));
    assert!(parts(&long, 1).is_ok());
    let one = |part: &str| parts(part, 1);
    for refused in [parts(r#"{"type":"x"}"#, 1_001), one(&complex), one(&wide), one(&deep)] {
        let failure = refused.unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("messages[0].content"));
    }

    let members: Vec<_> = (0..101).map(|n| format!("\"m{n}\":1")).collect();
    let many = format!(r#"{{"type":"x",{}}}"#, members.join(","));
    assert_eq!(one(&many).unwrap_err().param.as_deref(), Some("messages[0].content[0]"));

    let deep = format!(r#"{{"unknown":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(decode(&deep).unwrap_err().param.as_deref(), Some("messages"));
}

#[test]
fn no_message_quotes_what_the_client_sent() {
    for body in [
        r#"{"messages":"my PIN is 1234"}"#,
        r#"{"messages":[{"role":"my PIN is 1234"}]}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"stream":"my PIN is 1234"}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"n":1234.5}"#,
        r#"{"messages":[{"role":"user","content":"my PIN is 1234"}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"session_id":"my PIN is 1234"}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"outcrop":{"turn_policy":"my PIN is 1234"}}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"outcrop":{"memory_id":"my PIN is 1234"}}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"my PIN is 1234"}]}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"tool_choice":"my PIN is 1234"}"#,
        r#"{"messages":[{"role":"tool","tool_call_id":"x","is_error":"my PIN is 1234"}]}"#,
        r#"{"messages":[{"role":"tool","tool_call_id":"PIN 1234"},{"role":"tool","tool_call_id":"PIN 1234"}]}"#,
    ] {
        let failure = decode(body).unwrap_err();
        assert!(!failure.message.contains("1234"), "{failure}");
    }
}

#[test]
fn marks_for_the_cache_are_taken_as_gateways_send_them() {
    let mark = json!({"type": "ephemeral"});
    let url = json!({"url": "data:image/png;base64,AAAA"});
    let body = json!({
        "messages": [
            {"role": "system", "content": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            {"role": "user", "content": [
                {"type": "text", "text": "", "cache_control": mark},
                {"type": "image_url", "image_url": url, "cache_control": mark},
                {"type": "text", "text": "What is it?"},
            ]},
            {"role": "assistant", "content": [{"type": "text", "text": "A", "cache_control": mark}]},
            {"role": "user", "content": "b", "cache_control": null},
        ],
        "tools": [
            {"type": "function", "function": {"name": "f"}, "cache_control": mark},
            {"type": "function", "function": {"name": "g", "cache_control": mark}},
        ],
    });
    let request = decode(&body.to_string()).unwrap().request;
    let points = request.messages.iter().map(|message| {
        let points = message.cache_points.iter();
        points.map(|point| (point.after, point.life)).collect::<Vec<_>>()
    });
    let (usual, hour) = (CacheLife::FiveMinutes, CacheLife::Hour);
    let expected = [vec![(1, hour)], vec![(1, usual)], vec![(1, usual)], vec![]];
    assert_eq!(points.collect::<Vec<_>>(), expected);
    let Part::Attachment { value, .. } = &request.messages[1].parts[0] else { panic!() };
    assert!(value.get("cache_control").is_none(), "{value}");
    assert!(request.tools.iter().all(|tool| tool.cache == Some(usual)));
}
