//! The session actor: a mailbox and a switchboard.
//!
//! One actor a conversation. It never awaits the network or the disk: turns run in a
//! [`Pump`](super::pump::Pump), the store answers by message. [`Phase`](super::phase::Phase)
//! decides, [`State`] acts. What must happen at the end rides on `Drop`:
//! the place in the directory, the running pump, the turn's writer.

use std::sync::Arc;
use std::time::Instant;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::backend::Route;
use crate::metrics::{EndReason, InterruptReason};
use crate::store::{Record, StoreError};
use crate::turn::request::DisconnectPolicy;
use crate::turn::{
    Failure, ModelName, RequestId, SessionKey, TurnId, TurnPolicy, TurnRequest, Usage,
};

use super::conversation::Edit;
use super::directory::Activity;
use super::env::Env;
use super::identity::Digest;
use super::phrases::Phrases;
use super::pump::Pumped;
use super::running::Detached;
use super::state::State;
use super::turn_log::TurnWriter;

/// Whatever is to be held until a turn has ended: it is let go by being dropped.
pub trait Hold: Send + Sync {
    /// The turn has ended and used so much. Called at most once, and not for a turn of which
    /// nobody knows; before the readers see the end.
    fn used(&self, usage: &Usage);
}

/// What a session actor can be told.
///
/// Small: ractor's future has room for several, for as long as the actor lives.
#[derive(Debug)]
pub(super) enum SessionMsg {
    /// From [`Sessions`](super::Sessions): a turn is asked for.
    Submit(Box<Submit>),
    /// From the store, once, to an actor that began by loading.
    Loaded(Result<Option<Arc<Record>>, StoreError>),
    /// From the store: a save that did not end at once has ended.
    Saved {
        /// Which of the actor's saves it was.
        serial: u64,
        /// Whether it is kept.
        result: Result<(), StoreError>,
    },
    /// From the running turn's pump: events, and in the last message how the turn ended.
    Pumped(Box<Pumped>),
    /// From the pump's guard, once a turn: it is gone, orderly or not.
    PumpGone {
        /// Which of the actor's turns it was.
        serial: u64,
    },
    /// From a timer of an attempt: it takes long.
    Hedge {
        /// Which of the actor's attempts it was.
        serial: u64,
    },
    /// From a timer of an attempt: it should have begun to answer by now.
    Deadline {
        /// Which of the actor's attempts it was.
        serial: u64,
    },
    /// From a timer of the turn: nothing may have been said for long.
    Silence(TurnId),
    /// From a timer of the turn: have the store keep that it has begun.
    TellStore(TurnId),
    /// From the turn log: nobody follows this turn any more.
    Abandoned(TurnId),
    /// From a timer of the turn: nobody came back to follow it.
    GraceOver(TurnId),
    /// From a timer: a turn has waited in the queue as long as it may.
    WaitedTooLong(TurnId),
    /// From [`Sessions`](super::Sessions): stop the running turn.
    Interrupt(Box<Interrupt>),
    /// From [`Sessions`](super::Sessions): what do you hold?
    Read(oneshot::Sender<Snapshot>),
    /// From [`Sessions`](super::Sessions): the session is over; answered once it is forgotten, with
    /// `SessionBusy` when it is to make room and a turn runs.
    End(EndReason, oneshot::Sender<Result<(), Failure>>),
    /// From [`Sessions`](super::Sessions): further turns go to this model; answered once that is
    /// kept.
    Move(ModelName, Told),
    /// From [`Sessions`](super::Sessions): change what you hold.
    Edit(Box<Edit>, Told),
    /// From [`Sessions`](super::Sessions): a copy of the session up to the end of a turn, or of
    /// all of it, for one of this key.
    Copy(Box<(Option<TurnId>, SessionKey)>, oneshot::Sender<Result<Box<Record>, Failure>>),
    /// From [`Sessions`](super::Sessions): which turn runs? Answered when one does.
    NextTurn(oneshot::Sender<Result<TurnId, Failure>>),
    /// From [`Sessions`](super::Sessions): stop this turn, wherever it stands; answered with
    /// whether it was there.
    Cancel(TurnId, oneshot::Sender<bool>),
    /// From the supervisor's sweep: you have been idle for long.
    Retire,
    /// From [`Sessions`](super::Sessions) at the end of the grace: fail what runs.
    Shutdown,
}

