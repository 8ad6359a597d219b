//! One call, made as often as it takes: in each region in turn, then again after a while.

use backon::ExponentialBackoff;

use crate::backend::aws::ModelAccess;
use crate::backend::retry;
use crate::metrics::Outcome;
use crate::turn::Failure;

use super::failure::Refused;
use super::{NAME, Shared};

/// The attempts at one call.
#[derive(Debug)]
pub(super) struct Attempts<'a> {
    shared: &'a Shared,
    /// Which of the regions is asked.
    place: usize,
    delays: ExponentialBackoff,
}

impl<'a> Attempts<'a> {
    /// The first is made in the first region.
    pub(super) fn new(shared: &'a Shared) -> Self {
        let delays = retry::delays(shared.turn.retry_delay, shared.turn.retries);
        Self { shared, place: 0, delays }
    }

    /// The client of the region that is asked now.
    pub(super) fn access(&self) -> &'a ModelAccess {
        &self.shared.access[self.place]
    }

    /// Counts an attempt that went well.
    pub(super) fn succeeded(&self) {
        self.shared.metrics.upstream_request(NAME, Outcome::Ok);
        self.access().budget.earn();
    }

    /// Counts one that did not.
    pub(super) fn failed(&self, refused: &Refused) {
        self.shared.metrics.upstream_request(NAME, Outcome::Failed);
        self.shared.metrics.upstream_error(NAME, refused.failure.kind);
    }

    /// Waits until it is time for the next: at once in another region, after a while in all of
    /// them again.
    ///
    /// # Errors
    /// The failure, where there is to be no other attempt.
    pub(super) async fn again(&mut self, refused: Refused) -> Result<(), Failure> {
        if !refused.may_repeat {
            return Err(refused.failure);
        }
        let budget = &self.access().budget;
        self.place = (self.place + 1) % self.shared.access.len();
        if self.place == 0 {
            let wait = self.delays.next().filter(|_| budget.spend());
            let Some(wait) = wait else { return Err(refused.failure) };
            tokio::time::sleep(wait).await;
        }
        self.shared.metrics.upstream_retry(NAME);
        Ok(())
    }
}
