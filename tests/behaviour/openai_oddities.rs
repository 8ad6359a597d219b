//! What compatible servers make of OpenAI's protocol, from a server that answers byte by byte.

use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde_json::{Value, json};

use super::ask::Answer;
use super::broker::{Broker, Setup};
use super::upstream::{Canned, Upstream};

const HELLO: &str = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"hello"},"finish_reason":null}]}"#;
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const DONE: &str = "[DONE]";

async fn broker(upstream: &Upstream, settings: &str) -> Broker {
    let tables = upstream.model("local", settings);
    let settings = "turn.retries = 2";
    Broker::with(Setup { settings, tables: &tables, ..Setup::default() }).await
}

async fn asked(reply: Canned) -> Answer {
    let upstream = Upstream::start([reply]).await;
    let broker = broker(&upstream, "").await;
    broker.ask("well then").at_model("local").whole().answer().await
}

/// A chunk with this delta.
fn delta(delta: &Value) -> String {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]}).to_string()
}

async fn told(data: &[&str]) -> Answer {
    let answer = asked(Canned::events(data)).await;
    answer.expect_ok();
    answer
}

#[tokio::test]
async fn a_stream_is_read_the_same_however_it_is_cut_and_spelled() {
    let spelled = "\u{feff}: OPENROUTER PROCESSING\r\n\r\nid: 1\r\nevent: x\r\n\
                   data: {\"choices\":[{\"delta\":{\"content\":\r\ndata: \"h\u{e9}l\"}}]}\r\n\r\n\
                   data:{\"choices\":[{\"delta\":{\"content\":\"l\\ud83d\\ude00\"},\"finish_reason\":\"\"}]}\r\n\r\n\
                   data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\r\n\r\n\
                   data: [DONE]";
    let reply = Canned::new(200, "text/plain", spelled);
    let upstream =
        Upstream::start([reply.clone().in_pieces_of(1), reply.clone().in_pieces_of(7), reply])
            .await;
    let broker = broker(&upstream, "").await;
    for session in ["bytes", "sevens", "whole"] {
        let ask = broker.ask("well then").at_model("local").session(session).whole();
        let answer = ask.answer().await;
        answer.expect_ok();
        assert_eq!(answer.text, "hél\u{6c}😀", "{session}");
        assert_eq!(answer.body["usage"]["total_tokens"], 9);
    }
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let upstream = Upstream::start([Canned::events(&[HELLO, STOP, DONE])]).await;
    let broker = broker(&upstream, "").await;
    for _ in 0..3 {
        broker.ask("well then").at_model("local").session("one").text().await;
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_finish_reason_or_done_ends_an_answer_and_nothing_else_does() {
    assert_eq!(told(&[HELLO, STOP]).await.text, "hello");
    assert_eq!(told(&[HELLO, DONE]).await.text, "hello");
    let cut = asked(Canned::events(&[HELLO])).await;
    assert_eq!((cut.status, cut.code().as_str()), (502, "upstream_protocol"));
    for body in ["", "data: {\"choices\":\n\n", "data: nonsense\n\n", "<html>", "{\"choices\":"] {
        let broken = asked(Canned::new(200, "text/event-stream", body)).await;
        assert_eq!((broken.status, broken.code().as_str()), (502, "upstream_protocol"), "{body}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_at_once_is_taken() {
    let completion = json!({"object": "chat.completion", "choices": [{"index": 0, "finish_reason": "tool_calls",
        "message": {"role": "assistant", "content": "Let me look.", "reasoning_content": "Hm.",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"a\":1}"}}]}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}});
    let body = format!("\n {completion}");
    let answer = asked(Canned::new(200, "application/json", body).in_pieces_of(10)).await;
    answer.expect_ok();
    let choice = &answer.body["choices"][0];
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&json!("Let me look."), &json!("tool_calls"))
    );
    assert_eq!(choice["message"]["reasoning_content"], "Hm.");
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["arguments"], "{\"a\":1}");
    assert_eq!(answer.body["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
}

#[tokio::test]
async fn calls_in_any_order_come_out_in_one() {
    let start = |index: u64, id: &str, name: &str| {
        delta(
            &json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}]}),
        )
    };
    let more = |index: u64, text: &str| {
        delta(&json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]}))
    };
    let data = [
        start(2, "a", "first"),
        start(0, "b", "second"),
        more(0, "{\"b\":"),
        more(2, "{\"a\":1}"),
        more(0, "2}"),
    ];
    let mut data: Vec<_> = data.iter().map(String::as_str).collect();
    data.extend([STOP, DONE]);
    let answer = told(&data).await;
    let choice = &answer.body["choices"][0];
    let calls: Vec<_> = choice["message"]["tool_calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| {
            [&call["id"], &call["function"]["name"], &call["function"]["arguments"]]
                .map(|text| text.as_str().unwrap())
        })
        .collect();
    assert_eq!(calls, [["a", "first", "{\"a\":1}"], ["b", "second", "{\"b\":2}"]]);
    assert_eq!(choice["finish_reason"], "tool_calls", "though the upstream said stop");
}

