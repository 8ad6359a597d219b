//! What people who listen are told in the place of a failure, where their model's settings say so.
//!
//! Voice platforms hang up on an HTTP error. The turn has failed all the same: its log, the
//! metrics and the store say so, and only what is written down for this client does not. A
//! request that does not get as far as a turn is refused as any other, so that load balancers
//! and SDKs take it elsewhere.

use std::sync::Arc;

use crate::config::Model;
use crate::turn::failure::Fault;
use crate::turn::{Failure, FinishReason, TurnEvent};
use crate::wire::WireFormat;

/// A sentence that stands for failures, and what the client got before.
#[derive(Debug)]
pub(super) struct Apology {
    sentence: Arc<str>,
    has_text: bool,
    has_calls: bool,
}

impl Apology {
    /// The model's, if it has one. A format whose answers have a state tells the truth in it.
    pub(super) fn of(model: &Model, format: &dyn WireFormat) -> Option<Self> {
        let sentence = model.voice.spoken_apology().filter(|_| !format.counts_frames())?;
        Some(Self { sentence: sentence.into(), has_text: false, has_calls: false })
    }

    /// Takes note of what the client gets.
    pub(super) fn hear(&mut self, event: &TurnEvent) {
        self.has_text |= matches!(event, TurnEvent::Text(_));
        self.has_calls |= matches!(event, TurnEvent::ToolCallStarted { .. });
    }

    /// Whether it is told instead of this failure before the status is sent: a request that is
    /// wrong is for its developer to hear of.
    pub(super) fn stands_for(&self, failure: &Failure) -> bool {
        failure.kind.fault() != Fault::Client
    }

    /// What is written down in the place of an event: itself, unless it is a failure. After a
    /// call the failure stays, since the end of an answer would have the call run.
    pub(super) fn instead_of(&mut self, event: &TurnEvent) -> Option<[TurnEvent; 2]> {
        self.hear(event);
        if self.has_calls || !matches!(event, TurnEvent::Failed(_)) {
            return None;
        }
        let sentence = if self.has_text {
            format!(" {}", self.sentence).into()
        } else {
            Arc::clone(&self.sentence)
        };
        Some([TurnEvent::Text(sentence), TurnEvent::Finished(FinishReason::Stop)])
    }
}

/// Puts the apology in the place of the failure that a whole turn ended with.
///
/// # Errors
/// The failure, where nothing stands for it.
pub(super) fn settle(apology: Option<Apology>, events: &mut Vec<TurnEvent>) -> Result<(), Failure> {
    let Some(TurnEvent::Failed(failure)) = events.last().cloned() else { return Ok(()) };
    let Some(mut apology) = apology.filter(|apology| apology.stands_for(&failure)) else {
        return Err(failure);
    };
    events.pop();
    for event in events.iter() {
        apology.hear(event);
    }
    let failed = TurnEvent::Failed(failure.clone());
    events.extend(apology.instead_of(&failed).ok_or(failure)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::Voice;
    use crate::turn::{Confirmation, FailureKind};
    use crate::wire::USUAL;

    use super::*;

    fn apology() -> Option<Apology> {
        let mut model = Model::new("a".parse().unwrap(), "openai");
        model.voice =
            Voice { spoken_errors: true, apology: "Sorry.".to_owned(), ..Voice::default() };
        Apology::of(&model, USUAL)
    }

    fn failed(kind: FailureKind) -> TurnEvent {
        TurnEvent::Failed(Failure::new(kind, "it broke"))
    }

    #[test]
    fn nothing_is_said_unless_the_settings_say_so() {
        assert!(Apology::of(&Model::new("a".parse().unwrap(), "openai"), USUAL).is_none());
        let mut events = vec![TurnEvent::Started, failed(FailureKind::Internal)];
        assert!(settle(None, &mut events).is_err());
    }

    #[test]
    fn a_failure_becomes_a_sentence_behind_what_was_said() {
        let said = TurnEvent::Text("We offer".into());
        let mut events = vec![TurnEvent::Started, said, failed(FailureKind::UpstreamTimeout)];
        settle(apology(), &mut events).unwrap();
        assert_eq!(events[2], TurnEvent::Text(" Sorry.".into()));
        assert_eq!(events[3], TurnEvent::Finished(FinishReason::Stop));
    }

    #[test]
    fn a_wrong_request_and_half_a_call_stay_failures() {
        let mut events = vec![TurnEvent::Started, failed(FailureKind::BadRequest)];
        assert_eq!(settle(apology(), &mut events).unwrap_err().kind, FailureKind::BadRequest);
        let call = TurnEvent::ToolCallStarted {
            index: 0,
            id: "call_1".into(),
            name: "transfer".into(),
            confirmation: Confirmation::None,
        };
        let mut events = vec![TurnEvent::Started, call, failed(FailureKind::Internal)];
        assert!(settle(apology(), &mut events).is_err());
    }
}
