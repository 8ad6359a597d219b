//! What Vapi tells a server about its calls: server messages, `{"message": {"type": …}}`.
//!
//! After the types of Vapi's server SDK 3.0. A call is over with a message of type
//! `end-of-call-report`, and before that with a `status-update` whose status is `ended`; both
//! hold `call.id`, which is the session of the call's turns. All others are passed over, and so
//! is everything else in these two: reports hold what was said, and whose number it is.

use serde::Deserialize;

use crate::turn::{Failure, FailureKind, SessionId};

use super::body;

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Told {
    message: Message,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Message {
    r#type: String,
    status: Option<String>,
    call: Option<Call>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Call {
    id: Option<String>,
}

/// The session of the call that is over, if that is what the message says.
///
/// # Errors
/// [`FailureKind::BadRequest`] for what is no server message.
pub fn ended_call(sent: &[u8]) -> Result<Option<SessionId>, Failure> {
    let Told { message } = body::read(sent)?;
    let is_over = match message.r#type.as_str() {
        "end-of-call-report" => true,
        "status-update" => message.status.as_deref() == Some("ended"),
        _ => false,
    };
    let Some(id) = message.call.and_then(|call| call.id).filter(|_| is_over) else {
        return Ok(None);
    };
    let session = id.parse().map_err(|_| {
        Failure::new(FailureKind::BadRequest, "message.call.id names no session")
            .at("message.call.id")
    });
    session.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(body: &str) -> Option<String> {
        ended_call(body.as_bytes()).unwrap().map(|id| id.as_str().to_owned())
    }

    #[test]
    fn a_call_is_over_with_its_report_and_with_its_last_status() {
        let report = r#"{"message":{"timestamp":1,"type":"end-of-call-report",
            "endedReason":"customer-ended-call","call":{"id":"7f1c-1","orgId":"o"},
            "phoneNumber":{"twilioAuthToken":"t"},"artifact":{"transcript":"AI: Hello"}}}"#;
        assert_eq!(ended(report).as_deref(), Some("7f1c-1"));
        let status = |status: &str| {
            let call = r#""call":{"id":"7f1c-1"}"#;
            ended(&format!(
                r#"{{"message":{{"type":"status-update","status":"{status}",{call}}}}}"#
            ))
        };
        assert_eq!(status("ended").as_deref(), Some("7f1c-1"));
        assert_eq!(status("in-progress"), None);
    }

    #[test]
    fn other_messages_and_calls_without_an_id_are_passed_over() {
        for body in [
            r#"{"message":{"type":"conversation-update","call":{"id":"7f1c-1"},"messages":[]}}"#,
            r#"{"message":{"type":"end-of-call-report"}}"#,
            r#"{"message":{"type":"end-of-call-report","call":{}}}"#,
        ] {
            assert_eq!(ended(body), None, "{body}");
        }
    }

    #[test]
    fn what_is_no_server_message_is_refused_and_not_repeated() {
        for body in ["", "[]", "{}", r#"{"message":"secret"}"#, r#"{"message":{"type":7}}"#] {
            let failure = ended_call(body.as_bytes()).unwrap_err();
            assert_eq!(failure.kind, FailureKind::BadRequest);
            assert!(!failure.message.contains("secret"), "{failure}");
        }
    }
}
