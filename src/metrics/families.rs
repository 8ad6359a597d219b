//! Every series by its name, its labels and what it says.
//!
//! The help texts are what operators read at `/metrics`; `docs/metrics.md` says the same at
//! length, and `tests/dashboard.rs` keeps the two together.

use prometheus::core::Collector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Before every name.
const PREFIX: &str = "outcrop";

/// Seconds; from a fast emulator (1 ms) to a long agent run (160 s).
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0,
    160.0,
];

/// Seconds; for what takes well under a millisecond when all is well (0.05 ms) and must still be
/// told apart when nothing is (160 s).
const FINE_SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5,
    10.0, 40.0, 160.0,
];

/// What the edge sees.
#[derive(Debug)]
pub(super) struct HttpFamilies {
    pub(super) requests: IntCounterVec,
    pub(super) request_seconds: HistogramVec,
    pub(super) connections_open: IntGauge,
}

impl HttpFamilies {
    pub(super) fn on(shelf: &Shelf<'_>) -> Self {
        Self {
            requests: shelf.counters(
                "http_requests_total",
                "HTTP requests answered, by route template and status.",
                &["route", "status"],
            ),
            request_seconds: shelf.histograms(
                "http_request_seconds",
                "From a request's head to the head of its reply; streams go on after that.",
                &["route"],
                SECONDS,
            ),
            connections_open: shelf.gauge("connections_open", "Client connections open now."),
        }
    }
}

/// What a turn leaves behind, by model and backend.
#[derive(Debug)]
pub(super) struct TurnFamilies {
    pub(super) ended: IntCounterVec,
    pub(super) first_token_seconds: HistogramVec,
    pub(super) overhead_seconds: HistogramVec,
    pub(super) inter_token_seconds: HistogramVec,
    pub(super) seconds: HistogramVec,
    pub(super) queue_wait_seconds: HistogramVec,
    pub(super) in_flight: IntGaugeVec,
    pub(super) breaker_open: IntGaugeVec,
    pub(super) tokens: IntCounterVec,
}

impl TurnFamilies {
    pub(super) fn on(shelf: &Shelf<'_>) -> Self {
        let of_turn = &["model", "backend"];
        Self {
            ended: shelf.counters(
                "turns_total",
                "Turns ended, by how they came out.",
                &["model", "backend", "outcome"],
            ),
            first_token_seconds: shelf.histograms(
                "turn_first_token_seconds",
                "From a request received to its first text byte handed to the socket.",
                of_turn,
                SECONDS,
            ),
            overhead_seconds: shelf.histograms(
                "turn_overhead_seconds",
                "The broker's own share of the time to the first token.",
                of_turn,
                FINE_SECONDS,
            ),
            inter_token_seconds: shelf.histograms(
                "turn_inter_token_seconds",
                "Between two pieces of text of one turn.",
                of_turn,
                SECONDS,
            ),
            seconds: shelf.histograms(
                "turn_seconds",
                "From the start of a turn to its end.",
                &["model", "backend", "outcome"],
                SECONDS,
            ),
            queue_wait_seconds: shelf.histograms(
                "turn_queue_wait_seconds",
                "How long turns waited for the one before them in their session.",
                &["model"],
                SECONDS,
            ),
            breaker_open: shelf.gauges(
                "breaker_open",
                "Whether the model is passed over, since its upstream failed again and again.",
                &["model"],
            ),
            in_flight: shelf.gauges("turns_in_flight", "Turns running now.", &["backend"]),
            tokens: shelf.counters(
                "tokens_total",
                "Tokens as the upstream told them or, failing that, as counted here.",
                &["model", "direction"],
            ),
        }
    }
}

/// What sessions do, turns that wait or run alone included.
#[derive(Debug)]
pub(super) struct SessionFamilies {
    pub(super) resident: IntGauge,
    pub(super) started: IntCounterVec,
    pub(super) ended: IntCounterVec,
    pub(super) revived: IntCounter,
    pub(super) rehydrated: IntCounter,
    pub(super) forked: IntCounter,
    pub(super) tool_calls_pending: IntGauge,
    pub(super) turns_queued: IntGauge,
    pub(super) turns_detached: IntGauge,
    pub(super) turns_interrupted: IntCounterVec,
    pub(super) stream_resumes: IntCounter,
}

