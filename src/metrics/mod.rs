//! Every Prometheus series the broker exports.
//!
//! One [`Metrics`] is made at start and passed as `Arc<Metrics>`; there is no global registry, so
//! every test has its own. Call sites read as facts: a turn's series are resolved once, by
//! [`Metrics::turn`], and then cost an atomic each. Labels come from closed sets ([`labels`])
//! or from the configuration; a session, a user or an address is never one.
//!
//! What goes up and down is held as a [`Presence`], which goes down by itself.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http::StatusCode;
use prometheus::{Histogram, IntCounter, IntGauge, Registry, TextEncoder};

use crate::turn::FailureKind;

mod families;
pub mod labels;
mod turn;

pub use labels::{EndReason, InterruptReason, Limit, Outcome, StoreOp, TokenDirection};
pub use turn::TurnMetrics;

use families::{BrokerFamilies, HttpFamilies, SessionFamilies, Shelf, TurnFamilies};

/// The `content-type` of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The label `model` of every model that is asked for by a direct form and not configured.
pub const DIRECT: &str = "direct";

/// The label `model` of those beyond [`MAX_MODELS`].
pub const OTHER: &str = "other";

/// Different `model` labels kept apart. A model has some 150 series, so this is a backstop: a
/// configuration stays below it, and a caller that passes what clients send does no harm.
pub const MAX_MODELS: usize = 500;

/// A backend's turn handles by `model` label.
type TurnsByModel = HashMap<Box<str>, Arc<TurnMetrics>>;

/// Reads a running total that somebody else keeps.
type TotalReader = Box<dyn Fn() -> u64 + Send>;
type CountReader = Box<dyn Fn() -> usize + Send>;

