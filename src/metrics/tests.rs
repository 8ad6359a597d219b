use super::*;
use crate::turn::Usage;

const BACKEND: &str = "bedrock-agent";

/// The value of the one sample that begins with `series`, labels and all.
fn sample(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.render();
    let line = text
        .lines()
        .find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn samples_of(text: &str, family: &str) -> usize {
    text.lines().filter(|line| line.starts_with(family)).count()
}

#[test]
fn a_turn_leaves_its_facts_under_its_model_and_backend() {
    let metrics = Metrics::new();
    let turn = metrics.turn("loan", BACKEND);
    turn.first_token(Duration::from_micros(900));
    turn.ended(Outcome::Ok, Duration::from_secs(3));
    let usage = Usage { input_tokens: 7, output_tokens: 5, ..Usage::default() };
    turn.tokens(&usage);

    let pair = r#"backend="bedrock-agent",model="loan""#;
    let first = format!(r#"outcrop_turn_first_token_seconds_bucket{{{pair},le="0.001"}}"#);
    assert_eq!(sample(&metrics, &first), Some(1.0));
    let ended = format!(r#"outcrop_turns_total{{{pair},outcome="ok"}}"#);
    assert_eq!(sample(&metrics, &ended), Some(1.0));
    let took = format!(r#"outcrop_turn_seconds_sum{{{pair},outcome="ok"}}"#);
    assert_eq!(sample(&metrics, &took), Some(3.0));
    let input = r#"outcrop_tokens_total{direction="input",model="loan"}"#;
    assert_eq!(sample(&metrics, input), Some(7.0));
    let output = r#"outcrop_tokens_total{direction="output",model="loan"}"#;
    assert_eq!(sample(&metrics, output), Some(5.0));
}

#[test]
fn what_can_go_wrong_with_a_backend_starts_at_zero() {
    let metrics = Metrics::new();
    let _turn = metrics.turn("loan", BACKEND);
    for kind in ["upstream_throttled", "upstream_timeout", "upstream_unavailable"] {
        let series =
            format!(r#"outcrop_upstream_errors_total{{backend="bedrock-agent",kind="{kind}"}}"#);
        assert_eq!(sample(&metrics, &series), Some(0.0), "{series}");
    }
    let failed = r#"outcrop_turns_total{backend="bedrock-agent",model="loan",outcome="failed"}"#;
    assert_eq!(sample(&metrics, failed), Some(0.0));
    let limited = r#"outcrop_rate_limited_total{limit="key_requests"}"#;
    assert_eq!(sample(&metrics, limited), Some(0.0));
}

#[test]
fn the_same_model_and_backend_share_one_set_of_handles() {
    let metrics = Metrics::new();
    let first = metrics.turn("loan", BACKEND);
    assert!(Arc::ptr_eq(&first, &metrics.turn("loan", BACKEND)));
    assert!(!Arc::ptr_eq(&first, &metrics.turn("loan", "openai")));
}

#[test]
fn more_models_than_anyone_configures_share_one_label() {
    let metrics = Metrics::new();
    for number in 0..MAX_MODELS + 20 {
        metrics.session_started(&format!("model-{number}"));
    }
    let text = metrics.render();
    assert_eq!(samples_of(&text, "outcrop_sessions_started_total{"), MAX_MODELS + 1);
    let other = r#"outcrop_sessions_started_total{model="other"}"#;
    assert_eq!(sample(&metrics, other), Some(20.0));
}

#[test]
fn a_gauge_goes_down_with_its_presence_even_in_a_panic() {
    let metrics = Metrics::new();
    let held = metrics.session_resident();
    let second = metrics.session_resident();
    let actor = std::thread::spawn(move || {
        let _second = second;
        panic!("an actor dies");
    });
    assert!(actor.join().is_err());
    assert_eq!(sample(&metrics, "outcrop_sessions_resident"), Some(1.0));
    drop(held);
    assert_eq!(sample(&metrics, "outcrop_sessions_resident"), Some(0.0));
}

#[test]
fn every_histogram_reaches_from_a_millisecond_to_160_seconds() {
    let metrics = Metrics::new();
    let _turn = metrics.turn("loan", BACKEND);
    metrics.http_request("/v1/models", 200, Duration::from_millis(1));
    let text = metrics.render();
    let histograms: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram"))
        .collect();
    assert_eq!(histograms.len(), 7);
    for family in histograms {
        let bucket = format!("{family}_bucket");
        let has = |le: &str| {
            let end = format!(r#"le="{le}"}}"#);
            text.lines().any(|line| line.starts_with(&bucket) && line.contains(&end))
        };
        assert!(has("0.001") && has("160"), "{family}");
    }
    assert!(text.contains(
        r#"outcrop_turn_overhead_seconds_bucket{backend="bedrock-agent",model="loan",le="0.00005"}"#
    ));
}

#[test]
fn log_lines_dropped_are_read_where_they_are_counted() {
    let metrics = Metrics::new();
    assert_eq!(sample(&metrics, "outcrop_log_lines_dropped_total"), Some(0.0));
    metrics.log_lines_dropped_by(|| 3);
    assert_eq!(sample(&metrics, "outcrop_log_lines_dropped_total"), Some(3.0));
    assert_eq!(sample(&metrics, "outcrop_log_lines_dropped_total"), Some(3.0));
}

#[test]
fn requests_are_counted_by_route_and_status() {
    let metrics = Metrics::new();
    metrics.http_request("/v1/sessions/{id}", 404, Duration::from_millis(2));
    let series = r#"outcrop_http_requests_total{route="/v1/sessions/{id}",status="404"}"#;
    assert_eq!(sample(&metrics, series), Some(1.0));
}

#[test]
fn a_model_name_cannot_break_the_format() {
    let metrics = Metrics::new();
    metrics.session_started("a\"b\\c");
    assert!(metrics.render().contains(r#"{model="a\"b\\c"} 1"#));
}

#[test]
fn store_operations_are_timed_when_they_end() {
    let metrics = Metrics::new();
    let timer = metrics.store_op(StoreOp::Save);
    let count = r#"outcrop_store_seconds_count{op="save"}"#;
    assert_eq!(sample(&metrics, count), Some(0.0));
    drop(timer);
    assert_eq!(sample(&metrics, count), Some(1.0));
}

#[test]
fn labels_stand_in_the_order_in_which_they_index() {
    for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
        assert_eq!(outcome as usize, place);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_is_watched() {
    assert!(sample(&Metrics::new(), "process_resident_memory_bytes").is_some_and(|b| b > 0.0));
}

#[test]
fn connections_are_read_where_they_are_counted() {
    let metrics = Metrics::new();
    metrics.connections_open_by(|| 2);
    assert_eq!(sample(&metrics, "outcrop_connections_open"), Some(2.0));
}
