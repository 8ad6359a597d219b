//! What was found, for people and for scripts.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::say;
use crate::cli::terminal::{Paint, harmless, table};

use super::chunks::{calls, finish_reason, order, usage};
use super::exchange::{Body, Exchange};
use super::{Finding, Side, Weight};

/// Prints the servers side by side, then the findings.
pub(super) fn text(sides: &[Side], found: &[Finding], paint: Paint) {
    for side in sides {
        let named = format!("{}  {}  model {}", side.label, side.name, side.model);
        say(&paint.bold(harmless(&named)));
    }
    let Some(first) = sides.first() else { return };
    for (place, exchange) in first.exchanges.iter().enumerate() {
        say(&format_args!("\n{}", paint.bold(exchange.request)));
        let columns = sides.iter().filter_map(|side| side.exchanges.get(place));
        let columns: Vec<_> = columns.map(rows).collect();
        let names = columns.first().into_iter().flatten().map(|(name, _)| *name);
        let line = |(at, name): (usize, &str)| {
            let cells = columns.iter().filter_map(|column| column.get(at));
            let cells = cells.map(|(_, cell)| harmless(cell));
            std::iter::once(format!("  {name}")).chain(cells).collect::<Vec<_>>()
        };
        let lines: Vec<Vec<String>> = names.enumerate().map(line).collect();
        table(&lines).iter().for_each(|line| say(line));
    }
    say(&"");
    if found.is_empty() {
        return say(&paint.good(match sides.len() {
            1 => "nothing that a client could notice",
            _ => "no difference that a client could notice",
        }));
    }
    findings(found, paint);
}

/// Prints the findings, a line each.
pub(super) fn findings(found: &[Finding], paint: Paint) {
    for finding in found {
        let Finding { server, request, rule, message, .. } = finding;
        let line = harmless(&format!("{server}, {request}: {message} [{rule}]"));
        say(&match finding.weight {
            Weight::Noticed => paint.bad(format_args!("✗ {line}")),
            Weight::Note => paint.odd(format_args!("· {line}")),
        });
    }
}

/// Prints all of it as one document.
pub(super) fn json(sides: &[Side], found: &[Finding]) {
    let side = |side: &Side| {
        let exchanges: Vec<Value> = side.exchanges.iter().map(written).collect();
        json!({
            "label": side.label, "server": side.name, "model": side.model, "requests": exchanges,
        })
    };
    let is_noticed = found.iter().any(|finding| finding.weight == Weight::Noticed);
    say(&json!({
        "servers": sides.iter().map(side).collect::<Vec<_>>(),
        "findings": found.iter().map(Finding::written).collect::<Vec<_>>(),
        "noticed": is_noticed,
    }));
}

fn written(exchange: &Exchange) -> Value {
    let order: Vec<Value> = order(exchange)
        .into_iter()
        .map(|(kind, count)| json!({ "kind": kind, "count": count }))
        .collect();
    let times = exchange.times;
    json!({
        "request": exchange.request,
        "status": exchange.status,
        "content_type": exchange.header("content-type"),
        "order": order,
        "finish_reason": finish_reason(exchange),
        "usage": usage(exchange),
        "tool_calls": calls(exchange).len(),
        "head_ms": milliseconds(times.head),
        "first_token_ms": times.first.map(milliseconds),
        "end_ms": milliseconds(times.end),
    })
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}

/// What is shown of an exchange: names and what there is.
fn rows(exchange: &Exchange) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("status", exchange.status.to_string()),
        ("content type", or_none(exchange.header("content-type"))),
    ];
    match &exchange.body {
        Body::Stream(_) => {
            let order = order(exchange).into_iter().map(|(kind, count)| match count {
                1 => kind.to_owned(),
                _ => format!("{kind}×{count}"),
            });
            rows.push(("order", order.collect::<Vec<_>>().join(" ")));
        }
        Body::Whole(_) => rows.push(("body", "one document".to_owned())),
        Body::Other(_) => rows.push(("body", "neither JSON nor a stream".to_owned())),
    }
    rows.push(("finish_reason", or_none(finish_reason(exchange).unwrap_or_default())));
    let usage = usage(exchange)
        .map(|usage| format!("{} in, {} out", usage["prompt_tokens"], usage["completion_tokens"]));
    rows.push(("usage", or_none(usage.as_deref().unwrap_or_default())));
    if exchange.has_tools() {
        let names = calls(exchange).into_iter().filter_map(|call| call.name);
        rows.push(("calls", or_none(&names.collect::<Vec<_>>().join(", "))));
    }
    let shown = |time: Duration| format!("{:.1} ms", milliseconds(time));
    rows.push(("head", shown(exchange.times.head)));
    if exchange.is_streamed() {
        let first = exchange.times.first.map(shown);
        rows.push(("first token", or_none(first.as_deref().unwrap_or_default())));
    }
    rows.push(("end", shown(exchange.times.end)));
    rows
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "none".to_owned() } else { text.to_owned() }
}
