//! What to make of the messages that came in, given all that the session knows of them.

use std::sync::Arc;

use crate::session::reconcile::{Plan, input_start, reconcile};
use crate::turn::Message;

use super::{Arrival, Conversation, Standing};

impl Conversation {
    /// Where the messages that came in go on; none where nothing is held that they could go on
    /// from.
    pub(super) fn plan(&self, incoming: &[Message], arrival: &Arrival<'_>) -> Option<Plan> {
        let is_blank = self.record.messages.is_empty() && self.record.upstream.is_none();
        if is_blank && self.standing != Standing::Branch {
            return None;
        }
        if arrival.is_delta {
            return Some(Plan::Continue { from: 0, heard: None });
        }
        if arrival.base.is_some() && arrival.base == self.record.head {
            // Found by all that it went through, also where its oldest turns were dropped since.
            return Some(Plan::Continue { from: input_start(incoming), heard: None });
        }
        let plan = reconcile(&self.record.messages, incoming, arrival.telling);
        if goes_on(&plan) {
            return Some(plan);
        }
        // What others put into the conversation is in no client's transcript.
        let known = self.known_to_clients();
        if known.len() == self.record.messages.len() {
            return Some(plan);
        }
        let of_known = reconcile(&known, incoming, arrival.telling);
        if !goes_on(&of_known) {
            return Some(plan);
        }
        let is_last_known = known.last().is_some_and(|last| {
            self.record.messages.last().is_some_and(|held| Arc::ptr_eq(last, held))
        });
        Some(match of_known {
            Plan::Continue { from, heard } => {
                Plan::Continue { from, heard: heard.filter(|_| is_last_known) }
            }
            fork @ Plan::Fork { .. } => fork,
        })
    }

    /// The messages without those that were put in between turns. What a session began with
    /// counts as known.
    fn known_to_clients(&self) -> Vec<Arc<Message>> {
        let record = &self.record;
        let mut known = Vec::with_capacity(record.messages.len());
        let mut from = 0;
        for (place, mark) in record.marks.iter().enumerate() {
            let to = self.index(mark.end);
            if place == 0 || mark.is_answered {
                known.extend_from_slice(&record.messages[from..to]);
            }
            from = to;
        }
        known
    }
}

/// Whether a plan goes on behind something that came in and is held.
fn goes_on(plan: &Plan) -> bool {
    matches!(plan, Plan::Continue { from, .. } if *from > 0)
}