impl SessionFamilies {
    pub(super) fn on(shelf: &Shelf<'_>) -> Self {
        Self {
            resident: shelf.gauge("sessions_resident", "Sessions held in memory by an actor now."),
            started: shelf.counters("sessions_started_total", "Conversations begun.", &["model"]),
            ended: shelf.counters(
                "sessions_ended_total",
                "Conversations that are no more, by why.",
                &["reason"],
            ),
            tool_calls_pending: shelf.gauge(
                "tool_calls_pending",
                "Tool calls that sessions in memory wait for the results of.",
            ),
            revived: shelf
                .counter("sessions_revived_total", "Sessions brought back from the store."),
            rehydrated: shelf.counter(
                "sessions_rehydrated_total",
                "Sessions whose upstream had forgotten them and was given their history again.",
            ),
            forked: shelf.counter(
                "sessions_forked_total",
                "Sessions branched off, by request or because a client edited its transcript.",
            ),
            turns_queued: shelf.gauge("turns_queued", "Turns waiting in their sessions now."),
            turns_detached: shelf.gauge("turns_detached", "Turns running now without a reader."),
            turns_interrupted: shelf.counters(
                "turns_interrupted_total",
                "Turns stopped before their end, by who or what stopped them.",
                &["reason"],
            ),
            stream_resumes: shelf
                .counter("stream_resumes_total", "Streams that a client came back to."),
        }
    }
}

/// What the broker depends on, and what it refuses.
#[derive(Debug)]
pub(super) struct BrokerFamilies {
    pub(super) rate_limited: IntCounterVec,
    pub(super) upstream_requests: IntCounterVec,
    pub(super) upstream_errors: IntCounterVec,
    pub(super) upstream_retries: IntCounterVec,
    pub(super) store_seconds: HistogramVec,
    pub(super) build_info: IntGaugeVec,
}

impl BrokerFamilies {
    pub(super) fn on(shelf: &Shelf<'_>) -> Self {
        Self {
            rate_limited: shelf.counters(
                "rate_limited_total",
                "Requests turned away at a limit of the broker.",
                &["limit"],
            ),
            upstream_requests: shelf.counters(
                "upstream_requests_total",
                "Calls to upstreams, retries included, by how they came out.",
                &["backend", "outcome"],
            ),
            upstream_errors: shelf.counters(
                "upstream_errors_total",
                "Failed calls to upstreams, by kind of failure.",
                &["backend", "kind"],
            ),
            upstream_retries: shelf.counters(
                "upstream_retries_total",
                "Calls to upstreams that were repeated.",
                &["backend"],
            ),
            store_seconds: shelf.histograms(
                "store_seconds",
                "What the session store took, by operation.",
                &["op"],
                FINE_SECONDS,
            ),
            build_info: shelf.gauges(
                "build_info",
                "Always 1; the version is in the label.",
                &["version"],
            ),
        }
    }
}

/// Makes families and puts them into the registry.
///
/// The names and labels are the constants above, so that a bad or doubled one shows in every run
/// and every test, and in no operator's hands.
pub(super) struct Shelf<'a>(pub(super) &'a Registry);

/// Why making a family cannot fail.
const CONSTANT: &str = "names and labels are constants and every test makes them all";

impl Shelf<'_> {
    fn put<C: Collector + Clone + 'static>(&self, family: prometheus::Result<C>) -> C {
        let family = family.expect(CONSTANT);
        self.0.register(Box::new(family.clone())).expect(CONSTANT);
        family
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.put(IntCounter::with_opts(opts(name, help)))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.put(IntCounterVec::new(opts(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.put(IntGauge::with_opts(opts(name, help)))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.put(IntGaugeVec::new(opts(name, help), labels))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let opts = HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec());
        self.put(HistogramVec::new(opts, labels))
    }
}

/// The name with the prefix, and the help text.
fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(PREFIX)
}
