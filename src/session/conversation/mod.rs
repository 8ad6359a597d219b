//! What a session holds: its transcript, its upstream session, and what a turn makes of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::store::{Record, Save};
use crate::turn::{
    Failure, Message, ModelName, Pending, Role, SessionKey, Status, UpstreamSessionId,
};

use super::identity::Digest;
use super::reconcile::{Plan, Telling, input_start};
use super::turn_log::Origin;

mod editing;
mod hand_over;
mod outcome;
mod plan;

pub use editing::Edit;
pub(super) use hand_over::{drop_restated, restated};
pub(super) use outcome::Committed;

/// How much a transcript may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) bytes: usize,
    pub(super) messages: usize,
}

/// How far a clock may seem to run backwards.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// A session's own state, turn after turn.
#[derive(Debug)]
pub(super) struct Conversation {
    /// Shared with the store from one save to the next change.
    record: Arc<Record>,
    /// Bytes of the messages in the record.
    weight: usize,
    /// How the next turn will say that it found the session.
    standing: Standing,
    /// The id of an upstream session that was asked for and surely did not begin.
    spare: Option<UpstreamSessionId>,
    /// What was held before the turn that runs, for one that comes to nothing.
    before: Option<Box<Before>>,
    /// Whether the session was moved, and goes on elsewhere after the turn that runs.
    leaves_upstream: bool,
    /// Whether there is a session though no turn came to anything in it.
    is_opened: bool,
    /// The position before which the store has, or was given, what is held.
    saved: u64,
    /// Whether anything changed since it was given to the store.
    is_changed: bool,
    /// Whether it was ever given to the store.
    was_given: bool,
}

/// What a turn may change before it is known to be kept. Messages are shared, so it is small.
#[derive(Debug)]
struct Before {
    record: Arc<Record>,
    weight: usize,
    standing: Standing,
    /// Whether the store was given what the turn changed.
    is_given: bool,
}

/// How a session came to stand before its next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Fresh,
    FromStore,
    Branch,
    InUse,
}

/// What a turn brings to a session.
pub(super) struct Arrival<'a> {
    /// Everything the client sent.
    pub(super) messages: &'a [Message],
    /// How the client tells what was said.
    pub(super) telling: Telling<'a>,
    /// Whether the transcript is known to branch off another session's.
    pub(super) branches: bool,
    /// Whether the messages are what is new, whatever they look like.
    pub(super) is_delta: bool,
    /// The model asked.
    pub(super) model: &'a ModelName,
    /// How long its upstream remembers; `None` when it keeps nothing.
    pub(super) remembers: Option<Duration>,
    /// Now.
    pub(super) now: SystemTime,
    /// The transcript's digest before the new input, where sessions are found by it.
    pub(super) base: Option<Digest>,
    /// What the transcript may hold.
    pub(super) room: Room,
    /// Reads results that came in the upstream's own spelling, where such came.
    pub(super) handed_back: Option<ReadResults<'a>>,
}

/// Makes tool messages of results in the upstream's own spelling, for the hand-over that waits.
pub(super) type ReadResults<'a> = &'a dyn Fn(Option<&Pending>) -> Result<Vec<Message>, Failure>;

