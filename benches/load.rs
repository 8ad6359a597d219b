//! Two ways to ask: as fast as answers come, and many at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::ensure;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::client::{Connection, Dialect};

/// Turns in a conversation, where one connection asks many times.
const TURNS: usize = 8;

/// Numbers the conversations of this run, so that none meets another's session.
static CONVERSATIONS: AtomicUsize = AtomicUsize::new(0);

/// A name for a session that nobody has spoken in.
pub(crate) fn fresh_session() -> String {
    format!("bench-{}", CONVERSATIONS.fetch_add(1, Ordering::Relaxed))
}

/// Names for sessions: each once, until one goes back to the first.
#[derive(Debug)]
struct Names {
    prefix: String,
    next: AtomicUsize,
}

impl Names {
    fn next(&self) -> String {
        format!("{}-{}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// Warm connections to one server.
#[derive(Debug)]
pub(crate) struct Clients {
    names: Arc<Names>,
    connections: Vec<Connection>,
    text: Arc<str>,
    /// Tokens that each answer must have.
    expected: usize,
}

impl Clients {
    /// Connects, without asking yet.
    pub(crate) async fn open(
        address: SocketAddr,
        dialect: Dialect,
        count: usize,
        asks: &Ask<'_>,
    ) -> anyhow::Result<Self> {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(Connection::open(address, dialect).await?);
        }
        let names = Arc::new(Names { prefix: fresh_session(), next: AtomicUsize::new(0) });
        Ok(Self { names, connections, text: asks.text.into(), expected: asks.tokens })
    }

    /// Every connection asks again as soon as it was answered, `total` times in all.
    pub(crate) async fn one_after_another(&mut self, total: usize) -> anyhow::Result<Times> {
        self.ask_again_and_again(total, TURNS, Duration::ZERO).await
    }

    /// The same, with so long between an answer and the next question, as people take it.
    pub(crate) async fn apart(&mut self, total: usize, pause: Duration) -> anyhow::Result<Times> {
        self.ask_again_and_again(total, TURNS, pause).await
    }

    /// The same, with a session of its own for every turn.
    pub(crate) async fn one_session_a_turn(&mut self, total: usize) -> anyhow::Result<Times> {
        self.ask_again_and_again(total, 1, Duration::ZERO).await
    }

    /// Further turns go to the sessions that the first ones opened.
    pub(crate) fn back_to_the_first(&self) {
        self.names.next.store(0, Ordering::Relaxed);
    }

    /// One of its connections, which goes on with the same sessions.
    pub(crate) fn only_one(mut self) -> Self {
        self.connections.truncate(1);
        self
    }

    async fn ask_again_and_again(
        &mut self,
        total: usize,
        turns: usize,
        pause: Duration,
    ) -> anyhow::Result<Times> {
        let left = Arc::new(AtomicUsize::new(total));
        let mut tasks = JoinSet::new();
        for connection in self.connections.drain(..) {
            let (left, text, expected) = (Arc::clone(&left), Arc::clone(&self.text), self.expected);
            let names = Arc::clone(&self.names);
            tasks.spawn(async move {
                let asking = Asking { names, connection, text, expected, turns, pause };
                asking.until_none_is(&left).await
            });
        }
        self.collect(tasks).await
    }

    /// Every connection asks once, their beginnings spread over so long.
    pub(crate) async fn all_at_once(&mut self, spread: Duration) -> anyhow::Result<Times> {
        let began = Instant::now();
        let count = u32::try_from(self.connections.len())?;
        let mut tasks = JoinSet::new();
        for (place, mut connection) in (0..count).zip(self.connections.drain(..)) {
            let (text, expected) = (Arc::clone(&self.text), self.expected);
            let session = self.names.next();
            let begins = began + spread * place / count;
            tasks.spawn(async move {
                sleep_until(begins).await;
                let first = asked(&mut connection, &session, &text, expected).await?;
                anyhow::Ok((connection, vec![first]))
            });
        }
        self.collect(tasks).await
    }

    async fn collect(
        &mut self,
        mut tasks: JoinSet<anyhow::Result<Asked>>,
    ) -> anyhow::Result<Times> {
        let mut all = Times::default();
        while let Some(done) = tasks.join_next().await {
            let (connection, times) = done??;
            self.connections.push(connection);
            all.0.extend(times);
        }
        Ok(all)
    }
}

/// What is asked, and how many tokens answer it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// The message.
    pub(crate) text: &'a str,
    /// The least number of tokens.
    pub(crate) tokens: usize,
}

/// A connection on which one turn follows another.
struct Asking {
    names: Arc<Names>,
    connection: Connection,
    text: Arc<str>,
    expected: usize,
    /// Turns in a session.
    turns: usize,
    /// Between an answer and the next question.
    pause: Duration,
}

impl Asking {
    async fn until_none_is(mut self, left: &AtomicUsize) -> anyhow::Result<Asked> {
        let mut times = Vec::new();
        let mut session = String::new();
        while take_one(left) {
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
            if times.len() % self.turns == 0 {
                session = self.names.next();
            }
            times.push(asked(&mut self.connection, &session, &self.text, self.expected).await?);
        }
        Ok((self.connection, times))
    }
}

/// A connection after its turns, and their times to the first token.
type Asked = (Connection, Vec<Duration>);

fn take_one(left: &AtomicUsize) -> bool {
    let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    taken.is_ok()
}

async fn asked(
    connection: &mut Connection,
    session: &str,
    text: &str,
    expected: usize,
) -> anyhow::Result<Duration> {
    let answer = connection.turn(session, text).await?;
    ensure!(answer.tokens >= expected, "{} tokens came, not {expected}", answer.tokens);
    Ok(answer.first_token)
}

/// Times to the first token.
#[derive(Debug, Default)]
pub(crate) struct Times(pub(crate) Vec<Duration>);

impl Times {
    /// The time within which this share of all came.
    pub(crate) fn percentile(&mut self, share: f64) -> Duration {
        self.0.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a list of thousands"
        )]
        let place = (self.0.len() as f64 * share) as usize;
        self.0.get(place.min(self.0.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    /// Takes in what another round measured.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}
