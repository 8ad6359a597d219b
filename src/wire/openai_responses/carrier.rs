//! What a model thought, on its way through a client that keeps the conversation itself:
//! `encrypted_content` of a reasoning item.
//!
//! An upstream wants its thinking back to the byte, with what proves it to be its own. The
//! carrier holds both, with a digest that finds what was damaged on the way. It is no secret and
//! no proof: nothing is put into it that was not shown, and whether thinking is genuine is for
//! the upstream that signed it to say.
//!
//! Text that is no carrier of ours, such as another service's, is passed over: nobody here could
//! read it. One of ours that is damaged is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::turn::Thought;

/// How a carrier begins; the number is the layout's.
const MARK: &str = "outcrop1.";
/// Bytes of the digest.
const DIGEST: usize = 16;
/// What the thinking is, in the first byte behind the digest.
const SIGNED: u8 = b's';
const UNSIGNED: u8 = b'u';
const REDACTED: u8 = b'r';

/// Writes thinking down.
pub(super) fn seal(thought: &Thought) -> String {
    let mut content = Vec::with_capacity(thought.weight() + 5);
    match thought {
        Thought::Text { text, signature: Some(signature) } => {
            content.push(SIGNED);
            content.extend_from_slice(&(text.len() as u64).to_be_bytes());
            content.extend_from_slice(text.as_bytes());
            content.extend_from_slice(signature.as_bytes());
        }
        Thought::Text { text, signature: None } => {
            content.push(UNSIGNED);
            content.extend_from_slice(text.as_bytes());
        }
        Thought::Redacted(bytes) => {
            content.push(REDACTED);
            content.extend_from_slice(bytes);
        }
    }
    let mut sealed = digest(&content);
    sealed.extend_from_slice(&content);
    format!("{MARK}{}", URL_SAFE_NO_PAD.encode(sealed))
}

/// A carrier that is ours, and not as it was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// Reads thinking back; none where the text is no carrier of ours.
///
/// # Errors
/// [`Damaged`].
pub(super) fn open(text: &str) -> Result<Option<Thought>, Damaged> {
    let Some(sealed) = text.strip_prefix(MARK) else { return Ok(None) };
    let sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| Damaged)?;
    let (written, content) = sealed.split_at_checked(DIGEST).ok_or(Damaged)?;
    if written != digest(content) {
        return Err(Damaged);
    }
    thought(content).map(Some).ok_or(Damaged)
}

fn thought(content: &[u8]) -> Option<Thought> {
    let (kind, content) = content.split_first()?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    match *kind {
        SIGNED => {
            let (length, content) = content.split_first_chunk()?;
            let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
            let (said, signature) = content.split_at_checked(length)?;
            Some(Thought::Text { text: text(said)?, signature: Some(text(signature)?) })
        }
        UNSIGNED => Some(Thought::Text { text: text(content)?, signature: None }),
        REDACTED => Some(Thought::Redacted(content.to_vec().into())),
        _ => None,
    }
}

fn digest(content: &[u8]) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(MARK);
    hash.update(content);
    hash.finalize()[..DIGEST].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thoughts() -> [Thought; 4] {
        let text = "Hm – \u{2028} 😀".to_owned();
        [
            Thought::Text { text: text.clone(), signature: Some("proof".to_owned()) },
            Thought::Text { text, signature: None },
            Thought::Text { text: String::new(), signature: Some(String::new()) },
            Thought::Redacted(vec![0, 255, 10].into()),
        ]
    }

    #[test]
    fn thinking_comes_back_to_the_byte() {
        for thought in thoughts() {
            assert_eq!(open(&seal(&thought)), Ok(Some(thought)));
        }
    }

    #[test]
    fn what_is_no_carrier_of_ours_is_passed_over() {
        for text in ["", "gAAAAABo", "outcrop", "Outcrop1.AAAA"] {
            assert_eq!(open(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn whatever_is_changed_or_missing_is_noticed() {
        for thought in thoughts() {
            let sealed = seal(&thought);
            for at in MARK.len()..sealed.len() {
                assert_eq!(open(&sealed[..at]), Err(Damaged));
                let mut changed = sealed.clone().into_bytes();
                changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
                assert_eq!(open(std::str::from_utf8(&changed).unwrap()), Err(Damaged));
            }
        }
    }
}
