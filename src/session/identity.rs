//! Which session a resent transcript belongs to.
//!
//! Clients that know nothing of sessions resend the whole conversation with every request. A
//! rolling digest over its messages finds the session that holds just that conversation: each
//! session registers the digest of what it holds (its head) when a turn ends, and a request
//! claims the session whose head is the prefix that it resends. A claim takes the head away, so
//! two clients that said the same words so far never come into one session. A digest begins
//! with the tenant, the model, the speaker and the system prompt; so another tenant never
//! matches.

use std::time::{Duration, SystemTime};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use sha2::{Digest as _, Sha256};

use crate::turn::{Message, ModelName, Part, Role, SessionKey, TenantId};

/// A digest of a conversation up to some message.
pub(super) type Digest = [u8; 32];

/// Conversations known at once; beyond, a sweep drops those that were passed the longest ago.
const CAPACITY: usize = 500_000;
/// A conversation that was passed is known for so long at least.
const SOONEST: Duration = Duration::from_secs(60);

/// What the transcript of a request leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// A session that holds just this conversation; now nobody else's.
    Head(SessionKey),
    /// A session went through this conversation, and further: a branch begins here.
    Passed,
    /// It goes on from a conversation that is held nowhere.
    Unknown,
    /// It is a first message.
    Fresh,
}

/// The heads of all sessions.
#[derive(Debug, Default)]
pub(super) struct Heads {
    known: DashMap<Digest, Known>,
}

#[derive(Debug)]
struct Known {
    heads: Vec<SessionKey>,
    touched: SystemTime,
}

impl Heads {
    /// Registers that a session holds the conversation of this digest.
    pub(super) fn register(&self, digest: Digest, key: SessionKey) {
        let mut known = self.known.entry(digest).or_insert_with(Known::passed);
        if !known.heads.contains(&key) {
            known.heads.push(key);
        }
        known.touched = SystemTime::now();
    }

    /// Forgets that a session holds it.
    pub(super) fn forget(&self, digest: &Digest, key: &SessionKey) {
        let Entry::Occupied(mut entry) = self.known.entry(*digest) else { return };
        entry.get_mut().heads.retain(|head| head != key);
        if entry.get().heads.is_empty() {
            entry.remove();
        }
    }

    /// Looks a transcript up and claims the session that holds it.
    pub(super) fn claim(&self, transcript: &Transcript) -> Found {
        let Some(longest) = transcript.prefixes.last() else { return Found::Fresh };
        if let Some(mut known) = self.known.get_mut(longest) {
            known.touched = SystemTime::now();
            return known.heads.pop().map_or(Found::Passed, Found::Head);
        }
        let was_passed = transcript.prefixes.iter().any(|prefix| self.known.contains_key(prefix));
        if was_passed { Found::Passed } else { Found::Unknown }
    }

    /// Drops what nobody went on from for so long; when there is too much, what was passed goes
    /// sooner.
    pub(super) fn sweep(&self, now: SystemTime, keep: Duration) {
        let mut keep_passed = keep;
        loop {
            self.known.retain(|_, known| {
                let age = now.duration_since(known.touched).unwrap_or_default();
                age < if known.heads.is_empty() { keep_passed } else { keep }
            });
            if self.known.len() <= CAPACITY || keep_passed < SOONEST {
                return;
            }
            keep_passed /= 4;
        }
    }
}

impl Known {
    fn passed() -> Self {
        Self { heads: Vec::new(), touched: SystemTime::now() }
    }
}

/// The digests of a request's transcript.
#[derive(Debug)]
pub(super) struct Transcript {
    /// After each assistant message, oldest first.
    prefixes: Vec<Digest>,
    /// Before the new input: what a session that holds all the rest has for a head.
    pub(super) base: Digest,
}

impl Transcript {
    /// Digests the messages of a request; `messages` holds its system messages too.
    pub(super) fn of(
        tenant: &TenantId,
        model: &ModelName,
        speaker: Option<&str>,
        messages: &[Message],
    ) -> Self {
        let mut base = seed(tenant, model, speaker, messages);
        let mut prefixes = Vec::new();
        let mut digest = base;
        for message in messages.iter().filter(|message| message.role != Role::System) {
            digest = extend(&digest, message);
            if message.role == Role::Assistant {
                prefixes.push(digest);
                base = digest;
            }
        }
        Self { prefixes, base }
    }
}

fn seed(
    tenant: &TenantId,
    model: &ModelName,
    speaker: Option<&str>,
    messages: &[Message],
) -> Digest {
    let mut hash = Sha256::new();
    for text in [tenant.as_str(), model.as_str(), speaker.unwrap_or_default()] {
        put(&mut hash, text);
    }
    for message in messages.iter().filter(|message| message.role == Role::System) {
        put_parts(&mut hash, message);
    }
    hash.finalize().into()
}

