//! A turn as lines.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};
use time::OffsetDateTime;

use crate::turn::{
    Citation, CollaboratorUsage, Failure, FailureKind, FinishReason, OutputFile, ReturnControl,
    TurnEvent, Usage,
};
use crate::wire::{Encoder, Head, Options, json_text};

use super::asked::agent_id;
use super::citations;
use super::usage::UsageBody;

/// Bytes of `accumulated_content`, as written, beyond which chunks leave it out.
const ACCUMULATED_LIMIT: usize = 256 << 10;

/// Writes one turn.
#[derive(Debug)]
pub(super) struct Lines {
    head: Head,
    accumulated: bool,
    /// What time it is; every line says so.
    now: fn() -> SystemTime,
    /// All text so far, as it stands between the quotes of a JSON string: what was escaped once
    /// is not escaped again for every chunk.
    text: BytesMut,
    citations: Vec<Arc<Citation>>,
    files: Vec<Arc<OutputFile>>,
    usage: Option<Usage>,
    shares: Option<Arc<[CollaboratorUsage]>>,
    /// Whether an agent handed its calls over, which is how this format shows calls.
    has_handed_over: bool,
}

impl Lines {
    pub(super) fn new(head: Head, options: Options, now: fn() -> SystemTime) -> Self {
        Self {
            head,
            accumulated: options.accumulated,
            now,
            text: BytesMut::new(),
            citations: Vec::new(),
            files: Vec::new(),
            usage: None,
            shares: None,
            has_handed_over: false,
        }
    }

    /// Takes a text and returns where in all the text it begins.
    fn push_text(&mut self, text: &str) -> usize {
        let begin = self.text.len();
        json_text::string(text, &mut self.text);
        // Without its quotes, the text continues the one before it.
        self.text.truncate(self.text.len() - 1);
        self.text.copy_within(begin + 1.., begin);
        self.text.truncate(self.text.len() - 1);
        begin
    }

    fn take(&mut self, event: &TurnEvent) {
        match event {
            TurnEvent::Text(text) => drop(self.push_text(text)),
            TurnEvent::Citation(citation) => self.citations.push(Arc::clone(citation)),
            TurnEvent::File(file) => self.files.push(Arc::clone(file)),
            TurnEvent::Usage(usage) => self.usage = Some(*usage),
            TurnEvent::UsageByCollaborator(shares) => self.shares = Some(Arc::clone(shares)),
            TurnEvent::ReturnControl(_) => self.has_handed_over = true,
            TurnEvent::Started
            | TurnEvent::Filler(_)
            | TurnEvent::Reasoning(_)
            | TurnEvent::Thought(_)
            | TurnEvent::ToolCallStarted { .. }
            | TurnEvent::ToolCallArguments { .. }
            | TurnEvent::Trace(_)
            | TurnEvent::StopSequence(_)
            | TurnEvent::Logprobs(_)
            | TurnEvent::Finished(_)
            | TurnEvent::Failed(_) => {}
        }
    }

