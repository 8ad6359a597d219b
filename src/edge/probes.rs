//! What operators and their machines ask: is it well, is it ready, what is it, how does it go?

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderValue;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use warp::reply::Response;

use crate::metrics;
use crate::session::Unready;
use crate::turn::Failure;

use super::surfaces::SURFACES;
use super::{Edge, reply};

/// An OpenAPI 3.1 document of the paths in [`routes`](super::routes).
pub(super) const OPENAPI: &str = include_str!("openapi.json");

impl Edge {
    /// `GET /health`: what was last learnt; never asks AWS, so never is slow.
    pub(super) fn health(&self) -> Response {
        let known = self.aws.health();
        let error = known.as_ref().and_then(|health| health.error);
        let client = match (&known, error) {
            (None, _) => "initializing",
            (Some(_), None) => "initialized",
            (Some(_), Some(_)) => "not initialized",
        };
        let mut details = Map::new();
        details.insert("bedrock_client".to_owned(), client.into());
        if self.config.server.health_account {
            details.insert("aws_region".to_owned(), self.aws.region().into());
            let account = known.as_ref().and_then(|health| health.account.clone());
            details.insert("aws_account".to_owned(), account.map_or(Value::Null, Value::from));
        }
        if let Some(error) = error {
            details.insert("error".to_owned(), error.into());
        }
        let (status, word) = match error {
            None => (StatusCode::OK, "healthy"),
            Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
        };
        let body = json!({
            "status": word,
            "service": "outcrop",
            "version": env!("CARGO_PKG_VERSION"),
            "timestamp": timestamp(),
            "details": details,
        });
        reply::json(status, &body)
    }

    /// `GET /readyz`: whether new turns are taken, and what they bring can be kept.
    pub(super) fn ready(&self) -> Response {
        let body = match self.sessions.unready() {
            None => return reply::json(StatusCode::OK, &json!({ "status": "ready" })),
            Some(Unready::Draining) => json!({ "status": "draining" }),
            Some(Unready::StoreFails) => json!({
                "status": "store_unavailable",
                "reason": "the session store cannot be written to; the log says why",
            }),
            Some(Unready::StoreGone) => json!({
                "status": "store_unavailable",
                "reason": "the session store has stopped; restart the broker",
            }),
        };
        reply::json(StatusCode::SERVICE_UNAVAILABLE, &body)
    }

    /// `GET /metrics`, in Prometheus' text format.
    pub(super) async fn metrics_page(&self) -> Result<Response, Failure> {
        let metrics = Arc::clone(&self.metrics);
        // Rendering reads /proc and must not hold up a stream.
        let page = tokio::task::spawn_blocking(move || metrics.render()).await;
        let page = page.map_err(|_| Failure::internal())?;
        let text = HeaderValue::from_static(metrics::CONTENT_TYPE);
        Ok(reply::bytes(StatusCode::OK, text, Bytes::from(page)))
    }
}

/// `GET /livez`: the process answers.
pub(super) fn live() -> Response {
    reply::json(StatusCode::OK, &json!({ "status": "alive" }))
}

/// `GET /openapi.json`: every path with its methods, for programs that make clients of it.
pub(super) fn openapi() -> Response {
    let json = HeaderValue::from_static("application/json");
    reply::bytes(StatusCode::OK, json, Bytes::from_static(OPENAPI.as_bytes()))
}

/// `GET /`: what this is.
pub(super) fn info() -> Response {
    let endpoints = SURFACES.iter().map(|surface| surface.endpoint.name);
    let body = json!({
        "service": "outcrop",
        "version": env!("CARGO_PKG_VERSION"),
        "description": env!("CARGO_PKG_DESCRIPTION"),
        "endpoints": {
            "chat_completions": "POST /v1/chat/completions",
            "voice_chat_completions": "POST /api/chat/completions",
            "agent_stream": "POST /api/agent/stream",
            "models": "GET /v1/models",
            "sessions": "GET, POST /v1/sessions",
            "session": "GET, POST, DELETE /v1/sessions/{id}",
            "interrupt": "POST /v1/sessions/{id}/interrupt",
            "move": "POST /v1/sessions/{id}/move",
            "fork": "POST /v1/sessions/{id}/fork",
            "rewind": "POST /v1/sessions/{id}/rewind",
            "messages": "POST /v1/sessions/{id}/messages",
            "events": "GET /v1/sessions/{id}/events",
            "files": "GET /v1/files",
            "file": "GET, DELETE /v1/files/{id}",
            "file_content": "GET /v1/files/{id}/content",
            "health": "GET /health",
            "live": "GET /livez",
            "ready": "GET /readyz",
            "metrics": "GET /metrics",
            "openapi": "GET /openapi.json",
        },
        "dialects": endpoints.map(|name| format!("POST {name}")).collect::<Vec<_>>(),
    });
    reply::json(StatusCode::OK, &body)
}

/// Now, to the millisecond, in UTC.
fn timestamp() -> String {
    let now = OffsetDateTime::from(SystemTime::now());
    let whole = now.replace_millisecond(now.millisecond()).unwrap_or(now);
    whole.format(&Rfc3339).unwrap_or_default()
}