/// The digest of a conversation that goes on with a message.
pub(super) fn extend(digest: &Digest, message: &Message) -> Digest {
    let mut hash = Sha256::new();
    hash.update(digest);
    put(&mut hash, message.role.as_str());
    put_parts(&mut hash, message);
    for call in &message.tool_calls {
        put(&mut hash, &call.id);
    }
    put(&mut hash, message.tool_call_id.as_deref().unwrap_or_default());
    hash.finalize().into()
}

/// Clients trim what they show, so space around a text does not count.
fn put_parts(hash: &mut Sha256, message: &Message) {
    for part in &message.parts {
        match part {
            Part::Text(text) => put(hash, text.trim()),
            Part::Attachment { kind, value } => {
                put(hash, kind);
                put(hash, &value.to_string());
            }
        }
    }
}

/// A text with its length before it, so that two texts never look like one.
fn put(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> Message {
        Message::text(Role::User, text)
    }

    fn assistant(text: &str) -> Message {
        Message::text(Role::Assistant, text)
    }

    fn transcript(tenant: &str, messages: &[Message]) -> Transcript {
        Transcript::of(&tenant.parse().unwrap(), &"m".parse().unwrap(), None, messages)
    }

    fn key(id: &str) -> SessionKey {
        SessionKey { tenant: "acme".parse().unwrap(), id: id.parse().unwrap() }
    }

    /// Registers a session after its first turn, as its actor does.
    fn hold(heads: &Heads, id: &str, question: &str, answer: &str) {
        let first = transcript("acme", &[user(question)]);
        let digest = extend(&extend(&first.base, &user(question)), &assistant(answer));
        heads.register(digest, key(id));
    }

    #[test]
    fn the_transcript_of_a_session_leads_back_to_it() {
        let heads = Heads::default();
        hold(&heads, "s1", "hi", "Hello!");
        let next = transcript("acme", &[user("hi"), assistant(" Hello! "), user("loans?")]);
        assert_eq!(heads.claim(&next), Found::Head(key("s1")));
    }

    #[test]
    fn two_clients_with_the_same_words_get_a_session_each() {
        let heads = Heads::default();
        hold(&heads, "s1", "hi", "Hello!");
        hold(&heads, "s2", "hi", "Hello!");
        let next = transcript("acme", &[user("hi"), assistant("Hello!"), user("loans?")]);
        let (one, two) = (heads.claim(&next), heads.claim(&next));
        assert_ne!(one, two);
        assert!(matches!((one, two), (Found::Head(_), Found::Head(_))));
        assert_eq!(heads.claim(&next), Found::Passed);
    }

    #[test]
    fn another_tenant_never_matches() {
        let heads = Heads::default();
        hold(&heads, "s1", "hi", "Hello!");
        let theirs = transcript("other", &[user("hi"), assistant("Hello!"), user("loans?")]);
        assert_eq!(heads.claim(&theirs), Found::Unknown);
    }

    #[test]
    fn another_speaker_or_another_system_prompt_never_matches() {
        let heads = Heads::default();
        hold(&heads, "s1", "hi", "Hello!");
        let messages = [user("hi"), assistant("Hello!"), user("loans?")];
        let bob =
            Transcript::of(&"acme".parse().unwrap(), &"m".parse().unwrap(), Some("bob"), &messages);
        assert_eq!(heads.claim(&bob), Found::Unknown);
        let [first, second, third] = messages;
        let prompted =
            transcript("acme", &[Message::text(Role::System, "be rude"), first, second, third]);
        assert_eq!(heads.claim(&prompted), Found::Unknown);
    }

    #[test]
    fn an_edit_midway_is_a_branch_of_what_was_passed() {
        let heads = Heads::default();
        hold(&heads, "s1", "hi", "Hello!");
        let first = transcript("acme", &[user("hi"), assistant("Hello!"), user("loans?")]);
        assert!(matches!(heads.claim(&first), Found::Head(_)));
        let edited = transcript("acme", &[user("hi"), assistant("Hello!"), user("cards?")]);
        assert_eq!(heads.claim(&edited), Found::Passed);
    }

    #[test]
    fn a_first_message_is_fresh_and_a_strange_transcript_unknown() {
        let heads = Heads::default();
        assert_eq!(heads.claim(&transcript("acme", &[user("hi")])), Found::Fresh);
        let strange = transcript("acme", &[user("a"), assistant("b"), user("c")]);
        assert_eq!(heads.claim(&strange), Found::Unknown);
    }

    #[test]
    fn what_nobody_went_on_from_is_swept() {
        let heads = Heads::default();
        hold(&heads, "s1", "hi", "Hello!");
        heads.sweep(SystemTime::now() + Duration::from_secs(10), Duration::from_secs(5));
        let next = transcript("acme", &[user("hi"), assistant("Hello!"), user("loans?")]);
        assert_eq!(heads.claim(&next), Found::Unknown);
    }
}
