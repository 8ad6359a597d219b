//! What the errors of all AWS services have in common: how they are told apart where the SDK's
//! types do not, and what may be repeated of them.

use std::time::Duration;

use crate::turn::{Failure, FailureKind};

/// Whether no request went out for want of credentials. The SDK tells this by the text of its
/// own errors alone.
pub(super) fn is_credentials(detail: &str) -> bool {
    detail.contains("credential") || detail.contains("Credential") || detail.contains("identity")
}

/// Whether the connection itself failed, so that no request was sent. hyper-util names the step
/// that failed: `(Connect)` is before any request was written. The words of the system
/// ("Connection reset by peer") also come after one was.
pub(super) fn is_connect(detail: &str) -> bool {
    detail.contains("client error (Connect)") || detail.contains("dns error")
}

/// There are no credentials to call AWS with.
pub(super) fn no_credentials() -> Failure {
    Failure::new(
        FailureKind::UpstreamUnavailable,
        "Bedrock client not initialized: the broker has no valid AWS credentials",
    )
    .after(Duration::from_secs(15))
}

/// The first action of a service (`bedrock:`) in a message, which is no secret; ARNs around it
/// are.
pub(super) fn missing_action<'m>(aws_message: &'m str, service: &str) -> Option<&'m str> {
    aws_message.match_indices(service).find_map(|(start, _)| {
        let action = aws_message.get(start..)?;
        let name = action.strip_prefix(service)?;
        let length = name.bytes().take_while(u8::is_ascii_alphanumeric).count();
        let is_action = name.starts_with(|first: char| first.is_ascii_uppercase());
        action.get(..service.len() + length).filter(|_| is_action)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_grant_is_found_among_arns() {
        let said = "arn:aws:bedrock:us-east-1:123456789012:agent/X: no bedrock:InvokeAgent here";
        assert_eq!(missing_action(said, "bedrock:"), Some("bedrock:InvokeAgent"));
        assert_eq!(missing_action("arn:aws:bedrock:us-east-1:1:agent/X", "bedrock:"), None);
    }

    #[test]
    fn only_a_connection_that_failed_sent_nothing() {
        assert!(is_connect("dispatch failure: client error (Connect): refused"));
        assert!(!is_connect("client error (SendRequest): connection reset by peer"));
    }
}
