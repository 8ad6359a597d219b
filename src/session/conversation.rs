//! What a session holds: its transcript, its upstream session, and what a turn makes of them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::store::{Record, UpstreamBinding};
use crate::turn::{Message, ModelName, Part, Role, SessionKey, Status, UpstreamSessionId};

use super::identity::{Digest, extend};
use super::reconcile::{Plan, input_start, reconcile};
use super::turn_log::Origin;

/// How much a transcript may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) bytes: usize,
    pub(super) messages: usize,
}

/// A session's own state, turn after turn.
#[derive(Debug)]
pub(super) struct Conversation {
    record: Record,
    /// Bytes of the messages in the record.
    weight: usize,
    /// How the next turn will say that it found the session.
    standing: Standing,
    /// The id of an upstream session that was asked for and surely did not begin.
    spare: Option<UpstreamSessionId>,
}

/// How a session came to stand before its next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Fresh,
    FromStore,
    InUse,
}

/// What a turn brings to a session.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    /// Everything the client sent.
    pub(super) messages: &'a [Message],
    /// Whether the client named the session itself.
    pub(super) named: bool,
    /// Whether the transcript is known to branch off another session's.
    pub(super) branches: bool,
    /// The model asked.
    pub(super) model: &'a ModelName,
    /// How long its upstream remembers; `None` when it keeps nothing.
    pub(super) remembers: Option<Duration>,
    /// Now.
    pub(super) now: SystemTime,
}

/// A turn ready to go upstream.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) origin: Origin,
    /// Whether the session begins with this turn.
    pub(super) is_first: bool,
    pub(super) upstream: UpstreamSessionId,
    /// For an upstream session that does not know it.
    pub(super) history: Vec<Arc<Message>>,
    pub(super) input: Vec<Message>,
    /// What the session held before a fork, to be kept under an id of its own.
    pub(super) left_behind: Option<Record>,
}

impl Conversation {
    /// A session that nobody has spoken in.
    pub(super) fn new(key: SessionKey, model: ModelName, now: SystemTime) -> Self {
        let record = Record {
            key,
            model,
            created_at: now,
            last_active: now,
            turns: 0,
            messages: Vec::new(),
            head: None,
            upstream: None,
            branches: 0,
        };
        Self { record, weight: 0, standing: Standing::Fresh, spare: None }
    }

