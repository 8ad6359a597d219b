//! What is left out of a conversation that its model found too long, where the client would
//! rather have an answer to less than none.
//!
//! How much a model can read is known by its refusal only. So it is asked with everything, and
//! when it refuses with the newer half of what was said, with half of that, and in the end with
//! no more than the new input needs. Turns are left out whole, the oldest first, and the results
//! of calls stay with the turn that made them. The session holds what it held: the next turn
//! begins with everything again.

use std::sync::Arc;

use crate::turn::{Message, Role};

/// Attempts with less than everything; the last of them has as little as there can be.
const MOST_ATTEMPTS: u32 = 4;

/// The oldest messages of a history, left out of an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// How many.
    pub(super) messages: usize,
    /// How often it became more.
    grown: u32,
}

impl LeftOut {
    /// Leaves out about half of what is told now; says whether there was anything to leave out.
    /// `input` is what is told behind the history, and never left out.
    pub(super) fn grow(&mut self, history: &[Arc<Message>], input: &[Arc<Message>]) -> bool {
        if self.grown == MOST_ATTEMPTS {
            return false;
        }
        let told = &history[self.messages.min(history.len())..];
        let mut rest: usize = told.iter().map(|message| message.weight()).sum();
        self.grown += 1;
        let most = if self.grown == MOST_ATTEMPTS { 0 } else { rest / 2 };
        let mut cut = None;
        for at in 1..=told.len() {
            rest -= told[at - 1].weight();
            let next = told.get(at).or_else(|| input.first());
            if next.is_none_or(|next| next.role != Role::User) {
                continue;
            }
            cut = Some(at);
            if rest <= most {
                break;
            }
        }
        self.messages += cut.unwrap_or_default();
        cut.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(roles: &[Role]) -> Vec<Arc<Message>> {
        roles.iter().map(|role| Arc::new(Message::text(*role, "x".repeat(100)))).collect()
    }

    /// What is left out, attempt after attempt.
    fn steps(history: &[Arc<Message>], input: &[Arc<Message>]) -> Vec<usize> {
        let mut left_out = LeftOut::default();
        let mut steps = Vec::new();
        while left_out.grow(history, input) {
            steps.push(left_out.messages);
        }
        steps
    }

    #[test]
    fn the_newer_half_is_told_again_and_again_and_then_the_input_alone() {
        let history = said(&[Role::User, Role::Assistant].repeat(32));
        assert_eq!(steps(&history, &said(&[Role::User])), [32, 48, 56, 64]);
    }

    #[test]
    fn the_results_of_calls_stay_with_their_turn() {
        let turn = [Role::User, Role::Assistant];
        let history = said(&turn.repeat(3));
        assert_eq!(steps(&history, &said(&[Role::Tool])), [4]);
        assert_eq!(steps(&said(&turn), &said(&[Role::Tool])), [0; 0]);
    }

    #[test]
    fn an_input_that_is_too_long_by_itself_has_nothing_to_leave_out() {
        assert_eq!(steps(&[], &said(&[Role::User])), [0; 0]);
    }
}
