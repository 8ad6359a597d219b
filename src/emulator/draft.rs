//! An answer while it is put together.

use bytes::Bytes;
use serde_json::Value;

use super::script::{Cut, Part, Pieces};
use super::traces::Tracer;

/// The parts of an answer so far.
///
/// Where the answer is not streamed its text is one chunk, at the place of its last piece.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    tracer: Option<&'a Tracer>,
    is_streamed: bool,
    parts: Vec<Part>,
    /// Text that is not yet among the parts.
    held: String,
    /// Bytes said so far.
    said: usize,
}

/// An answer that is put together.
#[derive(Debug, Default)]
pub(super) struct Drafted {
    /// Its parts.
    pub(super) parts: Vec<Part>,
    /// Bytes of its text.
    pub(super) said: usize,
    /// The exception that ends it, where it does not end well.
    pub(super) fails: Option<String>,
    /// Whether it ends in a hand-over.
    pub(super) hands_over: bool,
}

impl<'a> Draft<'a> {
    /// Nothing yet; traces are left out where there is no tracer.
    pub(super) fn new(tracer: Option<&'a Tracer>, is_streamed: bool) -> Self {
        Self { tracer, is_streamed, parts: Vec::new(), held: String::new(), said: 0 }
    }

    /// Says something, after a space if something was said before.
    pub(super) fn say(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if self.said > 0 {
            self.held.push(' ');
            self.said += 1;
        }
        self.held.push_str(text);
        self.said += text.len();
        if self.is_streamed {
            self.flush(Cut::Bytes);
        }
    }

    /// Says the whole answer, in its own way of being cut.
    pub(super) fn tell(&mut self, text: String, cut: Cut) {
        self.said += text.len();
        self.held = text;
        self.flush(if self.is_streamed { cut } else { Cut::Whole });
    }

    /// Records what the agent does, or a collaborator.
    pub(super) fn trace(&mut self, collaborator: Option<&str>, trace: impl FnOnce() -> Value) {
        if let Some(tracer) = self.tracer {
            self.parts.push(Part::Trace(tracer.record(collaborator, trace())));
        }
    }

    /// Adds an event of the answer, after all text.
    pub(super) fn event(&mut self, frame: Bytes) {
        self.flush(Cut::Whole);
        self.parts.push(Part::Event(frame));
    }

    /// The answer, which ends with this exception if there is one.
    pub(super) fn finish(mut self, fails: Option<String>) -> Drafted {
        self.flush(Cut::Whole);
        Drafted { parts: self.parts, said: self.said, fails, hands_over: false }
    }

    fn flush(&mut self, cut: Cut) {
        if !self.held.is_empty() {
            let pieces = Pieces::new(std::mem::take(&mut self.held), cut);
            self.parts.push(Part::Text(pieces, None));
        }
    }
}
