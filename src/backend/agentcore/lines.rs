//! The body of a runtime's answer, cut into what was meant as one piece.
//!
//! A runtime answers as it likes; the content type says how. `text/event-stream` is what the
//! AgentCore SDK for Python makes of a generator: a `data:` line of JSON for each thing yielded.
//! Frames of the body mean nothing: a line, and a character too, may begin in one and end in
//! the next.

use std::sync::Arc;

use crate::backend::bedrock_agent::utf8::Joiner;

/// The longest line that is read, in bytes.
const LONGEST: usize = 1 << 20;

/// How a body is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Server-sent events.
    Events,
    /// A JSON document a line.
    Lines,
    /// Text, as it comes.
    Text,
    /// One document.
    Whole,
}

impl Framing {
    /// What a content type says; one that says nothing is taken for one document.
    pub(super) fn of(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "text/event-stream" => Self::Events,
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonlines"
            | "application/jsonlines"
            | "application/json-lines" => Self::Lines,
            other if other.starts_with("text/") => Self::Text,
            _ => Self::Whole,
        }
    }
}

/// A line of a body is longer than [`LONGEST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// What was meant as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A line of JSON, or the data of an event: JSON as a rule.
    Data(String),
    /// Data of an event that is named an error.
    ErrorData(String),
    /// Text of the answer.
    Text(Arc<str>),
}

/// Cuts a body of events, lines or text.
#[derive(Debug)]
pub(super) struct Cutter {
    framing: Framing,
    /// Of a line, what has come.
    line: Vec<u8>,
    /// Of an event, the data that has come.
    data: Option<String>,
    is_error: bool,
    joiner: Joiner,
}

impl Cutter {
    pub(super) fn new(framing: Framing) -> Self {
        Self { framing, line: Vec::new(), data: None, is_error: false, joiner: Joiner::default() }
    }

    /// Takes a frame of the body and gives the pieces that are whole with it.
    ///
    /// # Errors
    /// When a line, or the data of one event, grows too long.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Piece>, TooLong> {
        let mut pieces = Vec::new();
        if self.framing == Framing::Text {
            pieces.extend(self.joiner.push(bytes).map(Piece::Text));
            return Ok(pieces);
        }
        let mut rest = bytes;
        while let Some((line, end)) =
            memchr::memchr(b'\n', rest).and_then(|at| rest.split_at_checked(at))
        {
            self.grow(line)?;
            let line = std::mem::take(&mut self.line);
            pieces.extend(self.line(&line)?);
            rest = end.get(1..).unwrap_or_default();
        }
        self.grow(rest)?;
        Ok(pieces)
    }

    /// What is left at the end: the last line and the last event need no end of their own.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub(super) fn finish(&mut self) -> Result<Vec<Piece>, TooLong> {
        let mut pieces: Vec<_> = self.joiner.finish().map(Piece::Text).into_iter().collect();
        let line = std::mem::take(&mut self.line);
        pieces.extend(self.line(&line)?);
        if self.framing == Framing::Events {
            pieces.extend(self.event());
        }
        Ok(pieces)
    }

    fn grow(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + bytes.len() > LONGEST {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Piece>, TooLong> {
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\r').unwrap_or(&text);
        if self.framing == Framing::Events {
            return self.field(text);
        }
        Ok((!text.trim().is_empty()).then(|| Piece::Data(text.to_owned())))
    }

    /// A line of an event stream (HTML Living Standard, "Interpreting an event stream").
    fn field(&mut self, line: &str) -> Result<Option<Piece>, TooLong> {
        if line.is_empty() {
            return Ok(self.event());
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => match &mut self.data {
                Some(data) if data.len() + value.len() >= LONGEST => return Err(TooLong),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "event" => self.is_error = value == "error",
            // Comments, ids and retry times.
            _ => {}
        }
        Ok(None)
    }

    fn event(&mut self) -> Option<Piece> {
        let is_error = std::mem::take(&mut self.is_error);
        let data = self.data.take()?;
        Some(if is_error { Piece::ErrorData(data) } else { Piece::Data(data) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(framing: Framing, body: &str, size: usize) -> Vec<Piece> {
        let mut cutter = Cutter::new(framing);
        let mut pieces = Vec::new();
        for frame in body.as_bytes().chunks(size) {
            pieces.extend(cutter.push(frame).unwrap());
        }
        pieces.extend(cutter.finish().unwrap());
        pieces
    }

    fn data(text: &str) -> Piece {
        Piece::Data(text.to_owned())
    }

    #[test]
    fn the_content_type_says_how_a_body_is_cut() {
        assert_eq!(Framing::of("text/event-stream; charset=utf-8"), Framing::Events);
        assert_eq!(Framing::of("application/x-ndjson"), Framing::Lines);
        assert_eq!(Framing::of("text/plain"), Framing::Text);
        assert_eq!(Framing::of("Application/JSON"), Framing::Whole);
        assert_eq!(Framing::of(""), Framing::Whole);
    }

    #[test]
    fn events_survive_frames_of_any_size() {
        let body = ": hello\n\ndata: \"für \"\n\nid: 7\r\ndata:\"Łukasz 🏦\"\r\n\r\ndata: {\ndata: }\n\n\
                    event: error\ndata: {}\n\nevent: done\n\ndata: [DONE]";
        let expected = [
            data("\"für \""),
            data("\"Łukasz 🏦\""),
            data("{\n}"),
            Piece::ErrorData("{}".to_owned()),
            data("[DONE]"),
        ];
        for size in [1, 2, 3, 7, body.len()] {
            assert_eq!(cut(Framing::Events, body, size), expected, "frames of {size}");
        }
    }

    #[test]
    fn lines_are_cut_at_their_ends_and_empty_ones_left_out() {
        let body = "{\"a\":\"ü\"}\r\n\n{\"b\":2}";
        for size in [1, 5, body.len()] {
            let expected = [data("{\"a\":\"ü\"}"), data("{\"b\":2}")];
            assert_eq!(cut(Framing::Lines, body, size), expected);
        }
    }

    #[test]
    fn text_comes_in_whole_characters() {
        let pieces = cut(Framing::Text, "北京\nzwei", 2);
        let texts = pieces.into_iter().map(|piece| match piece {
            Piece::Text(text) => text.to_string(),
            other => panic!("{other:?}"),
        });
        assert_eq!(texts.collect::<String>(), "北京\nzwei");
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let mut cutter = Cutter::new(Framing::Events);
        let frame = vec![b'x'; LONGEST / 2];
        assert_eq!(cutter.push(&frame), Ok(Vec::new()));
        assert_eq!(cutter.push(&frame), Ok(Vec::new()));
        assert_eq!(cutter.push(b"x"), Err(TooLong));
        let mut cutter = Cutter::new(Framing::Events);
        let line = [b"data: ", &*frame, b"\n"].concat();
        cutter.push(&line).unwrap();
        assert_eq!(cutter.push(&line), Err(TooLong));
    }
}
