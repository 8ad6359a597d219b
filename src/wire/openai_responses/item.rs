//! An item of an answer, and how it is written.
//!
//! A call of a custom tool is a function call inside: what it says is one member of the
//! arguments, so it can be told only once the arguments are complete.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde_json::Value;

use crate::turn::{Citation, Confirmation, Thought};
use crate::wire::citations::{Annotation, UrlCitation, cited};
use crate::wire::extras::{CallExtras, MessageExtras};
use crate::wire::json_text;

use super::carrier;
use super::tools::FREE_TEXT;

/// One item, as far as it has come.
#[derive(Debug)]
pub(super) struct Item {
    /// Its id.
    pub(super) id: String,
    /// Its place in the answer.
    pub(super) index: usize,
    pub(super) body: Body,
}

/// What an item is.
#[derive(Debug)]
pub(super) enum Body {
    Message {
        text: String,
        /// How likely its tokens were, an entry each with a comma between two.
        logprobs: BytesMut,
    },
    Call {
        id: String,
        name: String,
        arguments: String,
        confirmation: Confirmation,
        /// Whether it calls a tool that takes free text.
        is_custom: bool,
    },
    Thinking {
        text: String,
        signature: Option<String>,
        /// Whether it is shown as a summary.
        is_summary: bool,
        /// Whether its carrier comes with it.
        is_sealed: bool,
    },
    /// Thinking that its upstream shows to nobody.
    Redacted { bytes: Bytes, is_sealed: bool },
}

/// How far an item has come, by OpenAI's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Running,
    Complete,
    /// Cut, and never to be completed.
    Cut,
}

impl Progress {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "in_progress",
            Self::Complete => "completed",
            Self::Cut => "incomplete",
        }
    }
}

/// An item as it is written.
#[derive(Debug)]
pub(super) struct Written {
    /// All of it.
    pub(super) json: Bytes,
    /// Its text with all that belongs to it; nothing where it is no text.
    pub(super) part: Bytes,
    /// The annotations on that text.
    pub(super) annotations: Vec<Bytes>,
}

impl Item {
    /// The item before anything of it came.
    pub(super) fn write_added(&self, out: &mut BytesMut) {
        let nothing: &[u8] = match &self.body {
            Body::Call { is_custom, .. } => {
                self.write_call("", *is_custom, Progress::Running, out);
                return;
            }
            Body::Message { .. } => br#","role":"assistant","content":[]}"#,
            Body::Thinking { is_summary: false, .. } => br#","summary":[],"content":[]}"#,
            Body::Thinking { .. } | Body::Redacted { .. } => br#","summary":[]}"#,
        };
        self.write_head(Progress::Running, out);
        out.put_slice(nothing);
    }

