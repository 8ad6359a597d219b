//! OpenAI Responses: `POST /v1/responses`, and what its resources and those of Conversations are
//! made of.
//!
//! After OpenAI's published API description 2.3.0, and after what its SDKs are seen to send and
//! to read. A response is a turn: its id is the turn's behind `resp_`, and what it repeats of its
//! request is kept beside the turn, as JSON text that only `echo` reads. A conversation is a
//! session. The ids of items are made of the turn and the place ([`ItemId`](crate::turn::ItemId)).
//!
//! What is asked:
//!
//! | member | what becomes of it |
//! |---|---|
//! | `input` | text, or items: messages in all their spellings, calls and their outputs, thinking, references |
//! | `instructions` | a system message of this turn |
//! | `previous_response_id`, `conversation` | what the turn goes on from; not both |
//! | `store` | unless it is false the turn is kept; `background` needs that |
//! | `tools`, `tool_choice` | functions and custom tools, see `tools`; OpenAI's own are refused |
//! | `text.format`, `max_output_tokens`, `temperature`, `top_p`, `parallel_tool_calls`, `reasoning.effort`, `service_tier` | for the backend |
//! | `reasoning.summary` | thinking is wanted, and comes as a summary: the thinking itself |
//! | `include` | `reasoning.encrypted_content` brings thinking with its `carrier`, `message.output_text.logprobs` how likely the tokens were, `top_logprobs` each of them, where the upstream tells it; others are accepted |
//! | `prompt` | refused |
//! | `truncation` | what becomes of what is too long, see [`Overflow`](crate::turn::request::Overflow) |
//! | `max_tool_calls`, `stream_options`, `context_management`, `moderation`, `prompt_cache_options`, unknown members | accepted, change nothing |
//! | `outcrop` | as in [the chat](super::openai_chat) |
//!
//! What is answered, beyond OpenAI's: `outcrop.citations` on a text, `outcrop.confirmation` on a
//! call, `outcrop.files` on the response, `usage.estimated` and `usage.outcrop.collaborators`, all
//! as in the chat and left out where they are empty. Files are no `container_file_citation`s,
//! since there is no container to fetch them from. Left out is what is not known: `completed_at`
//! in a stream, which has to be the same whenever it is written.
//!
//! Ids of custom tool calls begin with `fc_`, as those of function calls do. A turn that was
//! interrupted has the status `cancelled`, and ends its stream with `response.incomplete`.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use serde_json::json;

use crate::turn::{Failure, TurnEvent, TurnId};

use super::{
    Asked, Asks, Defaults, Encoder, Endpoint, Head, Options, Streams, WireFormat, json_text,
    openai_error, sse,
};

mod answer;
mod asked;
mod carrier;
mod content;
mod conversation;
mod echo;
mod generation;
mod input;
mod item;
mod listed;
mod logprobs;
mod response;
mod stream;
#[cfg(test)]
mod tests;
mod tools;
mod usage;

pub use conversation::{
    Brought, Wanted, conversation, deleted_conversation, page, put_references, read_items,
};
pub use listed::{input_items, items_of, output_items};

/// The format.
#[derive(Debug, Clone, Copy)]
pub struct Responses;

/// Where responses are asked for.
const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        name: "/v1/responses",
        paths: &["/v1/responses", "/responses", "/v1/responses/responses", "/responses/responses"],
        streams: Streams::IfAsked,
        is_for_voice: false,
        asks: Asks::Turn,
    },
    Endpoint {
        name: "/v1/responses/input_tokens",
        paths: &["/v1/responses/input_tokens", "/responses/input_tokens"],
        streams: Streams::Never,
        is_for_voice: false,
        asks: Asks::Tokens(input_tokens),
    },
];

impl WireFormat for Responses {
    fn name(&self) -> &'static str {
        "openai-responses"
    }

    fn endpoints(&self) -> &'static [Endpoint] {
        ENDPOINTS
    }

    fn stream_type(&self) -> &'static str {
        sse::MEDIA_TYPE
    }

    fn decode(&self, body: &[u8], defaults: &Defaults) -> Result<Asked, Failure> {
        asked::decode(body, defaults)
    }

    fn encoder(&self, head: Head, options: Options) -> Box<dyn Encoder> {
        Box::new(stream::Stream::new(&head, options))
    }

    fn whole(&self, head: &Head, _options: Options, events: &[TurnEvent]) -> Bytes {
        response::write((head, Options::default()), events, None)
    }

    fn unfinished(&self, head: &Head, events: &[TurnEvent]) -> Option<Bytes> {
        Some(response::write((head, Options::default()), events, None))
    }

    fn counts_frames(&self) -> bool {
        true
    }

    fn refusal(&self, failure: &Failure) -> Bytes {
        match failure.param.as_deref().and_then(own_name) {
            Some(own) => openai_error::body(&failure.clone().at(own)),
            None => openai_error::body(failure),
        }
    }
}

/// Members that sessions, backends and upstreams know by the chat's names.
const NAMES: &[(&str, &str)] = &[
    ("messages", "input"),
    ("logprobs", "include"),
    ("max_completion_tokens", "max_output_tokens"),
    ("max_tokens", "max_output_tokens"),
    ("reasoning_effort", "reasoning.effort"),
    ("response_format", "text.format"),
    ("verbosity", "text.verbosity"),
];

/// The name by which a client sent what the chat calls so; none where it is the same. What is
/// below a member has a place there that it has not here.
fn own_name(param: &str) -> Option<String> {
    let top = param.split(['.', '[']).next().unwrap_or(param);
    match NAMES.iter().find(|(chat, _)| *chat == top) {
        Some((_, own)) => Some((*own).to_owned()),
        None => (top == "tools" && param.contains(".function."))
            .then(|| param.replace(".function.", ".")),
    }
}

/// A turn as a response, in whatever state it is. `ended` is when it ended, where it did.
#[must_use]
pub fn response(asked: (&Head, Options), events: &[TurnEvent], ended: Option<SystemTime>) -> Bytes {
    response::write(asked, events, ended)
}

/// Whether `include` of a query wants thinking with what its upstream wants back. What else it
/// may name is there without being asked for, or never.
///
/// # Errors
/// [`FailureKind::BadRequest`](crate::turn::FailureKind) for a name that OpenAI does not have.
pub fn includes_thinking(names: &[String]) -> Result<bool, Failure> {
    let names = names.iter().map(String::as_str);
    asked::included(names, |_| "include".to_owned()).map(|included| included.thinking)
}

/// What is said of a response that was deleted.
#[must_use]
pub fn deleted(id: &TurnId) -> Bytes {
    let said = json!({ "id": response_id(id), "object": "response", "deleted": true });
    json_bytes(&said)
}

/// The id of a turn as a response.
#[must_use]
pub fn response_id(turn: &TurnId) -> String {
    format!("resp_{}", turn.suffix())
}

/// The turn that a response's id stands for; none where it is no id of ours.
#[must_use]
pub fn turn_of(response: &str) -> Option<TurnId> {
    TurnId::from_suffix(response.strip_prefix("resp_")?)
}

fn input_tokens(count: u64) -> Bytes {
    json_bytes(&json!({ "object": "response.input_tokens", "input_tokens": count }))
}

fn json_bytes(value: &serde_json::Value) -> Bytes {
    let mut out = BytesMut::new();
    json_text::value(value, &mut out);
    out.freeze()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
