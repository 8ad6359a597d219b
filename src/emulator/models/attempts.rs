//! How often the same was asked, for faults that meet only the first calls.
//!
//! A model has no session to count in. What counts as the same is the model and the words of the
//! caller: so a retry is a further attempt, and the same request to another model is a first one.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use crate::emulator::behaviour::Behaviour;
use crate::emulator::faults::Fault;
use crate::emulator::refusal::Refusal;

use super::{broken_whole, exceptions};

/// Requests that are told apart, at most; then the count begins anew.
const MAX_REQUESTS: usize = 10_000;

/// The counts.
#[derive(Debug, Default)]
pub(in crate::emulator) struct Attempts {
    counts: Mutex<HashMap<u64, u64>>,
}

impl Attempts {
    /// Lets a call pass, or refuses it when that is how it is to go wrong. `what` is the model
    /// and the words.
    ///
    /// # Errors
    /// The fault's refusal.
    pub(in crate::emulator) fn pass(
        &self,
        behaviour: &Behaviour,
        what: (&str, &str),
        streams: bool,
    ) -> Result<(), Refusal> {
        let broken = broken_whole(behaviour.fault.as_ref()).filter(|_| !streams);
        if let Some(refusal) = broken {
            return Err(refusal);
        }
        let Some(Fault::Refuse(refuse)) = &behaviour.fault else { return Ok(()) };
        if refuse.meets(self.count(what), streams) {
            return Err(exceptions::of_models(&refuse.with));
        }
        Ok(())
    }

    fn count(&self, what: (&str, &str)) -> u64 {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MAX_REQUESTS {
            counts.clear();
        }
        let count = counts.entry(hasher.finish()).or_default();
        *count += 1;
        *count
    }

    /// Begins anew.
    pub(in crate::emulator) fn reset(&self) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