    fn chunk(&mut self, text: &str, out: &mut BytesMut) {
        let begin = self.push_text(text);
        out.reserve(self.text.len().min(ACCUMULATED_LIMIT) + text.len() + 160);
        out.put_slice(br#"{"type":"chunk","content":""#);
        out.put_slice(&self.text[begin..]);
        out.put_u8(b'"');
        if self.accumulated && self.text.len() <= ACCUMULATED_LIMIT {
            out.put_slice(br#","accumulated_content":""#);
            out.put_slice(&self.text);
            out.put_u8(b'"');
        } else if self.accumulated {
            out.put_slice(br#","accumulated_truncated":true"#);
        }
        self.close(false, out);
    }

    fn return_control(&mut self, handed: &ReturnControl, out: &mut BytesMut) {
        self.has_handed_over = true;
        out.put_slice(br#"{"type":"return_control","invocation_id":"#);
        json_text::string(&handed.invocation_id, out);
        out.put_slice(br#","invocation_inputs":"#);
        json_text::value(&handed.inputs, out);
        self.close(false, out);
    }

    fn completion(&self, reason: FinishReason, out: &mut BytesMut) {
        out.put_slice(br#"{"type":"completion","final_content":""#);
        out.put_slice(&self.text);
        out.put_slice(br#"","session_id":"#);
        json_text::string(self.head.session.as_str(), out);
        if let Some(usage) = self.usage {
            out.put_slice(br#","usage":"#);
            json_text::value(&UsageBody::new(usage, self.shares.as_deref()), out);
        }
        if !self.citations.is_empty() {
            out.put_slice(br#","citations":"#);
            json_text::value(&citations::list(&self.citations), out);
        }
        if !self.files.is_empty() {
            write_files(&self.files, out);
        }
        out.put_slice(br#","stop_reason":"#);
        json_text::string(stop_reason(reason, self.has_handed_over), out);
        self.close(true, out);
    }

    fn error(&self, failure: &Failure, out: &mut BytesMut) {
        out.put_slice(br#"{"type":"error","error":"#);
        json_text::string(&failure.message, out);
        out.put_slice(br#","error_code":"#);
        json_text::string(error_code(failure.kind), out);
        out.put_slice(br#","retryable":"#);
        json_text::value(&failure.kind.may_retry(), out);
        self.write_end(true, out);
        out.put_slice(br#","request_id":"#);
        json_text::string(self.head.request.as_str(), out);
        out.put_slice(b"}\n");
    }

    fn close(&self, done: bool, out: &mut BytesMut) {
        self.write_end(done, out);
        out.put_slice(b"}\n");
    }

    /// The members that end every line.
    fn write_end(&self, done: bool, out: &mut BytesMut) {
        let at = OffsetDateTime::from((self.now)());
        let (date, time) = (at.date(), at.time());
        let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
        let (hour, minute, second) = (time.hour(), time.minute(), time.second());
        let millisecond = time.millisecond();
        write!(
            out,
            ",\"done\":{done},\"timestamp\":\"{year:04}-{month:02}-{day:02}\
             T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z\""
        )
        .expect("writing to memory cannot fail");
    }
}

impl Encoder for Lines {
    fn open(&mut self, out: &mut BytesMut) {
        out.put_slice(br#"{"type":"start","session_id":"#);
        json_text::string(self.head.session.as_str(), out);
        // Where no agent answers, the model stands in for it: clients read `agent_id`.
        let (agent, alias) = match &self.head.agent {
            Some((agent, alias)) => (agent.as_str(), Some(alias)),
            None => (agent_id(self.head.model.as_str()), None),
        };
        out.put_slice(br#","agent_id":"#);
        json_text::string(agent, out);
        if let Some(alias) = alias {
            out.put_slice(br#","agent_alias_id":"#);
            json_text::string(alias, out);
        }
        out.put_slice(br#","request_id":"#);
        json_text::string(self.head.request.as_str(), out);
        self.close(false, out);
    }

    fn event(&mut self, _sequence: u64, event: &TurnEvent, out: &mut BytesMut) {
        match event {
            TurnEvent::Text(text) if !text.is_empty() => self.chunk(text, out),
            TurnEvent::ReturnControl(handed) => self.return_control(handed, out),
            TurnEvent::Trace(trace) => {
                if let Some(raw) = &trace.raw {
                    out.put_slice(br#"{"type":"trace","trace":"#);
                    json_text::value(raw, out);
                    self.close(false, out);
                }
            }
            TurnEvent::Finished(reason) => self.completion(*reason, out),
            TurnEvent::Failed(failure) => self.error(failure, out),
            // A filler is left out: the answer's text accumulates, and it is no part of that.
            TurnEvent::Text(_)
            | TurnEvent::Filler(_)
            | TurnEvent::Started
            | TurnEvent::Reasoning(_)
            | TurnEvent::Thought(_)
            | TurnEvent::ToolCallStarted { .. }
            | TurnEvent::ToolCallArguments { .. }
            | TurnEvent::Citation(_)
            | TurnEvent::File(_)
            | TurnEvent::Usage(_)
            | TurnEvent::UsageByCollaborator(_)
            | TurnEvent::StopSequence(_)
            | TurnEvent::Logprobs(_) => self.take(event),
        }
    }

    fn skip(&mut self, event: &TurnEvent) {
        self.take(event);
    }

    /// A blank line, and nothing in it: a line of spaces would be parsed.
    fn keep_alive(&self) -> &'static [u8] {
        b"\n"
    }
}

fn write_files(files: &[Arc<OutputFile>], out: &mut BytesMut) {
    out.put_slice(br#","files":["#);
    for (index, file) in files.iter().enumerate() {
        out.put_slice(if index == 0 { br#"{"id":"# } else { br#",{"id":"# });
        json_text::string(file.id.as_str(), out);
        out.put_slice(br#","name":"#);
        json_text::string(&file.name, out);
        out.put_slice(br#","type":"#);
        json_text::string(&file.media_type, out);
        out.put_slice(br#","bytes":""#);
        write!(out, "{}", Base64Display::new(&file.bytes, &STANDARD))
            .expect("writing to memory cannot fail");
        out.put_slice(br#""}"#);
    }
    out.put_u8(b']');
}

/// The reason on the wire. Calls of a model that are no agent's hand-over are not shown: the
/// reason tells that there were some, and promises no `return_control` line.
fn stop_reason(reason: FinishReason, has_handed_over: bool) -> &'static str {
    match reason {
        FinishReason::Stop => "end_turn",
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls if has_handed_over => "return_control",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::ContentFilter => "guardrail_intervened",
        FinishReason::Interrupted => "interrupted",
    }
}

/// The failure in this format's own, smaller set of codes.
fn error_code(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::BadRequest
        | FailureKind::UnsupportedParameter
        | FailureKind::PreviousResponseNotFound
        | FailureKind::IdempotencyKeyReused
        | FailureKind::TooLarge
        | FailureKind::UnsupportedMediaType
        | FailureKind::MethodNotAllowed
        | FailureKind::UpstreamRejected
        | FailureKind::ContextLengthExceeded => "invalid_request",
        FailureKind::InvalidApiKey | FailureKind::ModelNotAllowed | FailureKind::NotAllowed => {
            "unauthorized"
        }
        FailureKind::NotFound
        | FailureKind::ModelNotFound
        | FailureKind::SessionNotFound
        | FailureKind::ResponseNotFound
        | FailureKind::ConversationNotFound
        | FailureKind::TurnNotFound
        | FailureKind::FileNotFound => "not_found",
        FailureKind::SessionBusy => "conflict",
        FailureKind::RateLimited
        | FailureKind::QueueFull
        | FailureKind::UpstreamThrottled
        | FailureKind::Draining
        | FailureKind::Overloaded
        | FailureKind::StoreUnavailable => "throttled",
        FailureKind::UpstreamDependency => "dependency_failed",
        FailureKind::UpstreamDenied
        | FailureKind::UpstreamProtocol
        | FailureKind::UpstreamUnavailable => "upstream_error",
        FailureKind::RequestTimeout | FailureKind::UpstreamTimeout => "timeout",
        FailureKind::Internal => "internal",
    }
}
