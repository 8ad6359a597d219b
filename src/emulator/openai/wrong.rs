//! How an OpenAI upstream says no.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use crate::emulator::refusal::Refusal;
use crate::emulator::routes::request_id;

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The HTTP status.
    pub(super) status: StatusCode,
    /// `error.type`
    kind: &'static str,
    /// `error.code`
    code: Option<&'static str>,
    /// `error.param`
    param: Option<String>,
    /// `error.message`
    pub(super) message: String,
}

impl Wrong {
    /// The request makes no sense at this place.
    pub(super) fn at(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "invalid_request_error",
            code: None,
            param: Some(param.into()),
            message: message.into(),
        }
    }

    /// The same with a code.
    pub(super) fn coded(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// There is no such model.
    pub(super) fn no_model(name: &str) -> Self {
        let message = format!("The model `{name}` does not exist or you do not have access to it.");
        let status = StatusCode::NOT_FOUND;
        Self { status, ..Self::at("model", message).coded("model_not_found") }
    }

    /// The key is missing or another one.
    pub(super) fn no_key() -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            kind: "invalid_request_error",
            code: Some("invalid_api_key"),
            param: None,
            message: "Incorrect API key provided.".to_owned(),
        }
    }

    /// The HTTP answer.
    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        let body = json!({"error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
        }});
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("x-request-id", request_id());
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A fault's refusal in OpenAI's words.
impl From<Refusal> for Wrong {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.message.into_owned();
        let (status, kind, code) = match refusal.kind {
            Some("ThrottlingException" | "ModelNotReadyException") => {
                (StatusCode::TOO_MANY_REQUESTS, "requests", Some("rate_limit_exceeded"))
            }
            Some("ServiceQuotaExceededException") => {
                (StatusCode::TOO_MANY_REQUESTS, "insufficient_quota", Some("insufficient_quota"))
            }
            Some("ValidationException") if message.starts_with("Input is too long") => {
                return Self::at("messages", message).coded("context_length_exceeded");
            }
            Some("ResourceNotFoundException") => {
                (StatusCode::NOT_FOUND, "invalid_request_error", Some("model_not_found"))
            }
            Some("ExpiredTokenException") => {
                (StatusCode::UNAUTHORIZED, "invalid_request_error", Some("invalid_api_key"))
            }
            _ if refusal.status.is_client_error() => {
                (refusal.status, "invalid_request_error", None)
            }
            _ => (refusal.status, "server_error", None),
        };
        Self { status, kind, code, param: None, message }
    }
}