    /// A session from the store.
    pub(super) fn revive(record: &Record) -> Self {
        let weight = record.messages.iter().map(|message| message.weight()).sum();
        Self { record: record.clone(), weight, standing: Standing::FromStore, spare: None }
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Works out what goes upstream, and takes over the transcript that it rests on.
    pub(super) fn prepare(&mut self, arrival: &Arrival<'_>) -> Prepared {
        let incoming: Vec<_> = arrival
            .messages
            .iter()
            .filter(|message| message.role != Role::System)
            .cloned()
            .collect();
        let was_empty = self.record.messages.is_empty() && self.record.turns == 0;
        if was_empty {
            return self.begin(&incoming, arrival);
        }
        match reconcile(&self.record.messages, &incoming, arrival.named) {
            Plan::Continue { from, heard } => self.go_on(incoming, from, heard, arrival),
            Plan::Fork { from } => self.fork(&incoming, from, arrival),
        }
    }

    fn begin(&mut self, incoming: &[Message], arrival: &Arrival<'_>) -> Prepared {
        let from = input_start(incoming);
        self.replace_messages(&incoming[..from]);
        let origin = if arrival.branches {
            Origin::Forked
        } else if from > 0 && incoming[..from].iter().any(|message| message.role == Role::User) {
            Origin::Rehydrated
        } else {
            Origin::New
        };
        self.standing = Standing::InUse;
        let prepared = self.open_upstream(origin, incoming[from..].to_vec(), None);
        Prepared { is_first: true, ..prepared }
    }

    fn go_on(
        &mut self,
        mut incoming: Vec<Message>,
        from: usize,
        heard: Option<String>,
        arrival: &Arrival<'_>,
    ) -> Prepared {
        if let Some(heard) = heard {
            self.cut_last_answer(&heard);
        }
        let input = incoming.split_off(from);
        let was = std::mem::replace(&mut self.standing, Standing::InUse);
        let Some(upstream) = self.warm_upstream(arrival) else {
            let origin = if arrival.remembers.is_some() { Origin::Rehydrated } else { found(was) };
            return self.open_upstream(origin, input, None);
        };
        let origin = found(was);
        Prepared {
            origin,
            is_first: false,
            upstream,
            history: Vec::new(),
            input,
            left_behind: None,
        }
    }

    fn fork(&mut self, incoming: &[Message], from: usize, arrival: &Arrival<'_>) -> Prepared {
        let mut left_behind = self.record.clone();
        self.record.branches += 1;
        left_behind.key.id = self.record.key.id.branch(self.record.branches);
        left_behind.last_active = arrival.now;
        left_behind.head = None;
        self.replace_messages(&incoming[..from]);
        self.standing = Standing::InUse;
        self.open_upstream(Origin::Forked, incoming[from..].to_vec(), Some(left_behind))
    }

    /// The upstream session, if it is the asked model's and still remembers.
    fn warm_upstream(&self, arrival: &Arrival<'_>) -> Option<UpstreamSessionId> {
        let bound = self.record.upstream.as_ref()?;
        let idle = arrival.now.duration_since(bound.last_used).unwrap_or_default();
        let remembers = arrival.remembers.is_some_and(|limit| idle < limit);
        (remembers && bound.model == *arrival.model).then(|| bound.id.clone())
    }

    fn open_upstream(
        &mut self,
        origin: Origin,
        input: Vec<Message>,
        left_behind: Option<Record>,
    ) -> Prepared {
        self.record.upstream = None;
        Prepared {
            origin,
            is_first: false,
            upstream: self.spare.take().unwrap_or_else(UpstreamSessionId::generate),
            history: self.record.messages.clone(),
            input,
            left_behind,
        }
    }

    /// Takes a turn into the transcript; `base` is the digest before it, for sessions that are
    /// found by their transcript.
    pub(super) fn commit(&mut self, turn: Committed) {
        let Committed { input, answer, upstream, model, base, now, room } = turn;
        self.record.head = base.map(|base| {
            let after = input.iter().fold(base, |digest, message| extend(&digest, message));
            extend(&after, &answer)
        });
        for message in input.into_iter().chain([answer]) {
            self.weight += message.weight();
            self.record.messages.push(Arc::new(message));
        }
        self.trim(room);
        self.record.turns += 1;
        self.record.last_active = now;
        self.record.model = model.clone();
        self.record.upstream = Some(UpstreamBinding { id: upstream, model, last_used: now });
    }

    /// Says that the upstream refused a turn without beginning it: a session that was to begin
    /// with it may still begin under the same id.
    pub(super) fn did_not_begin(&mut self, upstream: UpstreamSessionId) {
        if self.record.upstream.is_none() {
            self.spare = Some(upstream);
        }
    }

    /// Drops the oldest turns beyond what a transcript may hold, whole ones at a time.
    fn trim(&mut self, room: Room) {
        let messages = &self.record.messages;
        let mut drop = 0;
        let mut weight = self.weight;
        while drop < messages.len()
            && (weight > room.bytes || messages.len() - drop > room.messages)
        {
            weight -= messages[drop].weight();
            drop += 1;
        }
        while drop > 0 && messages.get(drop).is_some_and(|next| next.role != Role::User) {
            weight -= messages[drop].weight();
            drop += 1;
        }
        self.record.messages.drain(..drop);
        self.weight = weight;
    }

    /// Cuts the last answer to what was heard of it; says whether there was one.
    pub(super) fn cut_last_answer(&mut self, heard: &str) -> bool {
        let Some(last) = self.record.messages.last_mut() else { return false };
        if last.role != Role::Assistant {
            return false;
        }
        let message = Arc::make_mut(last);
        self.weight -= message.weight();
        message.parts = vec![Part::Text(heard.to_owned())];
        message.status = Status::Interrupted;
        self.weight += message.weight();
        true
    }

    fn replace_messages(&mut self, messages: &[Message]) {
        self.weight = messages.iter().map(Message::weight).sum();
        self.record.messages = messages.iter().cloned().map(Arc::new).collect();
    }
}

fn found(standing: Standing) -> Origin {
    match standing {
        Standing::Fresh | Standing::InUse => Origin::Continued,
        Standing::FromStore => Origin::Revived,
    }
}

/// A turn that ended, for the transcript.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) input: Vec<Message>,
    pub(super) answer: Message,
    pub(super) upstream: UpstreamSessionId,
    pub(super) model: ModelName,
    pub(super) base: Option<Digest>,
    pub(super) now: SystemTime,
    pub(super) room: Room,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { bytes: 10_000, messages: 100 };

    fn user(text: &str) -> Message {
        Message::text(Role::User, text)
    }

    fn assistant(text: &str) -> Message {
        Message::text(Role::Assistant, text)
    }

