//! A turn's log as a response body.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use tokio::time::Sleep;
use tokio_stream::Stream;

use crate::session::{Answered, TurnReader};
use crate::turn::{Failure, TurnEvent};
use crate::wire::Encoder;

use super::apology::Apology;

/// Bytes written at once: a reader that lags, or comes back, gets the rest when it took these.
const PIECE: usize = 64 << 10;

/// Where the time to the first token is measured.
#[derive(Debug)]
pub(super) struct FirstToken {
    pub(super) received: Instant,
}

impl FirstToken {
    /// The first text goes to the client now.
    pub(super) fn record(self, reader: &TurnReader) {
        let elapsed = self.received.elapsed();
        let Some(Answered { metrics, timing }) = reader.answered() else { return };
        metrics.first_token(elapsed);
        if let (Some(called), Some(first)) = (timing.called, timing.first_event) {
            metrics.overhead(elapsed.saturating_sub(first - called));
        }
    }
}

/// Reads a turn's log and writes it down for one client.
///
/// What is ready together leaves in one piece; when nothing was ready for a while, a sign of
/// life does.
pub(super) struct Follow {
    reader: TurnReader,
    encoder: Box<dyn Encoder>,
    events: Vec<TurnEvent>,
    out: BytesMut,
    keep_alive: Duration,
    quiet_since: Instant,
    timer: Pin<Box<Sleep>>,
    first_token: Option<FirstToken>,
    /// What is told in the place of a failure.
    apology: Option<Apology>,
    /// How many of the events are written down.
    written: usize,
    /// The number of the first event that is read and not yet written down.
    held: Option<u64>,
}

impl Follow {
    pub(super) fn new(
        reader: TurnReader,
        encoder: Box<dyn Encoder>,
        keep_alive: Duration,
    ) -> Box<Self> {
        Box::new(Self {
            reader,
            encoder,
            events: Vec::new(),
            out: BytesMut::new(),
            keep_alive,
            quiet_since: Instant::now(),
            timer: Box::pin(tokio::time::sleep(keep_alive)),
            first_token: None,
            apology: None,
            written: 0,
            held: None,
        })
    }

    pub(super) fn reader(&self) -> &TurnReader {
        &self.reader
    }

    /// Measures the time to the first token.
    pub(super) fn measure(&mut self, first_token: FirstToken) {
        self.first_token = Some(first_token);
    }

    /// Has this told in the place of a failure.
    pub(super) fn apologise_by(&mut self, apology: Option<Apology>) {
        self.apology = apology;
        if let Some(apology) = &mut self.apology {
            self.reader.already_read().iter().for_each(|event| apology.hear(event));
        }
    }

    /// Whether a text of the answer has come that was not yet written down.
    pub(super) fn has_text(&self) -> bool {
        self.events[self.written..].iter().any(|event| matches!(event, TurnEvent::Text(_)))
    }

    /// Waits for the first visible event, but no longer than clients bear silence.
    ///
    /// # Errors
    /// The turn's failure, if that is its first visible event, and nothing is told in its place.
    pub(super) async fn wait_for_first(&mut self) -> Result<(), Failure> {
        loop {
            let first = tokio::select! {
                biased;
                first = self.reader.read(&mut self.events) => first,
                () = &mut self.timer => return Ok(()),
            };
            if first.is_none() {
                return Ok(());
            }
            self.held = self.held.or(first);
            match self.events.iter().find(|event| event.is_visible()) {
                Some(TurnEvent::Failed(failure)) => {
                    let stands_for = |apology: &Apology| apology.stands_for(failure);
                    let is_told = !self.apology.as_ref().is_some_and(stands_for);
                    return if is_told { Err(failure.clone()) } else { Ok(()) };
                }
                Some(_) => return Ok(()),
                None => {}
            }
        }
    }

    /// Writes what comes before the first event.
    pub(super) fn open(&mut self) {
        self.encoder.open(&mut self.out);
    }

    /// The response body: ends with the turn; dropping it leaves the turn.
    pub(super) fn into_stream(
        self: Box<Self>,
    ) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
        stream::unfold(self, |mut follow| async move {
            let piece = follow.next().await?;
            Some((Ok(piece), follow))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(first) = self.held.take() {
                self.encode(first);
            }
            if !self.out.is_empty() {
                self.quiet_since = Instant::now();
                return Some(self.out.split().freeze());
            }
            tokio::select! {
                biased;
                first = self.reader.read(&mut self.events) => self.held = Some(first?),
                () = &mut self.timer => if let Some(sign) = self.sign_of_life() {
                    return Some(sign);
                },
            }
        }
    }

    fn encode(&mut self, first: u64) {
        if self.has_text()
            && let Some(first_token) = self.first_token.take()
        {
            first_token.record(&self.reader);
        }
        let mut next = first;
        for event in &self.events[self.written..] {
            match self.apology.as_mut().and_then(|apology| apology.instead_of(event)) {
                None => self.encoder.event(next, event, &mut self.out),
                Some([sentence, end]) => {
                    self.encoder.event(next.saturating_sub(1), &sentence, &mut self.out);
                    self.encoder.event(next, &end, &mut self.out);
                }
            }
            next += 1;
            self.written += 1;
            if self.out.len() >= PIECE {
                break;
            }
        }
        if self.written == self.events.len() {
            self.events.clear();
            self.written = 0;
        } else {
            self.held = Some(next);
        }
    }

    /// The timer is set anew only when it rings, not with every piece.
    fn sign_of_life(&mut self) -> Option<Bytes> {
        let now = Instant::now();
        let quiet = now - self.quiet_since;
        let is_due = quiet >= self.keep_alive;
        if is_due {
            self.quiet_since = now;
        }
        let wait = self.keep_alive.saturating_sub(now - self.quiet_since);
        self.timer.as_mut().reset(tokio::time::Instant::now() + wait);
        let sign = self.encoder.keep_alive();
        (is_due && !sign.is_empty()).then(|| Bytes::from_static(sign))
    }
}
