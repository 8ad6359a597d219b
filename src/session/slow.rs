//! Turns that let themselves be waited for: others are asked beside or instead, and people who
//! listen hear that somebody is there.

use std::sync::Arc;

use ractor::ActorRef;
use tokio_util::task::AbortOnDropHandle;

use crate::backend::Route;
use crate::metrics::Outcome as OutcomeLabel;
use crate::turn::{Failure, FailureKind, FinishReason, TurnEvent, TurnId};

use super::actor::{Call, SessionMsg};
use super::attempt::remind;
use super::conversation::Conversation;
use super::pump::Outcome;
use super::running::{Again, Running};
use super::state::State;
use super::turn_log::TurnWriter;

impl State {
    pub(super) fn hedge(&mut self, of: u64) {
        let Some(running) = &mut self.running else { return };
        self.serial += 1;
        let again = Again { actor: self.me.clone(), env: &self.env, serial: self.serial };
        running.hedge(again, &self.held, of);
    }

    pub(super) fn deadline(&mut self, of: u64) {
        let Some(running) = &mut self.running else { return };
        self.serial += 1;
        let again = Again { actor: self.me.clone(), env: &self.env, serial: self.serial };
        running.pass_over(again, &self.held, of);
    }

    pub(super) fn bridge_silence(&mut self, turn: &TurnId) {
        let Some(running) = self.running.as_mut().filter(|running| running.is(turn)) else {
            return;
        };
        let filler = running.call.phrases().filler(self.held.record().turns);
        running.bridge_silence(filler);
    }
}

impl Running {
    /// Asks the next model beside the one that takes long, if nothing has come from that.
    pub(super) fn hedge(&mut self, again: Again<'_>, held: &Conversation, of: u64) {
        if self.attempt.serial != of || self.has_begun || self.hedge.is_some() {
            return;
        }
        let Some(route) = self.others.pop_front() else { return };
        tracing::debug!(parent: &self.span, beside = %route.model.name, "the turn is hedged");
        let model = route.model.name.clone();
        self.hedge = Some(self.anew(again, held, route, model));
    }

    /// Asks the next model in the place of one that has not begun to answer by its deadline, where
    /// a turn may be run twice.
    pub(super) fn pass_over(&mut self, again: Again<'_>, held: &Conversation, slow: u64) {
        if self.attempt.serial != slow || self.is_visible || self.hedge.is_some() {
            return;
        }
        let may = |next: &Arc<Route>| self.attempt.may_run_twice(&self.call, next);
        if !self.others.front().is_some_and(may) {
            return;
        }
        let Some(route) = self.others.pop_front() else { return };
        tracing::warn!(
            parent: &self.span,
            from = %self.attempt.model,
            to = %route.model.name,
            "the model did not begin to answer in time; another is asked"
        );
        let late = Failure::new(FailureKind::UpstreamTimeout, "the deadline of the first token");
        self.attempt.settle(Some(&Err(late)));
        let slow = &self.attempt;
        slow.route.metrics.ended(OutcomeLabel::Failed, slow.began.elapsed());
        self.go_to(again, held, route);
    }

    /// Says something where nothing has been said yet.
    pub(super) fn bridge_silence(&mut self, filler: Option<String>) {
        self.silence = None;
        let Some(filler) = filler.filter(|_| self.fold.is_silent()) else { return };
        let filler = TurnEvent::Filler(filler.into());
        // A turn that runs has begun and not ended, so a filler may stand here.
        if self.fold.push(&filler).is_ok() {
            self.writer.append([filler]);
        }
    }

    /// What is said in the place of an answer that ended and said nothing.
    pub(super) fn stand_in(&mut self, outcome: Option<&Outcome>) -> Option<TurnEvent> {
        let has_ended = matches!(
            outcome,
            Some(Ok(FinishReason::Stop | FinishReason::Length | FinishReason::ContentFilter))
        );
        let is_due = has_ended && self.fold.is_silent() && !self.call.request.end_session;
        let sentence = self.call.route.model.voice.empty_answer.as_deref().filter(|_| is_due)?;
        let said = TurnEvent::Text(sentence.into());
        self.fold.push(&said).ok()?;
        Some(said)
    }
}

/// Rings so long after the request as a turn may be silent, where there is something to say then.
pub(super) fn silence_timer(
    actor: ActorRef<SessionMsg>,
    call: &Call,
    writer: &TurnWriter,
) -> Option<AbortOnDropHandle<()>> {
    let voice = &call.route.model.voice;
    if voice.filler.is_empty() || call.request.is_background {
        return None;
    }
    let after = voice.filler_after.saturating_sub(call.received.elapsed());
    let turn = writer.log().meta().turn.clone();
    Some(remind(actor, after, SessionMsg::Silence(turn)))
}
