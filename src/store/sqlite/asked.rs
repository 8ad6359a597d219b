//! What was asked of the writer and is not done yet, and what could not be done.
//!
//! Reads go past the writer, unless it has something to write first that they are about: what a
//! caller has asked to be written, it reads.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::turn::{SessionKey, TenantId, TurnId};

/// What a write or a read is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// A session.
    Session(SessionKey),
    /// A turn.
    Turn(TenantId, TurnId),
    /// The name that a client gave to a request.
    Name(TenantId, std::sync::Arc<str>),
}

/// What is known of writes to come and of writes that failed.
#[derive(Debug, Default)]
pub(super) struct Asked(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many writes wait, by what they are about.
    waiting: HashMap<Subject, usize>,
    /// Sessions whose last save failed, and the position from which the file may differ from
    /// what their actors take for saved.
    unsaved: HashMap<SessionKey, u64>,
}

impl Asked {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes about these will be asked for.
    pub(super) fn enter(&self, subjects: &[Subject]) {
        let mut state = self.state();
        for subject in subjects {
            *state.waiting.entry(subject.clone()).or_default() += 1;
        }
    }

    /// They were done, or failed.
    pub(super) fn leave(&self, subjects: &[Subject]) {
        let mut state = self.state();
        for subject in subjects {
            let Some(waiting) = state.waiting.get_mut(subject) else { continue };
            *waiting -= 1;
            if *waiting == 0 {
                state.waiting.remove(subject);
            }
        }
    }

    /// Whether something about this waits to be written.
    pub(super) fn waits(&self, subject: &Subject) -> bool {
        self.state().waiting.contains_key(subject)
    }

    /// The position up to which the file is as a save says that it is.
    pub(super) fn unchanged(&self, key: &SessionKey, promised: u64) -> u64 {
        let unsaved = self.state().unsaved.get(key).copied();
        unsaved.map_or(promised, |from| from.min(promised))
    }

    /// A save of this session failed, which would have changed it from there on.
    pub(super) fn failed(&self, key: &SessionKey, from: u64) {
        let mut state = self.state();
        let known = state.unsaved.entry(key.clone()).or_insert(from);
        *known = from.min(*known);
    }

    /// The file holds this session as its actor does.
    pub(super) fn saved(&self, key: &SessionKey) {
        self.state().unsaved.remove(key);
    }
}
