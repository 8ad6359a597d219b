//! An answer while it is put together.

use bytes::Bytes;
use serde_json::{Value, json};

use super::citations::Cited;
use super::pieces::{Cut, Pieces};
use super::script::Part;
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
    /// The citations that go with it.
    cited: Vec<Value>,
    /// Bytes said so far.
    said: usize,
    /// Characters said so far.
    letters: usize,
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
        Self {
            tracer,
            is_streamed,
            parts: Vec::new(),
            held: String::new(),
            cited: Vec::new(),
            said: 0,
            letters: 0,
        }
    }

    /// Says something, after a space if something was said before.
    pub(super) fn say(&mut self, text: &str) {
        self.add(text);
        self.flush_streamed();
    }

    /// Says a sentence and what it rests on.
    pub(super) fn cite(&mut self, cited: &Cited) {
        let letters = self.add(&cited.text);
        self.cited.push(cited.citation(letters));
        self.flush_streamed();
    }

    /// Adds to the text, and tells after how many characters.
    fn add(&mut self, text: &str) -> usize {
        if !text.is_empty() && self.said > 0 {
            self.held.push(' ');
            self.said += 1;
            self.letters += 1;
        }
        self.held.push_str(text);
        self.said += text.len();
        let before = self.letters;
        self.letters += text.chars().count();
        before
    }

    fn flush_streamed(&mut self) {
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
            let citations = std::mem::take(&mut self.cited);
            let attribution =
                (!citations.is_empty()).then(|| json!({"citations": citations}).to_string());
            self.parts.push(Part::Text(pieces, attribution));
        }
    }
}
