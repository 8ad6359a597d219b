use std::time::SystemTime;

use bytes::BytesMut;
use serde_json::{Value, json};

use crate::turn::{
    Confirmation, Failure, FailureKind, FinishReason, Message, Role, TurnEvent, Usage,
};
use crate::wire::{Defaults, Encoder as _, Head, Options, WireFormat as _};

use super::stream::{Framing, Stream};
use super::{TitanInvoke, TitanNative};

fn head() -> Head {
    Head {
        turn: "turn_0a1b".parse().unwrap(),
        session: "s-1".parse().unwrap(),
        request: "req_1".parse().unwrap(),
        model: "titan".parse().unwrap(),
        created: SystemTime::UNIX_EPOCH,
        agent: None,
        previous: None,
        is_background: false,
        echo: None,
    }
}

fn turn(reason: FinishReason) -> Vec<TurnEvent> {
    vec![
        TurnEvent::Started,
        TurnEvent::Reasoning("hm".into()),
        TurnEvent::Text("Hel".into()),
        TurnEvent::ToolCallStarted {
            index: 0,
            id: "c".into(),
            name: "f".into(),
            confirmation: Confirmation::None,
        },
        TurnEvent::Text("lo".into()),
        TurnEvent::Usage(Usage { input_tokens: 5, output_tokens: 2, ..Usage::default() }),
        TurnEvent::Finished(reason),
    ]
}

fn messages(input: &str) -> Vec<Message> {
    let body = json!({ "inputText": input }).to_string();
    TitanNative.decode(body.as_bytes(), &Defaults::default()).unwrap().request.messages
}

#[test]
fn a_stream_is_these_bytes() {
    let mut encoder =
        Stream::new(Framing::sse(&head()), SystemTime::UNIX_EPOCH, || SystemTime::UNIX_EPOCH);
    let mut out = BytesMut::new();
    encoder.open(&mut out);
    for (sequence, event) in (1..).zip(&turn(FinishReason::Length)) {
        encoder.event(sequence, event, &mut out);
    }
    let piece = |id: u32, text: &str| {
        format!(
            "id: turn_0a1b:{id}\ndata: {{\"index\":0,\"inputTextTokenCount\":null,\
             \"totalOutputTextTokenCount\":null,\"outputText\":\"{text}\",\
             \"completionReason\":null}}\n\n"
        )
    };
    let end = concat!(
        "id: turn_0a1b:7\n",
        r#"data: {"index":0,"inputTextTokenCount":5,"totalOutputTextTokenCount":2,"#,
        r#""outputText":"","completionReason":"LENGTH","amazon-bedrock-invocationMetrics":"#,
        r#"{"inputTokenCount":5,"outputTokenCount":2,"invocationLatency":0,"firstByteLatency":0}}"#,
        "\n\n",
    );
    let expected = [piece(3, "Hel"), piece(5, "lo"), end.to_owned()].concat();
    assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
}

#[test]
fn a_whole_turn_is_its_text_and_nothing_else() {
    let cases = [
        (FinishReason::Stop, "FINISH"),
        (FinishReason::ToolCalls, "FINISH"),
        (FinishReason::Length, "LENGTH"),
        (FinishReason::ContentFilter, "CONTENT_FILTERED"),
    ];
    for (reason, expected) in cases {
        let whole = TitanInvoke.whole(&head(), Options::default(), &turn(reason));
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        let result =
            json!({ "tokenCount": 2, "outputText": "Hello", "completionReason": expected });
        assert_eq!(whole, json!({ "inputTextTokenCount": 5, "results": [result] }));
    }
}

#[test]
fn an_error_in_a_stream_is_an_event_of_that_name() {
    let mut encoder = TitanNative.encoder(head(), Options::default());
    let mut out = BytesMut::new();
    let failure = Failure::new(FailureKind::UpstreamProtocol, "cut off");
    encoder.event(2, &TurnEvent::Failed(failure), &mut out);
    assert_eq!(
        std::str::from_utf8(&out).unwrap(),
        "id: turn_0a1b:2\nevent: error\ndata: {\"message\":\"cut off\"}\n\n"
    );
}

#[test]
fn an_input_is_what_the_user_says() {
    for input in ["Hi", "User: Hi", "A robot: Bot:", "What is a Bot:\nUser: x"] {
        assert_eq!(messages(input), [Message::text(Role::User, input)]);
    }
}

#[test]
fn an_input_written_as_a_conversation_is_a_transcript() {
    let expected = [
        Message::text(Role::System, "Be kind."),
        Message::text(Role::User, "Hi"),
        Message::text(Role::Assistant, "Hello!\n\nHow are you?"),
        Message::text(Role::User, "Well"),
    ];
    let input = "Be kind.\nUser: Hi\nBot: Hello!\n\nHow are you?\nUser: Well\nBot: ";
    assert_eq!(messages(input), expected);
    assert_eq!(messages("User: Hi\nBot:"), [Message::text(Role::User, "Hi")]);
}

#[test]
fn what_is_wrong_is_named_where_it_stands() {
    let cases = [
        (json!({}), "inputText"),
        (json!({ "inputText": " " }), "inputText"),
        (json!({ "inputText": "User:\nBot:" }), "inputText"),
        (json!({ "inputText": 5 }), "inputText"),
        (
            json!({ "inputText": "a", "textGenerationConfig": { "topP": 2 } }),
            "textGenerationConfig.topP",
        ),
    ];
    for (body, param) in cases {
        let refused = TitanNative.decode(body.to_string().as_bytes(), &Defaults::default());
        assert_eq!(refused.unwrap_err().param.as_deref(), Some(param), "{body}");
    }
}

#[test]
fn the_config_is_read() {
    let body = json!({ "inputText": "a", "stream": true, "textGenerationConfig": {
        "maxTokenCount": 512, "temperature": 0, "topP": 0.9, "stopSequences": ["|"],
    } });
    let asked = TitanNative.decode(body.to_string().as_bytes(), &Defaults::default()).unwrap();
    let generation = asked.request.generation;
    assert!(asked.stream);
    assert_eq!((generation.max_tokens, generation.temperature), (Some(512), Some(0.0)));
    assert_eq!((generation.top_p, generation.stop), (Some(0.9), vec!["|".to_owned()]));
}

#[test]
fn an_answer_that_a_stop_text_ended_says_so() {
    let mut events = turn(FinishReason::Stop);
    events.insert(1, TurnEvent::StopSequence(None));
    let whole = TitanNative.whole(&head(), Options::default(), &events);
    let whole = String::from_utf8(whole.to_vec()).unwrap();
    assert!(whole.contains(r#""completionReason":"FINISH""#), "it made a call: {whole}");
    events.retain(|event| !matches!(event, TurnEvent::ToolCallStarted { .. }));
    let whole = TitanNative.whole(&head(), Options::default(), &events);
    let mut out = BytesMut::new();
    let mut encoder = TitanNative.encoder(head(), Options::default());
    events.iter().for_each(|event| encoder.event(1, event, &mut out));
    for written in [&whole[..], &out[..]] {
        let written = std::str::from_utf8(written).unwrap();
        assert!(written.contains(r#""completionReason":"STOP_CRITERIA_MET""#), "{written}");
    }
}