#[tokio::test]
async fn older_and_other_spellings_are_understood() {
    let older = delta(&json!({"function_call": {"name": "look", "arguments": "{}"}}));
    let answer = told(&[&older, DONE]).await;
    let call = &answer.body["choices"][0]["message"]["tool_calls"][0];
    assert_eq!((&call["function"]["name"], &call["type"]), (&json!("look"), &json!("function")));
    assert!(call["id"].as_str().unwrap().starts_with("call_"));

    let refusal = delta(&json!({"refusal": "I would rather not."}));
    assert_eq!(told(&[&refusal, DONE]).await.text, "I would rather not.");
    let thought = delta(&json!({"reasoning": "Hm."}));
    let answer = told(&[&thought, HELLO, DONE]).await;
    assert_eq!(answer.body["choices"][0]["message"]["reasoning_content"], "Hm.");
    let cited = delta(&json!({"annotations": [{"type": "url_citation", "url_citation":
        {"start_index": 0, "end_index": 5, "url": "https://example.com/a", "title": "A"}}]}));
    let answer = told(&[HELLO, &cited, DONE]).await;
    let annotation = &answer.body["choices"][0]["message"]["annotations"][0]["url_citation"];
    assert_eq!(annotation["url"], "https://example.com/a");
    let other_choice =
        r#"{"choices":[{"index":1,"delta":{"content":"x"},"finish_reason":"length"}]}"#;
    assert_eq!(told(&[HELLO, other_choice, STOP, DONE]).await.text, "hello");
}

#[tokio::test]
async fn an_error_in_place_of_an_answer_is_told_by_its_kind() {
    let rate =
        json!({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}).to_string();
    let answer = asked(Canned::events(&[&rate])).await;
    assert_eq!((answer.status, answer.code().as_str()), (429, "upstream_throttled"));
    let overflow =
        json!({"error": {"message": "maximum context length is 10", "code": 400}}).to_string();
    let answer = asked(Canned::new(200, "application/json", overflow)).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "context_length_exceeded"));
    let upstream = Upstream::start([Canned::events(&[HELLO, &rate])]).await;
    let broker = broker(&upstream, "").await;
    let answer = broker.ask("well then").at_model("local").answer().await;
    assert_eq!((answer.text.as_str(), answer.code().as_str()), ("hello", "upstream_throttled"));
    assert_eq!(upstream.bodies().len(), 1, "an answer that has begun is not asked for again");
}

#[tokio::test]
async fn a_client_reads_why_its_own_request_was_wrong_and_nothing_else() {
    let wrong =
        json!({"message": "tools[0] is no good.", "param": "tools", "code": "invalid_value"});
    let answer = asked(Canned::error(400, &wrong)).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "upstream_rejected"));
    assert_eq!(answer.error()["message"], "the upstream refused the request: tools[0] is no good");
    assert_eq!(answer.error()["param"], "tools");
    let secret =
        json!({"message": "Incorrect API key provided: sk-1234", "code": "invalid_api_key"});
    let answer = asked(Canned::error(401, &secret)).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_denied"));
    assert!(!answer.everything().contains("sk-1234"));
    let answer = asked(Canned::new(302, "text/html", "").header("location", "http://x/")).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_protocol"));
}

#[tokio::test]
async fn an_upstream_that_names_a_long_wait_is_not_waited_for() {
    let busy = Canned::error(429, &json!({"message": "x"})).header("retry-after", "42");
    let upstream = Upstream::start([busy]).await;
    let broker = broker(&upstream, "").await;
    let answer = broker.ask("well then").at_model("local").answer().await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "42"));
    assert_eq!(upstream.bodies().len(), 1);
}

#[tokio::test]
async fn an_upstream_may_name_the_wait_by_a_date() {
    let then = DateTime::from(SystemTime::now() + Duration::from_secs(90));
    let then = then.fmt(Format::HttpDate).unwrap();
    let busy = Canned::error(429, &json!({"message": "x"})).header("retry-after", &then);
    let upstream = Upstream::start([busy]).await;
    let broker = broker(&upstream, "").await;
    let answer = broker.ask("well then").at_model("local").answer().await;
    let seconds: u32 = answer.header("retry-after").parse().unwrap();
    assert!(answer.status == 429 && (60..=90).contains(&seconds), "{seconds} until {then}");
    assert_eq!(upstream.bodies().len(), 1);
}

#[tokio::test]
async fn an_upstream_that_names_a_short_wait_is_asked_again_after_it() {
    let busy = Canned::error(503, &json!({"message": "x"})).header("retry-after-ms", "20");
    let upstream = Upstream::start([busy, Canned::events(&[HELLO, STOP, DONE])]).await;
    let broker = broker(&upstream, "").await;
    assert_eq!(broker.ask("well then").at_model("local").text().await, "hello");
    assert_eq!(upstream.bodies().len(), 2);
}

