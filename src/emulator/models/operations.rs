//! The operations on a model: what each reads, and how it writes the answer down.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Either;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use crate::emulator::behaviour::Behaviour;
use crate::emulator::invoke_agent::read;
use crate::emulator::ledger::Ending;
use crate::emulator::playback::{Audience as _, Playback};
use crate::emulator::refusal::Refusal;
use crate::emulator::routes::{percent_decoded, request_id};
use crate::emulator::{Emulated, REQUEST_ID};

use super::answer::Answer;
use super::cards::Card;
use super::catalogue;
use super::demo_model::{self, Ask};
use super::prompt::Prompt;
use super::script::{Framing, Pieces, script};
use super::seen::OpenCall;
use super::{Reply, authorise, authorization, behave, converse, embeddings, exceptions, native};
use super::{one, parsed, rules, tokens};

/// The largest body of `InvokeModel`, by the service's model.
const MAX_BODY: usize = 25_000_000;
/// The longest model id of `CountTokens`.
const MAX_COUNTED_ID: usize = 256;

/// An operation on a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// `Converse`
    Converse,
    /// `ConverseStream`
    ConverseStream,
    /// `InvokeModel`
    Invoke,
    /// `InvokeModelWithResponseStream`
    InvokeStream,
    /// `CountTokens`
    CountTokens,
}

impl Operation {
    /// Every operation with its place in a path.
    const PATHS: &'static [(&'static str, Self)] = &[
        ("converse", Self::Converse),
        ("converse-stream", Self::ConverseStream),
        ("invoke", Self::Invoke),
        ("invoke-with-response-stream", Self::InvokeStream),
        ("count-tokens", Self::CountTokens),
    ];

    fn path(self) -> &'static str {
        let found = Self::PATHS.iter().find(|(_, operation)| *operation == self);
        found.map_or("", |(path, _)| path)
    }

    fn streams(self) -> bool {
        matches!(self, Self::ConverseStream | Self::InvokeStream)
    }
}

/// The operation and the model that a path names. ARNs may hold slashes of their own.
pub(super) fn asked(path: &str) -> Option<(Operation, String)> {
    let (model, operation) = path.strip_prefix("/model/")?.rsplit_once('/')?;
    let (_, operation) = Operation::PATHS.iter().find(|(path, _)| *path == operation)?;
    Some((*operation, percent_decoded(model)?.into_owned()))
}

/// What a call is going to be answered with.
struct Planned {
    pieces: Pieces,
    framing: Framing,
    behaviour: Behaviour,
    /// Token counts for the headers.
    counts: Option<[u64; 4]>,
}

/// Answers one call.
pub(super) async fn perform(
    emulated: &Emulated,
    operation: Operation,
    model: &str,
    request: Request<Incoming>,
) -> Response<Reply> {
    let signed = authorization(request.headers());
    let mut call = emulated.models.calls.open(operation.path(), model, signed);
    let planned = match accept(emulated, operation, model, &call, request).await {
        Ok(planned) => planned,
        Err(refusal) => {
            call.answered(refusal.status);
            call.end(Ending::Fault);
            return exceptions::response(&refusal).map(Either::Left);
        }
    };
    let Planned { pieces, framing, behaviour, counts } = planned;
    let fault = behaviour.fault.clone();
    let script = script(pieces, framing, behaviour);
    let playback = Playback::begin(call, fault.as_ref(), script).await;
    let mut response = Response::new(Either::Right(playback));
    let headers = response.headers_mut();
    let content_type = match framing {
        Framing::Events => "application/vnd.amazon.eventstream",
        Framing::ServerSent | Framing::Whole => "application/json",
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if operation == Operation::InvokeStream {
        let inner = HeaderValue::from_static("application/json");
        headers.insert("x-amzn-bedrock-content-type", inner);
    }
    for (name, count) in native::COUNTS.into_iter().zip(counts.into_iter().flatten()) {
        headers.insert(name, count.into());
    }
    headers.insert(REQUEST_ID, request_id());
    response
}

/// Reads a call and has it answered.
async fn accept(
    emulated: &Emulated,
    operation: Operation,
    model: &str,
    call: &OpenCall,
    request: Request<Incoming>,
) -> Result<Planned, Refusal> {
    let (head, body) = request.into_parts();
    authorise(&head.headers)?;
    let body = read(body).await?;
    call.sent(&body);
    let asking = Asking { emulated, operation, model, call, headers: &head.headers };
    match operation {
        Operation::Converse | Operation::ConverseStream => asking.converse(&body),
        Operation::Invoke | Operation::InvokeStream => asking.invoke(&body),
        Operation::CountTokens => asking.count(&body),
    }
}

/// One call with everything around its body.
struct Asking<'a> {
    emulated: &'a Emulated,
    operation: Operation,
    model: &'a str,
    call: &'a OpenCall,
    headers: &'a HeaderMap,
}

