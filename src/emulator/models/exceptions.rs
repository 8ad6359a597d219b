//! The refusals of `bedrock-runtime`, where they are not those of agents.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::emulator::refusal::Refusal;
use crate::emulator::routes::request_id;

/// The exceptions of the service's model, by their names in a stream: status, type and text.
const NAMED: &[(&str, StatusCode, &str, &str)] = &[
    (
        "validationException",
        StatusCode::BAD_REQUEST,
        "ValidationException",
        "The request is not valid: emulated fault.",
    ),
    (
        "throttlingException",
        StatusCode::TOO_MANY_REQUESTS,
        "ThrottlingException",
        "Too many requests, please wait before trying again.",
    ),
    (
        "modelTimeoutException",
        StatusCode::REQUEST_TIMEOUT,
        "ModelTimeoutException",
        "The model took too long to answer.",
    ),
    (
        "modelErrorException",
        StatusCode::FAILED_DEPENDENCY,
        "ModelErrorException",
        "The model failed.",
    ),
    (
        "modelStreamErrorException",
        StatusCode::FAILED_DEPENDENCY,
        "ModelStreamErrorException",
        "The model failed while it answered.",
    ),
    (
        "serviceUnavailableException",
        StatusCode::SERVICE_UNAVAILABLE,
        "ServiceUnavailableException",
        "The service is not available.",
    ),
];

/// The refusal of this name; an internal error where there is none.
pub(super) fn named(name: &str) -> Refusal {
    let found = NAMED.iter().find(|(known, ..)| *known == name);
    let (status, kind, message) = found.map_or(
        (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerException", "The service failed."),
        |(_, status, kind, message)| (*status, *kind, *message),
    );
    Refusal { status, kind: Some(kind), message: message.into() }
}

/// A fault's refusal as models tell it: some have other words, and some another status.
pub(super) fn of_models(refusal: &Refusal) -> Refusal {
    let (status, message) = match refusal.kind {
        Some("AccessDeniedException") if !refusal.message.contains("Stream") => (
            StatusCode::FORBIDDEN,
            "You don't have access to the model with the specified model ID.",
        ),
        Some("ResourceNotFoundException") => (
            StatusCode::NOT_FOUND,
            "This model version has reached the end of its life. Please refer to the AWS \
             documentation for more details.",
        ),
        Some("ModelNotReadyException") => (
            StatusCode::TOO_MANY_REQUESTS,
            "The model is not ready for inference. Wait and try your model invocation again.",
        ),
        _ => return refusal.clone(),
    };
    Refusal { status, kind: refusal.kind, message: message.into() }
}

/// The caller may not call models.
pub(super) fn denied() -> Refusal {
    Refusal {
        status: StatusCode::FORBIDDEN,
        kind: Some("AccessDeniedException"),
        message: "The caller is not authorized to perform: bedrock:InvokeModel.".into(),
    }
}

/// The HTTP answer. Two exceptions tell more than a message.
pub(super) fn response(refusal: &Refusal) -> Response<Full<Bytes>> {
    let response = refusal.response(request_id());
    let more = match refusal.kind {
        Some("ModelErrorException") => {
            json!({"originalStatusCode": 500, "resourceName": "outcrop-emulator"})
        }
        Some("ModelStreamErrorException") => {
            json!({"originalStatusCode": 500, "originalMessage": "emulated"})
        }
        _ => return response,
    };
    let mut body = json!({"message": refusal.message});
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    response.map(|_| Full::new(Bytes::from(body.to_string())))
}