impl SessionMsg {
    /// Whether it is about what the session holds, which an actor does not know that still loads
    /// it. A turn that goes on from another one is; others wait in the queue.
    pub(super) fn needs_record(&self) -> bool {
        match self {
            Self::Submit(submit) => {
                submit.goes_on_from.is_some() || submit.call.request.hints.must_exist
            }
            Self::Interrupt(_)
            | Self::Read(_)
            | Self::End(..)
            | Self::Move(..)
            | Self::Edit(..)
            | Self::Copy(..)
            | Self::NextTurn(_) => true,
            Self::Loaded(_)
            | Self::Saved { .. }
            | Self::Pumped(_)
            | Self::PumpGone { .. }
            | Self::Hedge { .. }
            | Self::Deadline { .. }
            | Self::Silence(_)
            | Self::TellStore(_)
            | Self::Abandoned(_)
            | Self::GraceOver(_)
            | Self::WaitedTooLong(_)
            | Self::Cancel(..)
            | Self::Retire
            | Self::Shutdown => false,
        }
    }
}

/// A turn on its way to its session.
pub(super) struct Submit {
    pub(super) writer: TurnWriter,
    pub(super) call: Arc<Call>,
    pub(super) permit: OwnedSemaphorePermit,
    /// The right to run without a reader, where it has it from the beginning.
    pub(super) detached: Option<Detached>,
    /// The turn that has to be the session's last one, or this one belongs to a branch.
    pub(super) goes_on_from: Option<TurnId>,
    /// Answered once the turn runs or waits; dropped unanswered by an actor that is going.
    pub(super) reply: oneshot::Sender<Result<(), Refused>>,
}

/// Why a session did not take a turn.
#[derive(Debug)]
pub(super) enum Refused {
    /// It cannot be run.
    Failed(Failure),
    /// It goes on from what was, not from what is: it belongs to a session of its own, which
    /// begins with this.
    Branch(Box<Record>),
}

impl std::fmt::Debug for Submit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Submit").field("writer", &self.writer).finish_non_exhaustive()
    }
}

/// What is asked of a session in one turn, and how.
pub(super) struct Call {
    pub(super) route: Arc<Route>,
    pub(super) model: ModelName,
    pub(super) request: Arc<TurnRequest>,
    pub(super) request_id: RequestId,
    /// Whether the client named the session.
    pub(super) named: bool,
    /// Whether the transcript branches off what another session went through.
    pub(super) branches: bool,
    /// Whether the session ends with the turn, and nothing is kept of it.
    pub(super) is_ephemeral: bool,
    /// The transcript's digest before the new input, where sessions are found by it.
    pub(super) base: Option<Digest>,
    pub(super) turn_policy: TurnPolicy,
    pub(super) disconnect_policy: DisconnectPolicy,
    pub(super) received: Instant,
    /// Told what the turn used, and let go when it has ended.
    pub(super) hold: Box<dyn Hold>,
}

impl Call {
    /// What the broker may have said beside the answers.
    pub(super) fn phrases(&self) -> Phrases<'_> {
        Phrases::of(&self.route.model.voice)
    }
}

/// An order to stop the running turn.
#[derive(Debug)]
pub(super) struct Interrupt {
    /// Why.
    pub(super) reason: InterruptReason,
    /// What of the answer was heard, if that is known.
    pub(super) spoken: Option<String>,
    /// Answered when it has stopped and what is left of it is kept.
    pub(super) reply: Told,
}