impl Asking<'_> {
    fn converse(&self, body: &Bytes) -> Result<Planned, Refusal> {
        let prompt: Prompt = parsed(body)?;
        let behaviour = self.behave(&prompt)?;
        let answer = self.answer(catalogue::find(self.model)?, &prompt)?;
        let (pieces, framing) = match self.operation.streams() {
            false => (one(&converse::body(&prompt, &answer)), Framing::Whole),
            true => (converse::events(&prompt, answer), Framing::Events),
        };
        Ok(Planned { pieces, framing, behaviour, counts: None })
    }

    fn invoke(&self, body: &Bytes) -> Result<Planned, Refusal> {
        if body.len() > MAX_BODY {
            return Err(rules::out_of_bounds(
                "body",
                "Member must have length less than or equal \
                                                     to 25000000",
            ));
        }
        let card = catalogue::find(self.model)?;
        if card.embeds() {
            return self.embed(card, body);
        }
        let prompt = native::prompt(card, self.headers, body)?;
        let behaviour = self.behave(&prompt)?;
        let answer = self.answer(card, &prompt)?;
        let counts = Some(native::counts(answer.usage)).filter(|_| !self.operation.streams());
        let (pieces, framing) = match self.operation.streams() {
            false => (one(&native::body(card, &prompt, &answer)), Framing::Whole),
            true => (native::events(card, answer), Framing::Events),
        };
        Ok(Planned { pieces, framing, behaviour, counts })
    }

    fn embed(&self, card: &Card, body: &[u8]) -> Result<Planned, Refusal> {
        if self.operation.streams() {
            return Err(Refusal::validation("The model is unsupported for streaming"));
        }
        let made = embeddings::embed(card, body)?;
        let behaviour = self.behave(&Prompt::saying(&made.text))?;
        self.call.reads(made.tokens);
        let counts = Some([made.tokens, 0, 0, 0]);
        Ok(Planned { pieces: one(&made.body), framing: Framing::Whole, behaviour, counts })
    }

    fn count(&self, body: &Bytes) -> Result<Planned, Refusal> {
        #[derive(Deserialize)]
        struct Body {
            input: Input,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        enum Input {
            Converse(Box<Prompt>),
            InvokeModel(Encoded),
        }
        #[derive(Deserialize)]
        struct Encoded {
            body: String,
        }
        if self.model.len() > MAX_COUNTED_ID {
            return Err(rules::out_of_bounds("modelId", "at most 256 characters"));
        }
        let card = catalogue::find(self.model)?;
        let prompt = match parsed::<Body>(body)?.input {
            Input::Converse(prompt) => *prompt,
            Input::InvokeModel(Encoded { body }) => {
                let body = STANDARD
                    .decode(body)
                    .map_err(|_| Refusal::serialization("input.invokeModel.body is not base64"))?;
                native::prompt(card, self.headers, &body)?
            }
        };
        let behaviour = self.behave(&prompt)?;
        rules::check(card, &prompt)?;
        let total = tokens::measure(card, &prompt).total;
        self.call.reads(total);
        let pieces = one(&json!({"inputTokens": total}));
        Ok(Planned { pieces, framing: Framing::Whole, behaviour, counts: None })
    }

    /// How the call is to be answered, unless it is to be refused by a fault.
    fn behave(&self, prompt: &Prompt) -> Result<Behaviour, Refusal> {
        let behaviour = behave(self.emulated, self.call, self.headers, prompt)?;
        let what = (self.model, prompt.last_words());
        let attempts = &self.emulated.models.attempts;
        attempts.pass(&behaviour, (what.0, &what.1), self.operation.streams())?;
        Ok(behaviour)
    }

    fn answer(&self, card: &Card, prompt: &Prompt) -> Result<Answer, Refusal> {
        let thinking = rules::check(card, prompt)?;
        let measured = tokens::measure(card, prompt);
        if measured.total > card.context {
            return Err(Refusal::validation("Input is too long for requested model."));
        }
        let charged = self.emulated.models.cache.charge(card, &measured);
        let ask = Ask { card, prompt, thinking, wants_object: false };
        let answer = demo_model::answer(&ask, &measured, charged);
        self.call.answers(&answer);
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_encoded_or_plain() {
        let found = asked("/model/us.amazon.nova-lite-v1%3A0/converse").unwrap();
        assert_eq!(found.1, "us.amazon.nova-lite-v1:0");
        let arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.x.y";
        let found = asked(&format!("/model/{arn}/invoke-with-response-stream")).unwrap();
        assert_eq!((found.0, found.1.as_str()), (Operation::InvokeStream, arn));
        for path in ["/model/x", "/model/x/unknown", "/models/x/converse", "/model/%zz/converse"] {
            assert_eq!(asked(path), None, "{path}");
        }
    }

    /// Reads a body as each operation would and has the model answer what makes sense.
    fn play(body: &[u8]) -> bool {
        let card = catalogue::find("us.anthropic.claude-sonnet-4-5-20250929-v1:0").unwrap();
        let prompts = [parsed::<Prompt>(body), native::prompt(card, &HeaderMap::new(), body)];
        let mut answered = false;
        for prompt in prompts.into_iter().flatten() {
            let Ok(thinking) = rules::check(card, &prompt) else { continue };
            let measured = tokens::measure(card, &prompt);
            let charged = tokens::Cache::default().charge(card, &measured);
            let ask = Ask { card, prompt: &prompt, thinking, wants_object: false };
            let answer = demo_model::answer(&ask, &measured, charged);
            converse::body(&prompt, &answer);
            native::body(card, &prompt, &answer);
            let events = converse::events(&prompt, answer.clone()).count();
            answered = events > 2 && native::events(card, answer).count() > 2;
        }
        answered
    }

    #[test]
    fn whatever_is_sent_is_answered_or_refused() {
        let converse = r#"{"messages":[{"role":"user","content":[{"text":"say: \u00e9 \u65e5; call: t a=1; stop: max_tokens"}]},{"role":"assistant","content":[{"toolUse":{"toolUseId":"a","name":"t","input":{"b":[1]}}}]},{"role":"user","content":[{"toolResult":{"toolUseId":"a","content":[{"text":"x"}]}},{"cachePoint":{"type":"default"}}]}],"inferenceConfig":{"maxTokens":5,"stopSequences":["x"]},"toolConfig":{"tools":[{"toolSpec":{"name":"t","inputSchema":{"json":{"type":"object"}}}}]}}"#;
        let claude = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":5,"system":[{"type":"text","text":"json object","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/gif","data":"R0lGODlh"}},{"type":"text","text":"What is my name?"}]}]}"#;
        for body in [converse, claude] {
            assert!(play(body.as_bytes()), "{body}");
            for place in 0..body.len() {
                play(&body.as_bytes()[..place]);
                for byte in [b'"', b'0', b' ', b'}', 0xff] {
                    let mut changed = body.as_bytes().to_vec();
                    changed[place] = byte;
                    play(&changed);
                }
            }
        }
    }
}
