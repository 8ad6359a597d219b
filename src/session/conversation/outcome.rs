//! What becomes of a conversation when a turn ends, or when it moves on.

use std::sync::Arc;
use std::time::SystemTime;

use crate::store::{Mark, Moved, Record, UpstreamBinding};
use crate::turn::{Message, ModelName, Role, TurnId, UpstreamSessionId};

use super::super::identity::{Digest, extend};
use super::super::phrases::Phrases;
use super::{Before, Conversation, Room};

/// A turn that ended, for the transcript.
#[derive(Debug)]
pub(in crate::session) struct Committed<'a> {
    pub(in crate::session) turn: TurnId,
    pub(in crate::session) said: Vec<Arc<Message>>,
    pub(in crate::session) answer: Message,
    /// The upstream session that took the turn in, if that is sure.
    pub(in crate::session) upstream: Option<UpstreamBinding>,
    /// Who answered.
    pub(in crate::session) model: ModelName,
    /// Who was asked for.
    pub(in crate::session) asked: ModelName,
    pub(in crate::session) base: Option<Digest>,
    pub(in crate::session) now: SystemTime,
    pub(in crate::session) room: Room,
    /// What clients may send back with the answer, though it is no part of it.
    pub(in crate::session) phrases: Phrases<'a>,
}

impl Conversation {
    /// Takes a turn into the transcript; `base` is the digest before it, for sessions that are
    /// found by their transcript.
    pub(in crate::session) fn commit(&mut self, turn: Committed<'_>) {
        let Committed { turn, said, answer, upstream, model, asked, base, now, room, phrases } =
            turn;
        self.before = None;
        self.is_opened = true;
        let head = base.map(|base| {
            // The base is that of all before the new input.
            let after_answers = said.rsplit(|message| message.role == Role::Assistant).next();
            let new = after_answers.into_iter().flatten();
            let after = new.fold(base, |digest, message| extend(&digest, message));
            extend(&after, &phrases.sent_back(&answer))
        });
        let mut added = 0;
        let record = self.change();
        // Sessions rest more than they grow: no room is kept for messages to come.
        record.messages.reserve_exact(said.len() + 1);
        for message in said.into_iter().chain([Arc::new(answer)]) {
            added += message.weight();
            record.messages.push(message);
        }
        record.marks.push(Mark { turn, end: record.end(), is_answered: true });
        record.head = head;
        record.turns += 1;
        record.last_active = now;
        record.asked = (asked != model).then_some(asked);
        record.model = model;
        record.upstream = upstream;
        self.weight += added;
        self.trim(room);
    }

    /// Holds again what was held before a turn that came to nothing. `is_unsure` says that the
    /// upstream may have taken the turn in all the same: it is not asked again under this id,
    /// which would tell it the same thing twice.
    pub(in crate::session) fn take_back(&mut self, is_unsure: bool) {
        if let Some(before) = self.before.take() {
            let Before { record, weight, standing, is_given } = *before;
            self.record = record;
            self.weight = weight;
            self.standing = standing;
            self.unsave(if is_given { 0 } else { self.record.end() });
            self.is_changed |= is_given;
        }
        if is_unsure && self.record.upstream.is_some() {
            self.change().upstream = None;
        }
    }

    /// Sends the session's further turns to another model, which will be given the transcript.
    /// The upstream session is left, by a turn that runs in it once it has ended.
    pub(in crate::session) fn move_to(&mut self, to: ModelName) {
        if let Some(before) = &mut self.before {
            redirect(Arc::make_mut(&mut before.record), to.clone());
        }
        redirect(self.change(), to);
        self.leaves_upstream = true;
    }

    /// The upstream session that was left by a move, if no turn runs in it.
    pub(in crate::session) fn leave_upstream(&mut self) -> Option<UpstreamBinding> {
        if self.before.is_some() || !std::mem::take(&mut self.leaves_upstream) {
            return None;
        }
        self.record.upstream.is_some().then(|| self.change().upstream.take()).flatten()
    }

    /// Begins anew, as an upstream does whose session was ended.
    pub(in crate::session) fn start_over(&mut self) {
        self.truncate(0);
        let record = self.change();
        record.head = None;
        record.upstream = None;
    }

    /// Says that the upstream refused a turn without beginning it: a session that was to begin
    /// with it may still begin under the same id.
    pub(in crate::session) fn did_not_begin(&mut self, upstream: UpstreamSessionId) {
        if self.record.upstream.is_none() {
            self.spare = Some(upstream);
        }
    }
}

fn redirect(record: &mut Record, to: ModelName) {
    let before = record.moved.take().map(|moved| moved.from);
    let asked = before.or_else(|| record.asked.take());
    let from = asked.unwrap_or_else(|| record.model.clone());
    record.model = to.clone();
    record.moved = (from != to).then_some(Moved { from, to });
}
