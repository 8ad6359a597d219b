//! What differs from run to run, made equal.

use std::collections::HashMap;
use std::fmt::Write as _;

/// Of a name that was made up, so many hexadecimal digits at least are of chance.
const CHANCE: usize = 24;
/// What stands before a time or a duration.
const NUMBERS: &[&str] =
    &["\"created\":", "\"latencyMs\":", "\"invocationLatency\":", "\"firstByteLatency\":"];

/// Makes equal what differs from run to run; what the recording holds stays as it is.
pub(super) fn normalised(text: &str, recording: &str) -> String {
    let text = joined(text, recording);
    let text = NUMBERS.iter().fold(text, |text, mark| {
        after(&text, mark, |rest| {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            (digits, "0".to_owned())
        })
    });
    let text = after(&text, "\"timestamp\":\"", |rest| {
        let length = rest.find('"').unwrap_or(0);
        (length, "1970-01-01T00:00:00.000Z".to_owned())
    });
    let mut known = HashMap::new();
    let mut written = String::new();
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let mut rest = text.as_str();
    while let Some(begin) = rest.find(is_hex) {
        let (before, from) = rest.split_at(begin);
        let length = from.find(|c| !is_hex(c)).unwrap_or(from.len());
        let (run, behind) = from.split_at(length);
        written.push_str(before);
        if run.len() < CHANCE {
            written.push_str(run);
        } else {
            let next = known.len() + 1;
            let number = known.entry(run.to_owned()).or_insert(next);
            write!(written, "{{{number}}}").unwrap();
        }
        rest = behind;
    }
    written + rest
}

/// UUIDs that no recording holds, without their hyphens.
fn joined(text: &str, recording: &str) -> String {
    const LENGTH: usize = 36;
    let is_uuid = |text: &str| {
        text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    let mut joined = text.to_owned();
    for at in 0..text.len() {
        let Some(uuid) = text.get(at..at + LENGTH).filter(|text| is_uuid(text)) else { continue };
        if !recording.contains(uuid) {
            joined = joined.replace(uuid, &uuid.replace('-', ""));
        }
    }
    joined
}

/// Replaces what stands behind a mark: so many bytes of it, by this.
fn after(text: &str, mark: &str, replace: impl Fn(&str) -> (usize, String)) -> String {
    let mut pieces = text.split(mark);
    let mut written = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (length, replacement) = replace(piece);
        written.push_str(mark);
        written.push_str(&replacement);
        written.push_str(&piece[length..]);
    }
    written
}

#[test]
fn names_of_chance_are_numbered_and_times_are_gone() {
    let one = "0123456789abcdef01234567";
    let two = "fedcba9876543210fedcba9876543210";
    let known = "79e0feaa-c6f7-49bf-814d-b7c498505172";
    let new = "fedcba98-7654-3210-fedc-ba9876543210";
    let text = format!(
        "id: turn_{two}:3\n{{\"id\":\"call_{one}\",\"created\":1753000000,\"x\":\"file-{two}\",\
         \"timestamp\":\"2026-01-02T03:04:05.678Z\",\"cafe\":1,\"known\":\"{known}\",\
         \"new\":\"{new}\",\"latencyMs\":17}}"
    );
    let expected = "id: turn_{1}:3\n{\"id\":\"call_{2}\",\"created\":0,\"x\":\"file-{1}\",\
                    \"timestamp\":\"1970-01-01T00:00:00.000Z\",\"cafe\":1,\
                    \"known\":\"79e0feaa-c6f7-49bf-814d-b7c498505172\",\"new\":\"{1}\",\"latencyMs\":0}";
    assert_eq!(normalised(&text, known), expected);
}
