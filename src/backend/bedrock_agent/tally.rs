//! The tokens of a turn: summed over all calls of all agents that worked on it, and whose they
//! were.

use crate::turn::{CollaboratorUsage, Usage};

/// Collaborators that are told apart; a supervisor has at most ten.
const TOLD_APART: usize = 64;

/// What was used so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    shares: Vec<CollaboratorUsage>,
    total: Option<Usage>,
}

impl Tally {
    /// Adds a call of a collaborator's model, or of the asked agent's own.
    pub(super) fn add(&mut self, collaborator: Option<&str>, used: &Usage) {
        self.total.get_or_insert_default().add(used);
        let is_full = self.shares.len() >= TOLD_APART;
        let mut shares = self.shares.iter_mut();
        match shares.find(|share| share.collaborator.as_deref() == collaborator) {
            Some(share) => share.usage.add(used),
            None if is_full => {}
            None => self.shares.push(CollaboratorUsage {
                collaborator: collaborator.map(str::to_owned),
                usage: *used,
            }),
        }
    }

    /// All of it, where any was told.
    pub(super) fn total(&self) -> Option<Usage> {
        self.total
    }

    /// Whose it was, in the order that they were heard, where a collaborator was.
    pub(super) fn shares(&self) -> Option<&[CollaboratorUsage]> {
        let is_shared = self.shares.iter().any(|share| share.collaborator.is_some());
        is_shared.then_some(self.shares.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(input_tokens: u64, output_tokens: u64) -> Usage {
        Usage { input_tokens, output_tokens, ..Usage::default() }
    }

    #[test]
    fn usage_is_split_once_a_collaborator_is_heard() {
        let mut tally = Tally::default();
        assert_eq!((tally.total(), tally.shares()), (None, None));
        tally.add(None, &used(10, 1));
        assert_eq!((tally.total(), tally.shares()), (Some(used(10, 1)), None));
        tally.add(Some("loans"), &used(5, 2));
        tally.add(None, &used(1, 1));
        assert_eq!(tally.total(), Some(used(16, 4)));
        let shares = tally.shares().unwrap();
        assert_eq!(shares[0], CollaboratorUsage { collaborator: None, usage: used(11, 2) });
        let loans = Some("loans".to_owned());
        assert_eq!(shares[1], CollaboratorUsage { collaborator: loans, usage: used(5, 2) });
    }
}