#[tokio::test]
async fn a_server_is_asked_without_what_it_does_not_know_and_so_from_then_on() {
    let unknown = |name: &str| {
        Canned::error(
            400,
            &json!({"message": format!("Unknown parameter: '{name}'."), "param": name}),
        )
    };
    let hello = Canned::events(&[HELLO, STOP, DONE]);
    let upstream = Upstream::start([unknown("stream_options"), unknown("max_tokens"), hello]).await;
    let broker = broker(&upstream, "max_tokens = 64").await;
    for session in ["a", "b"] {
        broker.ask("well then").at_model("local").session(session).text().await;
    }
    let bodies = upstream.bodies();
    assert_eq!(bodies[0]["stream_options"], json!({"include_usage": true}));
    assert_eq!(bodies[0]["max_tokens"], 64);
    assert!(bodies[1].get("stream_options").is_none());
    for body in &bodies[2..] {
        assert_eq!((body.get("max_tokens"), &body["max_completion_tokens"]), (None, &json!(64)));
        assert!(body.get("stream_options").is_none());
    }
    assert_eq!(bodies.len(), 4);
}

#[tokio::test]
async fn what_no_field_holds_is_passed_on_but_for_what_names_callers() {
    let upstream = Upstream::start([Canned::events(&[HELLO, STOP, DONE])]).await;
    let broker = broker(&upstream, "caller_fields = [\"from.number\"]").await;
    let ask = broker.ask("well then").at_model("local").session("one");
    let ask = ask.with("min_p", json!(0.05)).with("metadata", json!({"plan": "gold"}));
    let ask = ask.with("from", json!({"number": "+15550100199"}));
    ask.with("customer", json!({"number": "+15550100199"})).text().await;
    let expected = json!({"model": "local", "messages": [{"role": "user", "content": "well then"}],
        "stream": true, "stream_options": {"include_usage": true}, "min_p": 0.05});
    assert_eq!(upstream.bodies()[0], expected);
    let head = upstream.heard()[0].head.to_lowercase();
    assert!(head.starts_with("post /v1/chat/completions http/1.1"), "{head}");
    assert!(head.contains("user-agent: outcrop/"), "{head}");
}

/// A small generator (xorshift64*), the same numbers in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % bound
    }

    /// A text that is no other's, with what is hard to carry.
    fn text(&mut self, serial: usize) -> String {
        const PIECES: &[&str] = &[
            "a", "\"", "\\", "\n", "\r\n", "\u{0}", "\u{85}", "\u{2028}", "é", "漢", "😀",
            "data: ", "[DONE]",
        ];
        let pieces: String = (0..self.below(8)).map(|_| PIECES[self.below(PIECES.len())]).collect();
        format!("{serial}{pieces}.")
    }

    fn content(&mut self, serial: usize) -> Value {
        let text = self.text(serial);
        match self.below(4) {
            0 => json!([{"type": "text", "text": text},
                {"type": "image_url", "image_url": {"url": "data:,x", "detail": "low"}},
                {"type": "text", "text": self.text(serial)}]),
            1 => json!([{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "text", "text": text}]),
            _ => text.into(),
        }
    }

    /// A transcript that ends with something to answer.
    fn transcript(&mut self, serial: usize) -> Vec<Value> {
        let mut messages = Vec::new();
        for place in 0..self.below(3) {
            messages.push(json!({"role": "system", "content": self.text(place)}));
        }
        for turn in 0..=self.below(4) {
            messages.push(json!({"role": "user", "content": self.content(serial * 100 + turn)}));
            for round in 0..self.below(3) {
                self.round(turn * 10 + round, &mut messages);
            }
            messages.push(json!({"role": "assistant", "content": self.text(turn)}));
        }
        messages.push(json!({"role": "user", "content": self.content(serial)}));
        messages
    }

    /// Calls and their results.
    fn round(&mut self, serial: usize, messages: &mut Vec<Value>) {
        let ids: Vec<_> = (0..=self.below(3)).map(|n| format!("call_{serial}_{n}")).collect();
        let calls: Vec<_> = ids.iter().map(|id| {
            let arguments = json!({ "text": self.text(serial) }).to_string();
            json!({"id": id, "type": "function", "function": {"name": "look_up", "arguments": arguments}})
        }).collect();
        let content = if self.below(2) == 0 { Value::Null } else { self.text(serial).into() };
        messages.push(json!({"role": "assistant", "content": content, "tool_calls": calls}));
        for id in ids {
            messages
                .push(json!({"role": "tool", "tool_call_id": id, "content": self.text(serial)}));
        }
    }
}

/// A message's members, whatever their order.
fn sorted(messages: &Value) -> Vec<std::collections::BTreeMap<String, Value>> {
    serde_json::from_value(messages.clone()).unwrap()
}

#[tokio::test]
async fn any_valid_transcript_reaches_the_upstream_as_it_was_sent() {
    let upstream = Upstream::start([Canned::events(&[HELLO, STOP, DONE])]).await;
    let broker = broker(&upstream, "").await;
    let mut dice = Dice(0x5eed);
    for serial in 1..=150 {
        let messages = json!(dice.transcript(serial));
        let ask = broker.ask("").at_model("local").whole().with("messages", messages.clone());
        let ask = ask.with("user", json!(format!("user-{serial}")));
        ask.text().await;
        let heard = upstream.bodies().pop().unwrap();
        assert_eq!(sorted(&heard["messages"]), sorted(&messages), "transcript {serial}");
    }
}