    fn model() -> ModelName {
        "m".parse().unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn conversation() -> Conversation {
        let key = SessionKey { tenant: "acme".parse().unwrap(), id: "s".parse().unwrap() };
        Conversation::new(key, model(), at(0))
    }

    fn prepare(held: &mut Conversation, messages: &[Message], now: u64) -> Prepared {
        let name = model();
        held.prepare(&Arrival {
            messages,
            named: true,
            branches: false,
            model: &name,
            remembers: Some(Duration::from_secs(60)),
            now: at(now),
        })
    }

    fn turn(held: &mut Conversation, messages: &[Message], answer: &str, now: u64) -> Prepared {
        let prepared = prepare(held, messages, now);
        held.commit(Committed {
            input: prepared.input.clone(),
            answer: assistant(answer),
            upstream: prepared.upstream.clone(),
            model: model(),
            base: None,
            now: at(now),
            room: ROOM,
        });
        prepared
    }

    #[test]
    fn one_upstream_session_serves_the_conversation_and_only_the_new_message_goes_up() {
        let mut held = conversation();
        let first = turn(&mut held, &[user("hi")], "Hello!", 1);
        let second = turn(&mut held, &[user("hi"), assistant("Hello!"), user("loans?")], "Yes.", 2);
        assert_eq!((first.origin, second.origin), (Origin::New, Origin::Continued));
        assert_eq!(first.upstream, second.upstream);
        assert!(second.history.is_empty());
        assert_eq!(second.input, [user("loans?")]);
    }

    #[test]
    fn an_upstream_that_has_forgotten_is_opened_anew_and_seeded() {
        let mut held = conversation();
        let first = turn(&mut held, &[user("hi")], "Hello!", 1);
        let later = prepare(&mut held, &[user("still there?")], 100);
        assert_eq!(later.origin, Origin::Rehydrated);
        assert_ne!(later.upstream, first.upstream);
        assert_eq!(later.history.len(), 2);
    }

    #[test]
    fn a_session_from_the_store_is_revived_once() {
        let mut held = conversation();
        turn(&mut held, &[user("hi")], "Hello!", 1);
        let mut revived = Conversation::revive(held.record());
        assert_eq!(turn(&mut revived, &[user("one")], "1", 2).origin, Origin::Revived);
        assert_eq!(turn(&mut revived, &[user("two")], "2", 3).origin, Origin::Continued);
    }

    #[test]
    fn a_transcript_that_comes_to_an_empty_session_seeds_it() {
        let mut held = conversation();
        let incoming = [user("my name is Ann"), assistant("Hello Ann."), user("and?")];
        let first = prepare(&mut held, &incoming, 1);
        assert_eq!(first.origin, Origin::Rehydrated);
        assert_eq!((first.history.len(), first.input.len()), (2, 1));
    }

    #[test]
    fn a_greeting_before_the_first_message_does_not_make_a_session_old() {
        let mut held = conversation();
        let first = prepare(&mut held, &[assistant("Hello!"), user("hi")], 1);
        assert_eq!((first.origin, first.input), (Origin::New, vec![user("hi")]));
    }

    #[test]
    fn a_fork_keeps_the_branch_it_leaves() {
        let mut held = conversation();
        turn(&mut held, &[user("hi")], "Hello!", 1);
        turn(&mut held, &[user("hi"), assistant("Hello!"), user("loans?")], "Yes.", 2);
        let forked = prepare(&mut held, &[user("hi"), assistant("Hello!"), user("cards?")], 3);
        assert_eq!(forked.origin, Origin::Forked);
        assert_eq!(forked.history.len(), 2);
        let branch = forked.left_behind.unwrap();
        assert_eq!((branch.key.id.as_str(), branch.messages.len()), ("s~1", 4));
    }

    #[test]
    fn a_transcript_that_is_too_long_loses_its_oldest_turns_whole() {
        let mut held = conversation();
        for number in 0..10 {
            turn(&mut held, &[user(&format!("question {number}"))], "answer", number);
        }
        held.trim(Room { bytes: usize::MAX, messages: 5 });
        let first = &held.record().messages[0];
        assert_eq!((first.role, held.record().messages.len()), (Role::User, 4));
    }

    #[test]
    fn another_model_gets_an_upstream_session_of_its_own() {
        let mut held = conversation();
        turn(&mut held, &[user("hi")], "Hello!", 1);
        let other: ModelName = "other".parse().unwrap();
        let prepared = held.prepare(&Arrival {
            messages: &[user("and you?")],
            named: true,
            branches: false,
            model: &other,
            remembers: Some(Duration::from_secs(60)),
            now: at(2),
        });
        assert_eq!((prepared.origin, prepared.history.len()), (Origin::Rehydrated, 2));
    }
}