/// A turn ready to go upstream.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) origin: Origin,
    /// Whether the session begins with this turn.
    pub(super) is_first: bool,
    pub(super) upstream: UpstreamSessionId,
    /// For an upstream session that does not know it.
    pub(super) history: Vec<Arc<Message>>,
    /// What is new, but for what stands in `pending`.
    pub(super) input: Vec<Message>,
    /// All that is new, for the transcript.
    pub(super) said: Vec<Arc<Message>>,
    /// The hand-over that the upstream session waits for, with its results.
    pub(super) pending: Option<Pending>,
    /// The hand-over, where results of it are still missing: nobody is asked then, the client is
    /// told again what is open.
    pub(super) unsettled: Option<Pending>,
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
            dropped: 0,
            marks: Vec::new(),
            system: Arc::default(),
            metadata: BTreeMap::new(),
            head: None,
            upstream: None,
            branches: 0,
            asked: None,
            moved: None,
        };
        Self::holding(Arc::new(record), Standing::Fresh)
    }

    fn holding(record: Arc<Record>, standing: Standing) -> Self {
        let weight = record.messages.iter().map(|message| message.weight()).sum();
        Self {
            record,
            weight,
            standing,
            spare: None,
            before: None,
            leaves_upstream: false,
            is_opened: false,
            saved: 0,
            is_changed: true,
            was_given: false,
        }
    }

    /// A session from the store.
    pub(super) fn revive(record: Arc<Record>) -> Self {
        let saved = record.end();
        let held = Self::holding(record, Standing::FromStore);
        Self { saved, is_opened: true, is_changed: false, ..held }
    }

    /// A session that begins with what another one held.
    pub(super) fn branch(record: Record) -> Self {
        Self::holding(Arc::new(record), Standing::Branch)
    }

    /// Bytes of what was said, roughly.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    pub(super) fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// The record to be changed: a copy of its own while the store has it too.
    fn change(&mut self) -> &mut Record {
        self.is_changed = true;
        Arc::make_mut(&mut self.record)
    }

    /// Says that messages from this position on are not what the store was given.
    fn unsave(&mut self, position: u64) {
        self.saved = self.saved.min(position);
    }

    /// What the store is to be given, where it has not what is held.
    pub(super) fn save(&mut self) -> Option<Save> {
        if !self.is_something() || !std::mem::take(&mut self.is_changed) {
            return None;
        }
        self.was_given = true;
        if let Some(before) = &mut self.before {
            before.is_given = true;
        }
        let unchanged = std::mem::replace(&mut self.saved, self.record.end());
        Some(Save { record: Arc::clone(&self.record), unchanged })
    }

    /// Whether the store was ever given the session.
    pub(super) fn was_given(&self) -> bool {
        self.was_given
    }

    /// Says that the store could not take what it was given.
    pub(super) fn not_saved(&mut self) {
        self.saved = 0;
        self.is_changed = true;
    }

    /// Works out what goes upstream, and takes over the transcript that it rests on, until
    /// [`commit`](Self::commit) or [`take_back`](Self::take_back). A request that holds nothing
    /// new changes nothing, and gets no input.
    ///
    /// # Errors
    /// `BadRequest` for tool results that answer no call; nothing has changed then.
    pub(super) fn prepare(&mut self, arrival: &Arrival<'_>) -> Result<Prepared, Failure> {
        let prepared = self.prepare_unchecked(arrival);
        if prepared.is_err() {
            self.take_back(false);
        }
        prepared
    }

    fn prepare_unchecked(&mut self, arrival: &Arrival<'_>) -> Result<Prepared, Failure> {
        let mut incoming: Vec<_> = arrival
            .messages
            .iter()
            .filter(|message| message.role != Role::System)
            .cloned()
            .collect();
        if let Some(read) = arrival.handed_back {
            let waits = self.record.upstream.as_ref().and_then(|bound| bound.pending.as_ref());
            incoming.splice(0..0, read(waits)?);
        }
        let plan = self.plan(&incoming, arrival);
        let from = match &plan {
            None => input_start(&incoming),
            Some(Plan::Continue { from, .. } | Plan::Fork { from }) => *from,
        };
        if from == incoming.len() && !incoming.is_empty() {
            return Ok(self.nothing_new());
        }
        let Self { record, weight, standing, .. } = self;
        let record = Arc::clone(record);
        let before = Before { record, weight: *weight, standing: *standing, is_given: false };
        self.before = Some(Box::new(before));
        self.take_instructions(arrival);
        match plan {
            None => self.begin(&incoming, arrival),
            Some(Plan::Continue { from, heard }) => self.go_on(incoming, from, heard, arrival),
            Some(Plan::Fork { from }) => self.fork(&incoming, from, arrival),
        }
    }

    /// Keeps the client's system messages, for requests that bring only what is new. One that
    /// resends the conversation without any means none.
    fn take_instructions(&mut self, arrival: &Arrival<'_>) {
        let resends = arrival.messages.iter().any(|message| message.role == Role::Assistant);
        let system = || arrival.messages.iter().filter(|message| message.role == Role::System);
        let is_same = system().eq(self.record.system.iter());
        let weight: usize = system().map(Message::weight).sum();
        let says_all = resends || arrival.is_delta;
        if is_same || (weight == 0 && !says_all) || weight > arrival.room.bytes {
            return;
        }
        self.change().system = system().cloned().collect();
    }

    /// Whether a turn goes on in an upstream session that may wait for results without our
    /// knowledge: its last answer was cut, and it may have handed over since.
    pub(super) fn is_doubtful(&self, turn: &Prepared) -> bool {
        let is_warm = self.record.upstream.as_ref().is_some_and(|bound| bound.id == turn.upstream);
        let last = self.record.messages.last();
        let is_cut = last.is_some_and(|last| last.status != Status::Completed);
        is_warm && is_cut && turn.pending.is_none()
    }

    /// What a turn has that changes nothing and asks nobody.
    pub(super) fn nothing_new(&self) -> Prepared {
        Prepared {
            origin: found(self.standing),
            is_first: false,
            upstream: UpstreamSessionId::generate(),
            history: Vec::new(),
            input: Vec::new(),
            said: Vec::new(),
            pending: None,
            unsettled: None,
            left_behind: None,
        }
    }

    fn begin(&mut self, incoming: &[Message], arrival: &Arrival<'_>) -> Result<Prepared, Failure> {
        let from = input_start(incoming);
        hand_over::check(incoming[..from].last(), &incoming[from..])?;
        let (before, new) = incoming.split_at(from);
        let origin = if arrival.branches {
            Origin::Forked
        } else if before.iter().any(|message| message.role == Role::User) {
            Origin::Rehydrated
        } else {
            Origin::New
        };
        self.standing = Standing::InUse;
        // All of it is this turn's, though its upstream is told the beginning as history.
        let mut prepared = self.open_upstream(origin, new.to_vec(), None);
        prepared.history = shared(before.to_vec());
        prepared.said.splice(0..0, prepared.history.iter().cloned());
        Ok(Prepared { is_first: true, ..prepared })
    }

    fn go_on(
        &mut self,
        mut incoming: Vec<Message>,
        from: usize,
        heard: Option<String>,
        arrival: &Arrival<'_>,
    ) -> Result<Prepared, Failure> {
        if let Some(heard) = heard {
            self.cut_last_answer(&heard);
        }
        let new = incoming.split_off(from);
        let waits = self.record.upstream.as_ref().and_then(|bound| bound.pending.as_ref());
        if waits.is_none()
            && let Some(kept) = hand_over::resent_after(&self.record.messages, &new)
        {
            return self.redo(kept, new);
        }
        if arrival.is_delta {
            hand_over::check_complete(self.record.messages.last().map(AsRef::as_ref), &new)?;
        }
        let settled = waits.map(|pending| hand_over::settle(pending, &new)).transpose()?;
        if settled.is_none() {
            hand_over::check(self.record.messages.last().map(AsRef::as_ref), &new)?;
        }
        let was = std::mem::replace(&mut self.standing, Standing::InUse);
        let origin = found(was);
        if let Some(settled) = &settled
            && !settled.goes_on()
        {
            hand_over::check_room(&settled.pending, arrival.room.bytes)?;
            return Ok(self.collect(origin, settled.pending.clone(), arrival.now));
        }
        let Some(upstream) = self.warm_upstream(arrival) else {
            let origin = if arrival.remembers.is_some() { Origin::Rehydrated } else { origin };
            let said = settled.map_or(new, |settled| settled.said);
            return Ok(self.open_upstream(origin, said, None));
        };
        let (said, input, pending) = match settled {
            Some(settled) => (settled.said, settled.input, Some(settled.pending)),
            None => (new.clone(), new, None),
        };
        Ok(Prepared {
            origin,
            is_first: false,
            upstream,
            history: Vec::new(),
            input,
            said: shared(said),
            pending,
            unsettled: None,
            left_behind: None,
        })
    }

    /// Answers results anew whose answer came to no end; the upstream session has taken them.
    fn redo(&mut self, kept: usize, new: Vec<Message>) -> Result<Prepared, Failure> {
        hand_over::check(self.record.messages.get(kept - 1).map(AsRef::as_ref), &new)?;
        self.truncate(kept);
        self.standing = Standing::InUse;
        Ok(self.open_upstream(Origin::Rehydrated, new, None))
    }

    /// Keeps results of a hand-over until the others come too.
    fn collect(&mut self, origin: Origin, pending: Pending, now: SystemTime) -> Prepared {
        self.before = None;
        let record = self.change();
        record.last_active = now;
        if let Some(bound) = &mut record.upstream {
            bound.pending = Some(pending.clone());
        }
        Prepared { origin, unsettled: Some(pending), ..self.nothing_new() }
    }

    fn fork(
        &mut self,
        incoming: &[Message],
        from: usize,
        arrival: &Arrival<'_>,
    ) -> Result<Prepared, Failure> {
        hand_over::check(incoming[..from].last(), &incoming[from..])?;
        let mut left_behind = Record::clone(&self.record);
        self.change().branches += 1;
        left_behind.key.id = self.record.key.id.branch(self.record.branches);
        left_behind.last_active = arrival.now;
        left_behind.head = None;
        self.replace_messages(&incoming[..from], arrival.room);
        self.standing = Standing::InUse;
        Ok(self.open_upstream(Origin::Forked, incoming[from..].to_vec(), Some(left_behind)))
    }

    /// The upstream session, if it is the asked model's and still remembers.
    fn warm_upstream(&self, arrival: &Arrival<'_>) -> Option<UpstreamSessionId> {
        let bound = self.record.upstream.as_ref()?;
        let idle = match arrival.now.duration_since(bound.last_used) {
            Ok(idle) => idle,
            Err(ahead) if ahead.duration() <= CLOCK_SLACK => Duration::ZERO,
            // The clock was set back: nobody knows how long it was.
            Err(_) => return None,
        };
        let remembers = arrival.remembers.is_some_and(|limit| idle < limit);
        (remembers && bound.model == *arrival.model).then(|| bound.id.clone())
    }

    fn open_upstream(
        &mut self,
        origin: Origin,
        input: Vec<Message>,
        left_behind: Option<Record>,
    ) -> Prepared {
        if self.record.upstream.is_some() {
            self.change().upstream = None;
        }
        Prepared {
            origin,
            is_first: false,
            upstream: self.spare.take().unwrap_or_else(UpstreamSessionId::generate),
            history: self.record.messages.clone(),
            said: shared(input.clone()),
            input,
            pending: None,
            unsettled: None,
            left_behind,
        }
    }

    /// Whether nothing was ever said here, and nothing is kept for a next attempt.
    pub(super) fn is_blank(&self) -> bool {
        !self.is_something() && self.spare.is_none()
    }

    /// Whether there is a session: one that was opened, or has messages. A branch is none before
    /// its first turn.
    fn is_something(&self) -> bool {
        self.is_opened || (!self.record.messages.is_empty() && self.standing != Standing::Branch)
    }
}

/// Messages as the turn, the transcript and the count of tokens share them.
fn shared(messages: Vec<Message>) -> Vec<Arc<Message>> {
    messages.into_iter().map(Arc::new).collect()
}

fn found(standing: Standing) -> Origin {
    match standing {
        Standing::Fresh | Standing::InUse => Origin::Continued,
        Standing::FromStore => Origin::Revived,
        Standing::Branch => Origin::Forked,
    }
}

#[cfg(test)]
mod tests;
