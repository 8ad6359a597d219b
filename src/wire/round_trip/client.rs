//! Clients of OpenAI's chat that resend all: what they may say, by chance.

use serde_json::{Value, json};

use crate::turn::{Effort, Role, Thought, TurnRequest};
use crate::wire::{Defaults, WireFormat as _, openai_chat};

/// Points of one request.
const MOST_POINTS: usize = 4;
const PIECES: &[&str] = &["a", "\"", "\\", "\n", " ", "\u{85}", "é", "漢", "😀", "{}", "data: "];
/// The smallest picture that is taken for one.
const PICTURE: &str = "data:image/png;base64,iVBORw0KGgo=";

/// A small generator (xorshift64*), the same numbers in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % bound
    }

    fn is_so(&mut self) -> bool {
        self.below(2) == 0
    }

    /// A text that says something, and neither begins nor ends with a space.
    fn text(&mut self) -> String {
        let middle: String = (0..self.below(9)).map(|_| PIECES[self.below(PIECES.len())]).collect();
        format!("x{middle}y")
    }

    fn arguments(&mut self) -> Value {
        let member = |dice: &mut Self, nth: usize| {
            let value = match dice.below(4) {
                0 => json!(dice.below(99)),
                1 => json!([dice.text(), null, true]),
                2 => json!({ "z": dice.text(), "a": 0.5 }),
                _ => json!(dice.text()),
            };
            (format!("m{}", 9 - nth), value)
        };
        Value::Object((0..self.below(4)).map(|nth| member(self, nth)).collect())
    }
}

/// A transcript in the making, as a client of OpenAI's chat would send it.
struct Client {
    dice: Dice,
    points: usize,
    calls: usize,
    files: usize,
    messages: Vec<Value>,
}

impl Client {
    /// Marks a part, a message or a tool for the cache, now and then.
    fn marked(&mut self, mut value: Value) -> Value {
        if self.points < MOST_POINTS && self.dice.below(5) == 0 {
            self.points += 1;
            let ttl = if self.dice.is_so() { "5m" } else { "1h" };
            value["cache_control"] = json!({ "type": "ephemeral", "ttl": ttl });
        }
        value
    }

    fn text_part(&mut self) -> Value {
        let text = json!({ "type": "text", "text": self.dice.text() });
        self.marked(text)
    }

    fn user(&mut self) {
        let content = if self.dice.is_so() {
            json!(self.dice.text())
        } else {
            let mut parts = vec![self.text_part()];
            for _ in 0..self.dice.below(3) {
                let part = match self.dice.below(3) {
                    0 => json!({ "type": "image_url", "image_url": { "url": PICTURE } }),
                    1 => {
                        self.files += 1;
                        let filename = format!("terms {}.txt", self.files);
                        let file_data = "data:text/plain;base64,aGVsbG8=";
                        let file = json!({ "filename": filename, "file_data": file_data });
                        json!({ "type": "file", "file": file })
                    }
                    _ => json!({ "type": "text", "text": self.dice.text() }),
                };
                let part = self.marked(part);
                parts.push(part);
            }
            json!(parts)
        };
        self.messages.push(json!({ "role": "user", "content": content }));
    }

    /// An answer, with calls and their results in some order where it makes some.
    fn answer(&mut self, calls: usize) {
        let first = self.calls;
        self.calls += calls;
        let made: Vec<_> = (first..self.calls)
            .map(|nth| {
                let arguments = self.dice.arguments().to_string();
                let function =
                    json!({ "name": format!("tool_{}", nth % 3), "arguments": arguments });
                json!({ "id": format!("call_{nth}"), "type": "function", "function": function })
            })
            .collect();
        let mut answer = json!({ "role": "assistant", "content": null });
        if calls == 0 || self.dice.is_so() {
            answer["content"] = json!(self.dice.text());
        }
        if calls > 0 {
            answer["tool_calls"] = json!(made);
        }
        let answer = self.marked(answer);
        self.messages.push(answer);
        let mut ids: Vec<_> = (first..self.calls).map(|nth| format!("call_{nth}")).collect();
        let turned = self.dice.below(ids.len().max(1));
        ids.rotate_left(turned);
        for id in ids {
            let content = match self.dice.below(3) {
                0 => {
                    json!([self.text_part(), { "type": "image_url", "image_url": { "url": PICTURE } }])
                }
                _ => json!(self.dice.text()),
            };
            let mut result = json!({ "role": "tool", "tool_call_id": id, "content": content });
            if self.dice.below(4) == 0 {
                result["is_error"] = true.into();
            }
            self.messages.push(result);
        }
    }

    /// Ends with something that the model is to answer.
    fn body(mut self) -> Value {
        if self.dice.is_so() {
            let content = json!([self.text_part(), self.text_part()]);
            self.messages.push(json!({ "role": "system", "content": content }));
        }
        self.user();
        for _ in 0..self.dice.below(5) {
            let calls = self.dice.below(4);
            self.answer(calls);
            if calls == 0 || self.dice.is_so() {
                self.user();
            }
        }
        let schema = json!({
            "type": "object", "properties": { "b": {}, "a": { "type": "string" } },
            "additionalProperties": false,
        });
        let tools: Vec<_> = (0..3)
            .map(|nth| {
                let mut function = json!({ "name": format!("tool_{nth}"), "parameters": schema });
                if self.dice.is_so() {
                    function["description"] = json!(self.dice.text());
                    function["strict"] = true.into();
                }
                self.marked(json!({ "type": "function", "function": function }))
            })
            .collect();
        json!({ "messages": self.messages, "tools": tools })
    }
}

/// A request of a client that resends all, with the thoughts that the session has kept of its
/// answers, if the model is to think.
pub(super) fn request(seed: u64) -> TurnRequest {
    let client = Client { dice: Dice(seed), points: 0, calls: 0, files: 0, messages: Vec::new() };
    let body = client.body().to_string();
    let decoded = openai_chat::OpenAiChat.decode(body.as_bytes(), &Defaults::default());
    let mut request = decoded.unwrap().request;
    let mut dice = Dice(seed ^ 0x7170);
    if dice.is_so() {
        request.generation.effort = Some(Effort::Medium);
        for message in request.messages.iter_mut().filter(|m| m.role == Role::Assistant) {
            let (text, signature) = (dice.text(), Some(dice.text()));
            message.thoughts.push(Thought::Text { text, signature });
            let sealed = dice.is_so().then(|| Thought::Redacted(dice.text().into()));
            message.thoughts.extend(sealed);
        }
    }
    request
}