/// Who is told what a session holds, once the store has it.
pub(super) type Told = oneshot::Sender<Result<Snapshot, Failure>>;

/// What a session holds at a moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its record.
    pub record: Arc<Record>,
    /// What it is doing.
    pub state: SessionState,
    /// The turn that runs.
    pub running: Option<TurnId>,
    /// Turns that wait.
    pub queued: usize,
}

/// What a session is doing, as it is told outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// It has an actor, which waits for a turn.
    Idle,
    /// A turn runs.
    Running,
    /// It is in the store alone.
    Passivated,
}

impl SessionState {
    /// Every state with its name in replies and queries.
    pub const NAMES: &'static [(&'static str, Self)] =
        &[("idle", Self::Idle), ("running", Self::Running), ("passivated", Self::Passivated)];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Passivated => "passivated",
        }
    }
}

/// How an actor begins.
#[derive(Debug)]
pub(super) enum Beginning {
    /// Nobody has spoken here.
    New,
    /// The store may know the session.
    Load,
    /// It goes on with what another session held.
    Branch(Box<Record>),
}

/// What an actor is made with.
#[derive(Debug)]
pub(super) struct Birth {
    pub(super) key: SessionKey,
    pub(super) model: ModelName,
    pub(super) beginning: Beginning,
    pub(super) env: Arc<Env>,
    pub(super) activity: Arc<Activity>,
}

/// One conversation.
#[derive(Debug)]
pub(super) struct SessionActor;

impl Actor for SessionActor {
    type Msg = SessionMsg;
    // Boxed: ractor's futures have room for either in several places, for as long as the actor
    // lives.
    type State = Box<State>;
    type Arguments = Box<Birth>;

    async fn pre_start(
        &self,
        me: ActorRef<SessionMsg>,
        birth: Box<Birth>,
    ) -> Result<Box<State>, ActorProcessingErr> {
        Ok(State::begin(me, *birth))
    }

    async fn handle(
        &self,
        _me: ActorRef<SessionMsg>,
        message: SessionMsg,
        state: &mut Box<State>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(message) = state.defer(message) else { return Ok(()) };
        state.take(message);
        while let Some(message) = state.next_deferred() {
            state.take(message);
        }
        Ok(())
    }
}

impl State {
    fn take(&mut self, message: SessionMsg) {
        match message {
            SessionMsg::Submit(submit) => self.submit(*submit),
            SessionMsg::Loaded(result) => self.loaded(result),
            SessionMsg::Saved { serial, result } => self.saved(serial, result),
            SessionMsg::Pumped(pumped) => self.pumped(*pumped),
            SessionMsg::PumpGone { serial } => self.pump_gone(serial),
            SessionMsg::Hedge { serial } => self.hedge(serial),
            SessionMsg::Deadline { serial } => self.deadline(serial),
            SessionMsg::Silence(turn) => self.bridge_silence(&turn),
            SessionMsg::TellStore(turn) => self.tell_store(&turn),
            SessionMsg::Abandoned(turn) => self.abandoned(&turn),
            SessionMsg::GraceOver(turn) => self.grace_over(&turn),
            SessionMsg::WaitedTooLong(turn) => self.waited_too_long(&turn),
            SessionMsg::Interrupt(order) => self.interrupt(*order),
            SessionMsg::Read(reply) => self.read(reply),
            SessionMsg::End(reason, reply) => self.end(reason, reply),
            SessionMsg::Move(to, reply) => self.move_to(to, reply),
            SessionMsg::Edit(edit, reply) => self.edit(*edit, reply),
            SessionMsg::Copy(wanted, reply) => self.copy(*wanted, reply),
            SessionMsg::NextTurn(reply) => self.tell_next_turn(reply),
            SessionMsg::Cancel(turn, reply) => self.cancel(&turn, reply),
            SessionMsg::Retire => self.retire(),
            SessionMsg::Shutdown => self.shutdown(),
        }
    }
}
