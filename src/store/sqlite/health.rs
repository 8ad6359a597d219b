//! How the writer is, for those who have to tell.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::store::{Health, StoreError};

/// A write that takes longer is of a disk that hangs: beyond the time that another program may
/// keep the file locked.
const SLOWEST: Duration = Duration::from_secs(10);

/// What is known of the writer. It tells, others ask.
#[derive(Debug, Default)]
pub(super) struct Pulse(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Since when nothing could be written, and why the last time.
    failing: Option<(Instant, StoreError)>,
    /// When it began what it does now.
    busy: Option<Instant>,
    is_gone: bool,
}

impl Pulse {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It turns to the disk.
    pub(super) fn begins(&self) {
        self.state().busy = Some(Instant::now());
    }

    /// The disk has answered.
    pub(super) fn rests(&self) {
        self.state().busy = None;
    }

    /// Something was written; says whether that could not be done before.
    pub(super) fn succeeded(&self) -> bool {
        self.state().failing.take().is_some()
    }

    /// Something could not be written; says whether that is new.
    pub(super) fn failed(&self, error: &StoreError) -> bool {
        let mut state = self.state();
        let since = state.failing.as_ref().map(|(since, _)| *since);
        state.failing = Some((since.unwrap_or_else(Instant::now), error.clone()));
        since.is_none()
    }

    /// It has ended, as it was told to or not.
    pub(super) fn stops(&self) {
        self.state().is_gone = true;
    }

    pub(super) fn health(&self) -> Health {
        let state = self.state();
        if state.is_gone {
            return Health::Gone;
        }
        if let Some((since, why)) = &state.failing {
            return Health::Failing { since: since.elapsed(), why: why.clone() };
        }
        let hangs = state.busy.map(|since| since.elapsed()).filter(|since| *since > SLOWEST);
        hangs.map_or(Health::Well, |since| {
            let why = "its disk has not answered for long".to_owned();
            Health::Failing { since, why: StoreError(why) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_with_its_beginning_until_something_is_written() {
        let pulse = Pulse::default();
        let error = |text: &str| StoreError(text.to_owned());
        assert!(pulse.failed(&error("first")));
        assert!(!pulse.failed(&error("second")));
        let Health::Failing { why, .. } = pulse.health() else { panic!("{pulse:?}") };
        assert_eq!(why, error("second"));
        assert!(pulse.succeeded());
        assert!(!pulse.succeeded());
        assert_eq!(pulse.health(), Health::Well);
    }

    #[test]
    fn a_disk_that_hangs_is_no_well_one() {
        let pulse = Pulse::default();
        pulse.begins();
        assert_eq!(pulse.health(), Health::Well);
        pulse.state().busy = Instant::now().checked_sub(SLOWEST * 2);
        assert!(matches!(pulse.health(), Health::Failing { .. }));
        pulse.rests();
        assert_eq!(pulse.health(), Health::Well);
    }
}