    /// The item as far as it has come. `citations` are those that its text may hold.
    pub(super) fn written(&self, progress: Progress, citations: &[Arc<Citation>]) -> Written {
        let mut out = BytesMut::new();
        let mut part = Bytes::new();
        let mut annotations = Vec::new();
        match &self.body {
            Body::Message { text, logprobs } => {
                (part, annotations) = text_part((text, logprobs), citations);
                self.write_head(progress, &mut out);
                out.put_slice(br#","role":"assistant","content":["#);
                out.put_slice(&part);
                out.put_slice(b"]}");
            }
            Body::Call { arguments, is_custom, .. } => {
                let said = if *is_custom { free_text(arguments) } else { arguments.clone() };
                self.write_call(&said, *is_custom, progress, &mut out);
            }
            Body::Thinking { text, signature, is_summary, is_sealed } => {
                part = thinking_part(text, *is_summary);
                self.write_head(progress, &mut out);
                let (opening, closing): (&[u8], &[u8]) = match is_summary {
                    true => (br#","summary":["#, b"]"),
                    false => (br#","summary":[],"content":["#, b"]"),
                };
                out.put_slice(opening);
                out.put_slice(&part);
                out.put_slice(closing);
                let (text, signature) = (text.clone(), signature.clone());
                write_carrier(*is_sealed, &Thought::Text { text, signature }, &mut out);
                out.put_u8(b'}');
            }
            Body::Redacted { bytes, is_sealed } => {
                self.write_head(progress, &mut out);
                out.put_slice(br#","summary":[]"#);
                write_carrier(*is_sealed, &Thought::Redacted(bytes.clone()), &mut out);
                out.put_u8(b'}');
            }
        }
        Written { json: out.freeze(), part, annotations }
    }

    /// What it says, where it is complete: the text, the arguments or the input.
    pub(super) fn said(&self) -> String {
        match &self.body {
            Body::Message { text, .. } | Body::Thinking { text, .. } => text.clone(),
            Body::Call { arguments, is_custom: true, .. } => free_text(arguments),
            Body::Call { arguments, .. } => arguments.clone(),
            Body::Redacted { .. } => String::new(),
        }
    }

    /// From the brace that opens the item to its status.
    fn write_head(&self, progress: Progress, out: &mut BytesMut) {
        out.put_slice(br#"{"id":"#);
        json_text::string(&self.id, out);
        out.put_slice(br#","type":"#);
        json_text::string(self.kind(), out);
        out.put_slice(br#","status":"#);
        json_text::string(progress.as_str(), out);
    }

    fn kind(&self) -> &'static str {
        match &self.body {
            Body::Message { .. } => "message",
            Body::Call { is_custom: true, .. } => "custom_tool_call",
            Body::Call { .. } => "function_call",
            Body::Thinking { .. } | Body::Redacted { .. } => "reasoning",
        }
    }

    fn write_call(&self, said: &str, is_custom: bool, progress: Progress, out: &mut BytesMut) {
        let Body::Call { id, name, confirmation, .. } = &self.body else { return };
        self.write_head(progress, out);
        out.put_slice(br#","call_id":"#);
        json_text::string(id, out);
        out.put_slice(br#","name":"#);
        json_text::string(name, out);
        out.put_slice(if is_custom { br#","input":"# } else { br#","arguments":"# });
        json_text::string(said, out);
        if let Some(extras) = CallExtras::of(*confirmation) {
            out.put_slice(br#","outcrop":"#);
            json_text::value(&extras, out);
        }
        out.put_u8(b'}');
    }
}

/// What the arguments of a call say to a tool that takes free text. A model that did not keep to
/// the one member has said all of it.
pub(super) fn free_text(arguments: &str) -> String {
    match serde_json::from_str::<Value>(arguments) {
        Ok(Value::Object(mut members)) => match members.remove(FREE_TEXT) {
            Some(Value::String(text)) => text,
            _ => arguments.to_owned(),
        },
        Ok(Value::String(text)) => text,
        _ => arguments.to_owned(),
    }
}

/// An annotation on a text: sources on the web and in buckets have URLs, others only names.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Flat<'a> {
    UrlCitation(UrlCitation<'a>),
    FileCitation {
        file_id: &'a str,
        filename: &'a str,
        /// The place of the source among those of the text.
        index: usize,
    },
}

impl<'a> Flat<'a> {
    fn of(index: usize, annotation: &Annotation<'a>) -> Self {
        let UrlCitation { url, title, .. } = annotation.url_citation;
        if url.contains("://") {
            return Self::UrlCitation(annotation.url_citation);
        }
        Self::FileCitation { file_id: url, filename: title, index }
    }
}

fn text_part((text, logprobs): (&str, &[u8]), citations: &[Arc<Citation>]) -> (Bytes, Vec<Bytes>) {
    let cited = cited(text, citations);
    let annotations = cited.annotations.iter().enumerate().map(|(index, annotation)| {
        let mut out = BytesMut::new();
        json_text::value(&Flat::of(index, annotation), &mut out);
        out.freeze()
    });
    let annotations: Vec<_> = annotations.collect();
    let mut part = BytesMut::with_capacity(text.len() + logprobs.len() + 80);
    part.put_slice(br#"{"type":"output_text","text":"#);
    json_text::string(text, &mut part);
    part.put_slice(br#","annotations":["#);
    part.put_slice(&annotations.join(&b','));
    part.put_slice(br#"],"logprobs":["#);
    part.put_slice(logprobs);
    part.put_u8(b']');
    if let Some(extras) = MessageExtras::of(cited.citations, &[]) {
        part.put_slice(br#","outcrop":"#);
        json_text::value(&extras, &mut part);
    }
    part.put_u8(b'}');
    (part.freeze(), annotations)
}

fn thinking_part(text: &str, is_summary: bool) -> Bytes {
    let mut part = BytesMut::with_capacity(text.len() + 40);
    part.put_slice(if is_summary {
        br#"{"type":"summary_text","text":"#
    } else {
        br#"{"type":"reasoning_text","text":"#
    });
    json_text::string(text, &mut part);
    part.put_u8(b'}');
    part.freeze()
}

fn write_carrier(is_sealed: bool, thought: &Thought, out: &mut BytesMut) {
    if is_sealed {
        out.put_slice(br#","encrypted_content":"#);
        json_text::string(&carrier::seal(thought), out);
    }
}
