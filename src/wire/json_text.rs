//! JSON that no reader takes for several lines.
//!
//! Streams are cut into lines by their readers, and some of these (Python's `str.splitlines`,
//! and with it the line iterators of popular HTTP clients) also cut at U+0085, U+2028 and
//! U+2029, which JSON allows unescaped. They are escaped here; all else is `serde_json`'s.

use std::io;

use bytes::{BufMut, BytesMut};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

/// Appends a text as a JSON string, quotes and all.
pub(super) fn string(text: &str, out: &mut BytesMut) {
    value(text, out);
}

/// Appends a value as compact JSON on one line.
pub(super) fn value<T: Serialize + ?Sized>(value: &T, out: &mut BytesMut) {
    let mut serializer = Serializer::with_formatter(BufMut::writer(out), OneLine);
    value.serialize(&mut serializer).expect("writing our own types to memory cannot fail");
}

struct OneLine;

impl Formatter for OneLine {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut rest = fragment;
        while let Some((at, length, escape)) = first_separator(rest) {
            writer.write_all(&rest.as_bytes()[..at])?;
            writer.write_all(escape)?;
            rest = &rest[at + length..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Where the first of the three characters stands, its length in bytes, and its escape.
fn first_separator(text: &str) -> Option<(usize, usize, &'static [u8])> {
    let bytes = text.as_bytes();
    memchr::memchr2_iter(0xc2, 0xe2, bytes).find_map(|at| match &bytes[at..] {
        [0xc2, 0x85, ..] => Some((at, 2, br"\u0085".as_slice())),
        [0xe2, 0x80, 0xa8, ..] => Some((at, 3, br"\u2028".as_slice())),
        [0xe2, 0x80, 0xa9, ..] => Some((at, 3, br"\u2029".as_slice())),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = BytesMut::new();
        string(text, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn every_line_separator_is_escaped_and_nothing_else_is_touched() {
        assert_eq!(written("a\u{2028}b\u{2029}\u{85}c"), r#""a\u2028b\u2029\u0085c""#);
        assert_eq!(written("“so” – \u{a0}é 漢 😀"), "\"“so” – \u{a0}é 漢 😀\"");
        assert_eq!(written("\"\\\n\u{0}\u{b}"), r#""\"\\\n\u0000\u000b""#);
    }

    #[test]
    fn what_is_written_reads_back() {
        let text = "x\u{85}\u{2028}y\r\n\t\u{1f}z\u{e2}\u{c2}";
        assert_eq!(serde_json::from_str::<String>(&written(text)).unwrap(), text);
    }
}
