//! Names of tools and ids of calls that Converse takes, for those that it would not.
//!
//! A tool's name is 1 to 64 of `[a-zA-Z0-9_-]`, a call's id 1 to 64 of `[a-zA-Z0-9_.:-]`
//! (Converse API model, `ToolName` and `ToolUseId`). What does not fit is rewritten by a rule
//! that depends on nothing else, so that a transcript reads the same turn after turn.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

/// What both may have at most.
const LONGEST: usize = 64;
/// What of a rewritten name stays readable; the rest is what tells it from others.
const READABLE: usize = 47;
/// Bytes of a hash that tell one rewritten name from another.
const TELLING: usize = 8;

/// The tools of one request, by the names that go upstream.
#[derive(Debug, Default)]
pub(in crate::backend) struct ToolNames {
    /// The client's own names of those that were rewritten.
    own: HashMap<String, String>,
}

impl ToolNames {
    /// The name that goes upstream for a tool of the client's.
    pub(in crate::backend) fn upstream(&mut self, own: &str) -> String {
        let name = fit(own, own, is_name_byte);
        if name != own {
            self.own.insert(name.clone(), own.to_owned());
        }
        name
    }

    /// The client's name of a tool that the model calls.
    pub(in crate::backend) fn own<'a>(&'a self, upstream: &'a str) -> &'a str {
        self.own.get(upstream).map_or(upstream, String::as_str)
    }
}

/// An id for a call that goes upstream; `nth` tells calls apart that the client gave one id.
pub(in crate::backend) fn call_id(id: &str, nth: usize) -> String {
    if nth == 0 {
        return fit(id, id, |byte| is_name_byte(byte) || matches!(byte, b'.' | b':'));
    }
    rewritten(id, &format!("{id}\n{nth}"), is_name_byte)
}

/// The text itself where it fits, else one that is made of it and of the hash of `seed`.
fn fit(text: &str, seed: &str, allows: fn(u8) -> bool) -> String {
    let fits = (1..=LONGEST).contains(&text.len()) && text.bytes().all(allows);
    if fits { text.to_owned() } else { rewritten(text, seed, allows) }
}

fn rewritten(text: &str, seed: &str, allows: fn(u8) -> bool) -> String {
    let readable = text.bytes().take(READABLE);
    let mut name: String =
        readable.map(|byte| if allows(byte) { char::from(byte) } else { '_' }).collect();
    name.push('_');
    for byte in Sha256::digest(seed.as_bytes()).iter().take(TELLING) {
        name.extend(char::from_digit((byte >> 4).into(), 16));
        name.extend(char::from_digit((byte & 15).into(), 16));
    }
    name
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_stay_and_others_come_back_as_the_client_wrote_them() {
        let mut names = ToolNames::default();
        assert_eq!(names.upstream("get_time"), "get_time");
        let rewritten = names.upstream("files.read/für Ann");
        assert!(rewritten.len() <= LONGEST && rewritten.bytes().all(is_name_byte), "{rewritten}");
        assert_eq!(names.own(&rewritten), "files.read/für Ann");
        assert_eq!(names.own("get_time"), "get_time");
        assert_eq!(names.upstream("files.read/für Ann"), rewritten);
    }

    #[test]
    fn long_names_that_begin_alike_stay_apart() {
        let mut names = ToolNames::default();
        let (a, b) = (names.upstream(&"x".repeat(65)), names.upstream(&"x".repeat(66)));
        assert_ne!(a, b);
        assert_eq!(a.len(), LONGEST);
    }

    #[test]
    fn one_id_for_two_calls_becomes_two() {
        assert_eq!(call_id("tooluse_1", 0), "tooluse_1");
        assert_eq!(call_id("call:1.a", 0), "call:1.a");
        assert_ne!(call_id("look_up", 1), call_id("look_up", 2));
        assert_ne!(call_id("", 0), "");
        assert!(call_id(&"é".repeat(100), 3).len() <= LONGEST);
    }
}
