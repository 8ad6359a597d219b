//! Log lines to standard error, written by a thread of their own so that nobody waits for them.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};
use crate::metrics::Metrics;

/// Lines that may wait to be written; further ones are dropped and counted.
const WAITING_LINES: usize = 10_000;

/// Libraries speak up from this level on, whatever ours is: their finer lines may quote bodies.
const LIBRARIES: &str = "ractor=warn,hyper=warn,hyper_util=warn,h2=warn,rustls=warn,tower=warn,\
                         aws_config=warn,aws_config::imds=error,aws_runtime=warn,aws_smithy_runtime=warn,\
                         aws_smithy_runtime_api=warn,aws_smithy_http_client=warn,aws_sigv4=warn,\
                         aws_credential_types=warn,aws_sdk_sts=warn,aws_sdk_ssooidc=warn,aws_sdk_bedrockagentruntime=warn";

/// Begins to log; the guard writes what waits when it is dropped.
///
/// # Errors
/// When the level is neither a level nor a filter.
pub(super) fn start(log: &Log, metrics: &Arc<Metrics>) -> Result<WorkerGuard, String> {
    let filter = filter(&log.level)?;
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .finish(io::stderr());
    let dropped = writer.error_counter();
    metrics.log_lines_dropped_by(move || dropped.dropped_lines() as u64);
    let is_json = match log.format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let started = if is_json {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    } else {
        builder.with_ansi(io::stderr().is_terminal()).with_target(false).try_init()
    };
    started.map_err(|error| format!("logging could not be started: {error}"))?;
    Ok(guard)
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    let is_level = level.parse::<tracing::Level>().is_ok();
    let directives = if is_level { format!("{level},{LIBRARIES}") } else { level.to_owned() };
    EnvFilter::builder()
        .parse(directives)
        .map_err(|error| format!("log.level {level:?} is neither a level nor a filter: {error}"))
}