/// Every series.
pub struct Metrics {
    registry: Registry,
    http: HttpFamilies,
    turns: TurnFamilies,
    sessions: SessionFamilies,
    broker: BrokerFamilies,
    log_lines_dropped: IntCounter,
    dropped_so_far: Mutex<Option<TotalReader>>,
    connections_now: Mutex<Option<CountReader>>,
    models: RwLock<HashSet<Box<str>>>,
    resolved: RwLock<HashMap<&'static str, TurnsByModel>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Every series that needs no model or backend to be known, at zero.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let shelf = Shelf(&registry);
        let metrics = Self {
            http: HttpFamilies::on(&shelf),
            turns: TurnFamilies::on(&shelf),
            sessions: SessionFamilies::on(&shelf),
            broker: BrokerFamilies::on(&shelf),
            log_lines_dropped: shelf.counter(
                "log_lines_dropped_total",
                "Log lines given up because they came faster than they could be written.",
            ),
            dropped_so_far: Mutex::new(None),
            connections_now: Mutex::new(None),
            models: RwLock::default(),
            resolved: RwLock::default(),
            registry,
        };
        metrics.start_at_zero();
        metrics.watch_process();
        metrics
    }

    fn start_at_zero(&self) {
        self.broker.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        for reason in EndReason::ALL {
            self.sessions.ended.with_label_values(&[reason.as_str()]);
        }
        for reason in InterruptReason::ALL {
            self.sessions.turns_interrupted.with_label_values(&[reason.as_str()]);
        }
        for limit in Limit::ALL {
            self.broker.rate_limited.with_label_values(&[limit.as_str()]);
        }
        for op in StoreOp::ALL {
            self.broker.store_seconds.with_label_values(&[op.as_str()]);
        }
    }

    /// Adds `process_*`, which the crate knows how to read on Linux only.
    fn watch_process(&self) {
        #[cfg(target_os = "linux")]
        {
            use prometheus::process_collector::ProcessCollector;

            let process = Box::new(ProcessCollector::for_self());
            self.registry.register(process).expect("no other family begins with process_");
        }
    }

    /// Everything in the Prometheus text format 0.0.4, to be sent as [`CONTENT_TYPE`].
    ///
    /// Nobody who records waits for it. It reads `/proc`, which takes milliseconds when ten
    /// thousand files are open: an async caller runs it on a blocking thread.
    #[must_use]
    pub fn render(&self) -> String {
        self.catch_up_with_the_log();
        self.look_at_the_connections();
        let mut text = String::new();
        // Encoding fails on a family without a name or samples, which a registry never gathers.
        let encoded = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text);
        debug_assert!(encoded.is_ok(), "{encoded:?}");
        text
    }

    fn look_at_the_connections(&self) {
        let count = self.connections_now.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = count.as_ref() {
            self.http.connections_open.set(i64::try_from(count()).unwrap_or(i64::MAX));
        }
    }

    fn catch_up_with_the_log(&self) {
        // Held throughout, so that two scrapes at once do not both add what is new.
        let total = self.dropped_so_far.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(total) = total.as_ref() {
            let news = total().saturating_sub(self.log_lines_dropped.get());
            self.log_lines_dropped.inc_by(news);
        }
    }

    /// The handles of a model's turns on a backend, made at the first call: one call for each
    /// configured route at start lets all its series begin at zero.
    ///
    /// `model` is a configured name or [`DIRECT`].
    #[must_use]
    pub fn turn(&self, model: &str, backend: &'static str) -> Arc<TurnMetrics> {
        let model = self.model_label(model);
        let resolved = self.resolved.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = resolved.get(backend).and_then(|turns| turns.get(model)) {
            return Arc::clone(known);
        }
        drop(resolved);
        self.start_backend_at_zero(backend);
        self.sessions.started.with_label_values(&[model]);
        let fresh = || Arc::new(TurnMetrics::resolve(&self.turns, model, backend));
        let mut resolved = self.resolved.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(resolved.entry(backend).or_default().entry(model.into()).or_insert_with(fresh))
    }

    /// The model as a label, or [`OTHER`] when there are too many.
    fn model_label<'a>(&self, model: &'a str) -> &'a str {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        if models.contains(model) {
            return model;
        }
        drop(models);
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        if models.len() >= MAX_MODELS && !models.contains(model) {
            return OTHER;
        }
        models.insert(model.into());
        model
    }

    fn start_backend_at_zero(&self, backend: &'static str) {
        for outcome in Outcome::ALL {
            self.broker.upstream_requests.with_label_values(&[backend, outcome.as_str()]);
        }
        for kind in FailureKind::ALL.iter().filter(|kind| kind.code().starts_with("upstream_")) {
            self.broker.upstream_errors.with_label_values(&[backend, kind.code()]);
        }
        self.broker.upstream_retries.with_label_values(&[backend]);
    }

    /// A request was answered to its last byte. `route` is the template, never the path.
    pub fn http_request(&self, route: &'static str, status: u16, elapsed: Duration) {
        let code = StatusCode::from_u16(status).unwrap_or_default();
        self.http.requests.with_label_values(&[route, code.as_str()]).inc();
        self.http.request_seconds.with_label_values(&[route]).observe(elapsed.as_secs_f64());
    }

    /// Says where the number of open client connections can be read, which happens at every
    /// [`render`](Self::render). A later call takes the place of an earlier one.
    pub fn connections_open_by(&self, count: impl Fn() -> usize + Send + 'static) {
        let mut place = self.connections_now.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(Box::new(count));
    }

    /// A conversation began. `model` as for [`turn`](Self::turn).
    pub fn session_started(&self, model: &str) {
        self.sessions.started.with_label_values(&[self.model_label(model)]).inc();
    }

    /// A conversation is no more.
    pub fn session_ended(&self, reason: EndReason) {
        self.sessions.ended.with_label_values(&[reason.as_str()]).inc();
    }

    /// A session was brought back from the store.
    pub fn session_revived(&self) {
        self.sessions.revived.inc();
    }

    /// An upstream had forgotten a session and was given its history again.
    pub fn session_rehydrated(&self) {
        self.sessions.rehydrated.inc();
    }

    /// A session branched off another.
    pub fn session_forked(&self) {
        self.sessions.forked.inc();
    }

    /// An actor holds a session.
    pub fn session_resident(&self) -> Presence {
        Presence::of(&self.sessions.resident)
    }

    /// So many tool calls wait for their results in a session that an actor holds.
    pub fn tool_calls_pending(&self, calls: usize) -> Presence {
        let calls = i64::try_from(calls).unwrap_or(i64::MAX);
        Presence::several(&self.sessions.tool_calls_pending, calls)
    }

    /// A turn waits in its session.
    pub fn turn_queued(&self) -> Presence {
        Presence::of(&self.sessions.turns_queued)
    }

    /// A turn runs without a reader.
    pub fn turn_detached(&self) -> Presence {
        Presence::of(&self.sessions.turns_detached)
    }

    /// A turn was stopped before its end.
    pub fn turn_interrupted(&self, reason: InterruptReason) {
        self.sessions.turns_interrupted.with_label_values(&[reason.as_str()]).inc();
    }

    /// A client came back to a stream.
    pub fn stream_resumed(&self) {
        self.sessions.stream_resumes.inc();
    }

    /// A request was turned away at a limit.
    pub fn rate_limited(&self, limit: Limit) {
        self.broker.rate_limited.with_label_values(&[limit.as_str()]).inc();
    }

    /// A call to an upstream is over; each attempt counts.
    pub fn upstream_request(&self, backend: &'static str, outcome: Outcome) {
        self.broker.upstream_requests.with_label_values(&[backend, outcome.as_str()]).inc();
    }

    /// A call to an upstream failed; each attempt counts.
    pub fn upstream_error(&self, backend: &'static str, kind: FailureKind) {
        self.broker.upstream_errors.with_label_values(&[backend, kind.code()]).inc();
    }

    /// A call to an upstream is repeated.
    pub fn upstream_retry(&self, backend: &'static str) {
        self.broker.upstream_retries.with_label_values(&[backend]).inc();
    }

    /// The store is asked for something; what it takes is recorded when the timer is dropped.
    pub fn store_op(&self, op: StoreOp) -> StoreTimer {
        let seconds = self.broker.store_seconds.with_label_values(&[op.as_str()]);
        StoreTimer { seconds, began: Instant::now() }
    }

    /// Says where the total of dropped log lines can be read, which happens at every
    /// [`render`](Self::render). A later call takes the place of an earlier one.
    pub fn log_lines_dropped_by(&self, total: impl Fn() -> u64 + Send + 'static) {
        let mut place = self.dropped_so_far.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(Box::new(total));
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Metrics").field("registry", &self.registry).finish_non_exhaustive()
    }
}

/// Something that is there: its gauge counts it until this is dropped.
#[derive(Debug)]
#[must_use = "the gauge goes down when this is dropped"]
pub struct Presence(IntGauge, i64);

impl Presence {
    fn of(gauge: &IntGauge) -> Self {
        Self::several(gauge, 1)
    }

    fn several(gauge: &IntGauge, number: i64) -> Self {
        gauge.add(number);
        Self(gauge.clone(), number)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.sub(self.1);
    }
}

/// Records what a store operation took when it is dropped.
#[derive(Debug)]
#[must_use = "the time is taken when this is dropped"]
pub struct StoreTimer {
    seconds: Histogram,
    began: Instant,
}

impl Drop for StoreTimer {
    fn drop(&mut self) {
        self.seconds.observe(self.began.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests;
