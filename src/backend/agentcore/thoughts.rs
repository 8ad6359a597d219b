//! What clients see of an agent's reasoning.

use crate::backend::Outlet;
use crate::config::{Model, Reasoning};
use crate::turn::{TurnEvent, TurnRequest};

/// The reasoning of one answer; each stretch of it ends with a blank line.
#[derive(Debug)]
pub(super) struct Thoughts {
    are_shown: bool,
    is_open: bool,
}

impl Thoughts {
    /// What the model's settings and the request allow. `debug_traces` is the operator's leave
    /// to show everything to whoever asks.
    pub(super) fn allowed(model: &Model, request: &TurnRequest, debug_traces: bool) -> Self {
        let are_shown = match model.agents.reasoning {
            Reasoning::Never => false,
            Reasoning::Asked => match request.wants_reasoning {
                Some(wanted) => wanted,
                None => debug_traces && request.wants_traces,
            },
            Reasoning::Always => request.wants_reasoning != Some(false),
        };
        Self { are_shown, is_open: false }
    }

    /// A piece of reasoning: shown, or a sign of life.
    pub(super) async fn piece(&mut self, text: &str, outlet: &Outlet) {
        if self.are_shown && !text.is_empty() {
            self.is_open = true;
            outlet.push(TurnEvent::Reasoning(text.into())).await;
        } else {
            outlet.alive();
        }
    }

    /// Something else follows, or nothing.
    pub(super) async fn end(&mut self, outlet: &Outlet) {
        if std::mem::take(&mut self.is_open) {
            outlet.push(TurnEvent::Reasoning("\n\n".into())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_is_shown_by_the_setting_and_the_wish() {
        let mut model = Model::new("m".parse().unwrap(), "bedrock-agentcore");
        let mut shown = |reasoning, wants_reasoning, wants_traces, debug| {
            model.agents.reasoning = reasoning;
            let request = TurnRequest { wants_reasoning, wants_traces, ..TurnRequest::default() };
            Thoughts::allowed(&model, &request, debug).are_shown
        };
        assert!(!shown(Reasoning::Never, Some(true), true, true));
        assert!(!shown(Reasoning::Asked, None, true, false));
        assert!(shown(Reasoning::Asked, None, true, true));
        assert!(shown(Reasoning::Asked, Some(true), false, false));
        assert!(!shown(Reasoning::Asked, Some(false), true, true));
        assert!(shown(Reasoning::Always, None, false, false));
        assert!(!shown(Reasoning::Always, Some(false), false, false));
    }
}
