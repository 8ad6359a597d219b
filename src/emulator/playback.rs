//! How an answer is played: its steps, one after another, each in its time.
//!
//! A [`Script`] is laid down by [`course`](super::course) for every dialect; [`Playback`] is the
//! body that plays it. The body owns its call, so a client that hangs up, whose connection drops
//! the body, ends the call at once.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};

use super::calls::Spent;
use super::faults::Fault;
use super::ledger::Ending;

/// How fast an answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pace {
    /// Before the first chunk.
    pub(super) first: Duration,
    /// Between two chunks.
    pub(super) between: Duration,
}

/// What happens `after` so long since the step before.
#[derive(Debug)]
pub(super) struct Step {
    /// How long; nothing is waited for where it is zero.
    pub(super) after: Duration,
    /// What happens.
    pub(super) act: Act,
    /// What it is to the answer.
    pub(super) role: Role,
}

/// What a step is to the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It brings something of the answer: the pace and the faults count these.
    Chunk,
    /// It frames the chunks beside it, and comes with them.
    Frame,
    /// It is no part of the answer, as traces are not.
    Aside,
}

/// What happens in a step.
#[derive(Debug)]
pub(super) enum Act {
    /// Sends bytes.
    Send(Bytes),
    /// Sends a trace that tells of tokens.
    Tell(Bytes, Spent),
    /// Sends bytes one by one.
    Drip(Bytes, Option<Spent>),
    /// Sends half of the bytes and closes the connection.
    Sever(Bytes),
    /// Only lets the time pass.
    Wait,
    /// Says no more and keeps the connection open.
    Silence,
    /// Ends the answer.
    End(Ending),
}

impl Step {
    /// Happens at once, and is no part of the answer.
    pub(super) fn now(act: Act) -> Self {
        Self { after: Duration::ZERO, act, role: Role::Aside }
    }

    /// Sends a chunk of the answer.
    pub(super) fn chunk(bytes: Bytes) -> Self {
        Self { role: Role::Chunk, ..Self::now(Act::Send(bytes)) }
    }

    /// The same, sent byte by byte.
    pub(super) fn dripping(self) -> Self {
        match self.act {
            Act::Send(bytes) => Self { act: Act::Drip(bytes, None), ..self },
            Act::Tell(bytes, spent) => Self { act: Act::Drip(bytes, Some(spent)), ..self },
            act => Self { act, ..self },
        }
    }
}

/// Steps, made one at a time.
pub(super) type Script = Box<dyn Iterator<Item = Step> + Send>;

/// The call that an answer is played for.
pub(super) trait Audience {
    /// Takes down the status of the answer.
    fn answered(&self, status: StatusCode);

    /// Takes down tokens that a trace tells of; only agents write traces.
    fn spends(&self, _spent: &Spent) {}

    /// The call is over, whether or not the client knows already.
    fn end(&mut self, ending: Ending);
}

/// The body of an answer: plays its script.
pub(super) struct Playback<C> {
    call: C,
    script: Script,
    /// When the step before was due; pauses count from there, so that they do not add up late.
    due: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    /// What is done when the timer fires.
    waiting: Option<Act>,
    /// What is still to be sent byte by byte.
    drip: Bytes,
    /// Give the connection an occasion to write before anything else comes.
    yields: bool,
    is_severed: bool,
}

impl<C: Audience> Playback<C> {
    /// Begins to answer a call; comes back once there is a head to send.
    pub(super) async fn begin(call: C, fault: Option<&Fault>, script: Script) -> Self {
        if fault == Some(&Fault::SilentHead) {
            // The connection drops this future, and the call with it, when the client hangs up.
            std::future::pending::<()>().await;
        }
        call.answered(StatusCode::OK);
        Self {
            call,
            script,
            due: Instant::now(),
            timer: None,
            waiting: None,
            drip: Bytes::new(),
            yields: false,
            is_severed: false,
        }
    }

    /// The next act, when its time has come.
    fn poll_act(&mut self, context: &mut Context<'_>) -> Poll<Act> {
        if self.waiting.is_none() {
            let Some(step) = self.script.next() else {
                return Poll::Ready(Act::End(Ending::Ok));
            };
            if step.after.is_zero() {
                return Poll::Ready(step.act);
            }
            self.due += step.after;
            self.waiting = Some(step.act);
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(self.due),
                None => self.timer = Some(Box::pin(sleep_until(self.due))),
            }
        }
        if let Some(timer) = &mut self.timer {
            ready!(timer.as_mut().poll(context));
        }
        Poll::Ready(self.waiting.take().unwrap_or(Act::Wait))
    }
}

impl<C: Audience + Unpin> Body for Playback<C> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = self.get_mut();
        loop {
            if std::mem::take(&mut body.yields) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if body.is_severed {
                return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
            }
            if !body.drip.is_empty() {
                body.yields = true;
                return Poll::Ready(Some(Ok(Frame::data(body.drip.split_to(1)))));
            }
            match ready!(body.poll_act(context)) {
                Act::Send(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Act::Tell(bytes, spent) => {
                    body.call.spends(&spent);
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Act::Drip(bytes, spent) => {
                    spent.into_iter().for_each(|spent| body.call.spends(&spent));
                    body.drip = bytes;
                }
                Act::Sever(bytes) => {
                    body.call.end(Ending::Fault);
                    (body.is_severed, body.yields) = (true, true);
                    return Poll::Ready(Some(Ok(Frame::data(bytes.slice(..bytes.len() / 2)))));
                }
                Act::Wait => {}
                Act::Silence => {
                    body.script = Box::new(std::iter::once(Step::now(Act::Silence)));
                    return Poll::Pending;
                }
                // The call is over before the client can know that the answer has ended.
                Act::End(ending) => {
                    body.call.end(ending);
                    return Poll::Ready(None);
                }
            }
        }
    }
}

impl<C: fmt::Debug> fmt::Debug for Playback<C> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Playback").field("call", &self.call).finish_non_exhaustive()
    }
}

/// The acts of a script in words, for the tests of those who write one.
#[cfg(test)]
pub(super) fn told(script: Script) -> Vec<String> {
    script
        .map(|step| match step.act {
            Act::Send(bytes) | Act::Tell(bytes, _) => format!("send {}", bytes.len()),
            Act::Drip(..) => "drip".to_owned(),
            Act::Sever(_) => "sever".to_owned(),
            Act::Wait => format!("wait {}", step.after.as_millis()),
            Act::Silence => "silence".to_owned(),
            Act::End(ending) => format!("end {ending:?}"),
        })
        .collect()
}
