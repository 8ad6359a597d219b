//! The error body of the OpenAI surfaces, which the others borrow:
//! `{"error":{"message","type","param","code"}}`.
//!
//! All four members are always there, `param` as `null` where no field is at fault: the schema
//! requires them, and the SDKs read `message`, `type` and `code` from an object only.

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use crate::turn::Failure;

use super::json_text;

/// An error body.
#[derive(Debug, Serialize)]
pub(super) struct ErrorBody<'a> {
    error: Members<'a>,
    /// The message once more, for clients of frameworks that look for it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Members<'a> {
    message: &'a str,
    r#type: &'static str,
    param: Option<&'a str>,
    code: &'static str,
}

impl<'a> ErrorBody<'a> {
    /// The body for a failure.
    pub(super) fn new(failure: &'a Failure) -> Self {
        let error = Members {
            message: &failure.message,
            r#type: failure.kind.error_type(),
            param: failure.param.as_deref(),
            code: failure.kind.code(),
        };
        Self { error, detail: None }
    }

    /// The same body with the message as `detail` too.
    pub(super) fn with_detail(failure: &'a Failure) -> Self {
        Self { detail: Some(&failure.message), ..Self::new(failure) }
    }

    /// The body as bytes.
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        json_text::value(self, &mut out);
        out.freeze()
    }
}

/// The error body for a failure.
#[must_use]
pub fn body(failure: &Failure) -> Bytes {
    ErrorBody::new(failure).to_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::FailureKind;

    #[test]
    fn all_four_members_are_always_there() {
        let without = Failure::new(FailureKind::Draining, "the broker is shutting down");
        assert_eq!(
            body(&without),
            r#"{"error":{"message":"the broker is shutting down","type":"server_error","param":null,"code":"draining"}}"#
        );
        let with = Failure::bad_field("n", "n must be 1");
        assert_eq!(
            body(&with),
            r#"{"error":{"message":"n must be 1","type":"invalid_request_error","param":"n","code":"invalid_request"}}"#
        );
    }
}
