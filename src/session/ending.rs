//! How a turn ends: what it leaves in the conversation, in the metrics and in the log.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::OwnedSemaphorePermit;
use tracing::Span;

use crate::metrics::{InterruptReason, Outcome as OutcomeLabel, StoreOp};
use crate::store::{Record, Save, TurnRecord};
use crate::turn::{FailureKind, FinishReason, Fold, Message, Part, Role, Status, TurnEvent};

use super::actor::Call;
use super::conversation::{Committed, Conversation};
use super::env::Env;
use super::pump::{Outcome, estimate};
use super::running::Running;
use super::turn_log::TurnWriter;

/// How a turn ends.
#[derive(Debug)]
pub(super) enum Ending {
    /// The backend said so.
    Done(Outcome),
    /// Somebody stopped it.
    Cut {
        /// Why.
        reason: InterruptReason,
        /// What of the answer was heard, if that is known.
        spoken: Option<String>,
    },
}

/// A turn that is over, but for its last event, which its readers have not seen.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) writer: TurnWriter,
    pub(super) last: TurnEvent,
    /// The turn as the store was told of it, if it was.
    pub(super) record: Option<Arc<TurnRecord>>,
    /// Its place among the turns that run, until its readers have seen the end.
    pub(super) permit: OwnedSemaphorePermit,
}

impl Running {
    /// Ends the turn: stops the upstream call and takes what was said into the conversation.
    /// Its readers see the end once that is [kept](super::keeping).
    pub(super) fn finish(
        self: Box<Self>,
        env: &Env,
        held: &mut Conversation,
        ending: Ending,
    ) -> Finished {
        let Self { writer, call, mut fold, attempt, said, collects, is_doubtful, .. } = *self;
        let Self { left_behind, span, record, permit, .. } = *self;
        attempt.stop();
        let is_visible = self.is_visible;
        let (end, spoken) = end_event(env, ending);
        let is_cut = matches!(end, TurnEvent::Finished(FinishReason::Interrupted));
        let spoken = spoken.map(|spoken| call.phrases().heard(&spoken, fold.text()));
        // A last event always may stand where no other last one was.
        let _ = fold.push(&end);
        let came_to_nothing = matches!(end, TurnEvent::Failed(_)) && !is_visible;
        let is_kept = attempt.asks && !came_to_nothing;
        // A turn that was cut has its price too, though the backend did not come to tell it.
        let estimated = || is_kept.then(|| estimate(&attempt.told, fold.text()));
        let usage = fold.usage().or_else(estimated);
        if is_kept {
            // One that was cut before a sign of an answer may never have got there.
            let took_in = is_visible || !is_cut;
            let forgets = was_dropped(&end) && attempt.route.backend.forgets_when_cut();
            let binding = if took_in && !forgets { attempt.binding(&fold) } else { None };
            held.commit(Committed {
                turn: writer.log().meta().turn.clone(),
                said,
                answer: answer(fold, spoken),
                upstream: binding,
                model: attempt.model.clone(),
                asked: call.model.clone(),
                base: call.base,
                now: SystemTime::now(),
                room: env.room(),
                phrases: call.phrases(),
            });
            if call.request.end_session {
                held.start_over();
            }
            if let Some(branch) = left_behind {
                keep_branch(env, held, branch);
            }
        } else if collects {
            // What it brought is kept as it is.
        } else if !attempt.asks {
            held.take_back(false);
        } else if let TurnEvent::Failed(failure) = &end {
            let waits = is_doubtful && failure.kind == FailureKind::UpstreamRejected;
            let is_unsure = waits || attempt.may_have_begun(failure);
            held.take_back(is_unsure);
            if failure.kind == FailureKind::UpstreamThrottled
                && !failure.may_have_run
                && let Some(upstream) = attempt.upstream()
            {
                held.did_not_begin(upstream.clone());
            }
        }
        let metrics = &attempt.route.metrics;
        if let Some(usage) = &usage {
            metrics.tokens(usage);
            call.hold.used(usage);
        }
        metrics.ended(label(&end), attempt.began.elapsed());
        log_end(&span, &call, &end, attempt.began);
        Finished { writer, last: end, record, permit }
    }
}

/// Whether a turn that ended so may have left its upstream in the middle of the answer.
fn was_dropped(end: &TurnEvent) -> bool {
    match end {
        TurnEvent::Finished(reason) => {
            matches!(reason, FinishReason::Interrupted | FinishReason::Length)
        }
        TurnEvent::Failed(failure) => {
            matches!(failure.kind, FailureKind::UpstreamTimeout | FailureKind::Draining)
        }
        _ => false,
    }
}

/// Branches that forks of one session leave behind; beyond, the oldest goes.
const BRANCHES: u32 = 32;

fn keep_branch(env: &Env, held: &Conversation, branch: Record) {
    let oldest = held.record().branches.checked_sub(BRANCHES).filter(|number| *number > 0);
    if let Some(number) = oldest {
        let mut key = branch.key.clone();
        key.id = held.record().key.id.branch(number);
        drop(env.afterwards.spawn(env.store.remove(key)));
    }
    let work = env.store.save(Save { record: Arc::new(branch), unchanged: 0 });
    let at_once = env.run(StoreOp::Save, work, |result| {
        if let Err(error) = result {
            tracing::error!(%error, "the branch that a fork left could not be saved");
        }
    });
    if let Some(Err(error)) = at_once {
        tracing::error!(%error, "the branch that a fork left could not be saved");
    }
}

fn end_event(env: &Env, ending: Ending) -> (TurnEvent, Option<String>) {
    match ending {
        Ending::Done(Ok(reason)) => (TurnEvent::Finished(reason), None),
        Ending::Done(Err(failure)) => {
            if failure.kind == FailureKind::UpstreamTimeout {
                env.metrics.turn_interrupted(InterruptReason::Timeout);
            }
            (TurnEvent::Failed(failure), None)
        }
        Ending::Cut { reason, spoken } => {
            env.metrics.turn_interrupted(reason);
            (TurnEvent::Finished(FinishReason::Interrupted), spoken)
        }
    }
}

/// The assistant's message, cut to what was heard of it where that is known.
fn answer(fold: Fold, spoken: Option<String>) -> Message {
    let message = fold.into_message();
    match spoken {
        Some(spoken) => Message {
            role: Role::Assistant,
            parts: (!spoken.trim().is_empty()).then(|| Part::Text(spoken)).into_iter().collect(),
            status: Status::Interrupted,
            ..message
        },
        None => message,
    }
}

fn label(end: &TurnEvent) -> OutcomeLabel {
    match end {
        TurnEvent::Finished(FinishReason::Interrupted) => OutcomeLabel::Interrupted,
        TurnEvent::Failed(_) => OutcomeLabel::Failed,
        _ => OutcomeLabel::Ok,
    }
}

fn log_end(span: &Span, call: &Call, end: &TurnEvent, began: Instant) {
    let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let waited_ms = u64::try_from((began - call.received).as_millis()).unwrap_or(u64::MAX);
    match end {
        TurnEvent::Failed(failure) => tracing::warn!(
            parent: span, kind = failure.kind.code(), elapsed_ms, waited_ms, "turn failed"
        ),
        TurnEvent::Finished(reason) => tracing::info!(
            parent: span, finish = reason.as_str(), elapsed_ms, waited_ms, "turn ended"
        ),
        _ => {}
    }
}
