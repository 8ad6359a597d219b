//! The series of one model's turns on one backend, resolved.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge};

use super::families::TurnFamilies;
use super::{Outcome, Presence, TokenDirection};
use crate::turn::Usage;

/// Handles to the turn series of one model and backend; every method is an atomic or two.
#[derive(Debug)]
pub struct TurnMetrics {
    first_token: Histogram,
    overhead: Histogram,
    inter_token: Histogram,
    queue_wait: Histogram,
    /// By [`Outcome`], in its order.
    ended: [IntCounter; 3],
    /// By [`Outcome`], in its order.
    seconds: [Histogram; 3],
    in_flight: IntGauge,
    breaker_open: IntGauge,
    input_tokens: IntCounter,
    output_tokens: IntCounter,
}

impl TurnMetrics {
    pub(super) fn resolve(families: &TurnFamilies, model: &str, backend: &str) -> Self {
        let pair = [model, backend];
        let tokens = |direction: TokenDirection| {
            families.tokens.with_label_values(&[model, direction.as_str()])
        };
        Self {
            first_token: families.first_token_seconds.with_label_values(&pair),
            overhead: families.overhead_seconds.with_label_values(&pair),
            inter_token: families.inter_token_seconds.with_label_values(&pair),
            queue_wait: families.queue_wait_seconds.with_label_values(&[model]),
            ended: Outcome::ALL
                .map(|how| families.ended.with_label_values(&[model, backend, how.as_str()])),
            seconds: Outcome::ALL
                .map(|how| families.seconds.with_label_values(&[model, backend, how.as_str()])),
            in_flight: families.in_flight.with_label_values(&[backend]),
            breaker_open: families.breaker_open.with_label_values(&[model]),
            input_tokens: tokens(TokenDirection::Input),
            output_tokens: tokens(TokenDirection::Output),
        }
    }

    /// A turn runs.
    pub fn in_flight(&self) -> Presence {
        Presence::of(&self.in_flight)
    }

    /// Whether the model is passed over at this time, since it failed.
    pub fn breaker_open(&self, is_open: bool) {
        self.breaker_open.set(i64::from(is_open));
    }

    /// A turn left its session's queue after so long. Turns that found none are recorded too,
    /// as zero: the share that waits is part of the picture.
    pub fn queue_wait(&self, waited: Duration) {
        self.queue_wait.observe(waited.as_secs_f64());
    }

    /// The first text byte went to the socket, so long after the request was received.
    pub fn first_token(&self, after: Duration) {
        self.first_token.observe(after.as_secs_f64());
    }

    /// Of the time to the first token, so much was the broker's own.
    pub fn overhead(&self, share: Duration) {
        self.overhead.observe(share.as_secs_f64());
    }

    /// A further piece of text came, so long after the one before it.
    pub fn inter_token(&self, gap: Duration) {
        self.inter_token.observe(gap.as_secs_f64());
    }

    /// A turn ended, so long after it started.
    pub fn ended(&self, outcome: Outcome, elapsed: Duration) {
        self.ended[outcome as usize].inc();
        self.seconds[outcome as usize].observe(elapsed.as_secs_f64());
    }

    /// A turn used these tokens in all; recorded once a turn.
    pub fn tokens(&self, usage: &Usage) {
        self.input_tokens.inc_by(usage.input_tokens);
        self.output_tokens.inc_by(usage.output_tokens);
    }
}
