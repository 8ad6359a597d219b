//! Server-sent events out of pieces of a body, cut anywhere.
//!
//! After the HTML standard's "Interpreting an event stream": lines end with LF, CR or CRLF, a
//! blank line ends an event, several `data` lines are one with line feeds between. Of the fields
//! only `data` matters here. Unlike the standard, an event that the end of the stream cuts short
//! of its blank line counts, since servers leave it out.

use memchr::memchr2;

/// An event is longer than is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {0} bytes")]
pub struct TooLong(usize);

/// What of a stream has come and is no whole event yet.
#[derive(Debug)]
pub struct Events {
    /// A line without its end.
    line: Vec<u8>,
    /// The data of the event that is on its way.
    data: Option<Vec<u8>>,
    /// The last byte was a CR: an LF right after belongs to it.
    after_cr: bool,
    is_first_line: bool,
    /// Bytes that one event may have.
    limit: usize,
}

impl Events {
    /// Nothing has come; `limit` bounds the bytes of one event.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { line: Vec::new(), data: None, after_cr: false, is_first_line: true, limit }
    }

    /// Takes a piece in, and appends the data of the events that are whole by it.
    ///
    /// # Errors
    /// When a line or an event grows beyond the limit.
    pub fn push(&mut self, mut piece: &[u8], whole: &mut Vec<Vec<u8>>) -> Result<(), TooLong> {
        while !piece.is_empty() {
            if std::mem::take(&mut self.after_cr)
                && let Some(after) = piece.strip_prefix(b"\n")
            {
                piece = after;
                continue;
            }
            let at = memchr2(b'\n', b'\r', piece);
            let Some((line, [end, after @ ..])) = at.and_then(|at| piece.split_at_checked(at))
            else {
                return self.lengthen(piece);
            };
            self.after_cr = *end == b'\r';
            if self.line.is_empty() {
                self.end_line(line, whole)?;
            } else {
                self.lengthen(line)?;
                let line = std::mem::take(&mut self.line);
                self.end_line(&line, whole)?;
            }
            piece = after;
        }
        Ok(())
    }

    /// The data of an event that the end of the stream cut short.
    ///
    /// # Errors
    /// When the event grows beyond the limit.
    pub fn finish(mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let mut whole = Vec::new();
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.end_line(&line, &mut whole)?;
        }
        Ok(self.data)
    }

    fn lengthen(&mut self, piece: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + piece.len() > self.limit {
            return Err(TooLong(self.limit));
        }
        self.line.extend_from_slice(piece);
        Ok(())
    }

    fn end_line(&mut self, line: &[u8], whole: &mut Vec<Vec<u8>>) -> Result<(), TooLong> {
        let is_first = std::mem::take(&mut self.is_first_line);
        let line = if is_first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        if line.is_empty() {
            whole.extend(self.data.take());
            return Ok(());
        }
        let Some(value) = line.strip_prefix(b"data") else { return Ok(()) };
        let value = match value {
            [] => value,
            [b':', b' ', value @ ..] | [b':', value @ ..] => value,
            // A field whose name only begins so.
            _ => return Ok(()),
        };
        let held = self.data.as_ref().map_or(0, Vec::len);
        if held + value.len() > self.limit {
            return Err(TooLong(self.limit));
        }
        match &mut self.data {
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            None => self.data = Some(value.to_vec()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data of a stream that comes in pieces of this size.
    fn read(stream: &str, size: usize) -> Vec<String> {
        let mut events = Events::new(1_000);
        let mut whole = Vec::new();
        for piece in stream.as_bytes().chunks(size) {
            events.push(piece, &mut whole).unwrap();
        }
        whole.extend(events.finish().unwrap());
        whole.into_iter().map(|data| String::from_utf8(data).unwrap()).collect()
    }

    #[test]
    fn events_are_the_same_wherever_the_stream_is_cut() {
        let stream = "\u{feff}: comment\r\nid: 1\r\nevent: x\r\ndata: {\"a\":1}\r\n\r\n\
                      data:b\ndata: é😀\ndata\n\n: ping\n\nretry: 5\n\ndatabase: no\n\n\
                      data: c\r\rdata:  d\n\n\n\ndata: [DONE]";
        let expected = ["{\"a\":1}", "b\né😀\n", "c", " d", "[DONE]"];
        for size in 1..=stream.len() {
            assert_eq!(read(stream, size), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_stream_without_data_has_no_events() {
        assert!(read("", 1).is_empty());
        assert!(read(": a\n\n\n\nevent: b\n\n", 3).is_empty());
    }

    #[test]
    fn lines_and_events_are_bounded() {
        let mut whole = Vec::new();
        let mut one_line = Events::new(10);
        assert_eq!(one_line.push(b"data: 34567", &mut whole), Err(TooLong(10)));
        let mut many_lines = Events::new(10);
        assert_eq!(many_lines.push(b"data: 3456\n", &mut whole), Ok(()));
        assert_eq!(many_lines.push(b"data: 7890123\n", &mut whole), Err(TooLong(10)));
        let mut comments = Events::new(10);
        for _ in 0..100 {
            assert_eq!(comments.push(b": ping\n\n", &mut whole), Ok(()));
        }
        assert!(whole.is_empty());
    }
}
