//! Which resource of AgentCore an ARN names.

use std::str::FromStr;

/// What answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    /// A container of the operator's own (`InvokeAgentRuntime`).
    Runtime,
    /// An agent that the service itself runs (`InvokeHarness`).
    Harness,
}

/// `arn:PARTITION:bedrock-agentcore:REGION:ACCOUNT:runtime/ID` or `…:harness/ID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arn {
    pub(super) resource: Resource,
    /// Where the resource lives: a call is signed for this region.
    pub(super) region: String,
    pub(super) text: String,
}

impl FromStr for Arn {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const SHAPE: &str = "an ARN looks like \
            arn:aws:bedrock-agentcore:REGION:ACCOUNT:runtime/ID, or :harness/ID";
        let parts: Vec<_> = text.splitn(6, ':').collect();
        let ["arn", partition, "bedrock-agentcore", region, account, resource] = parts[..] else {
            return Err(SHAPE);
        };
        let (kind, id) = resource.split_once('/').ok_or(SHAPE)?;
        let resource = match kind {
            "runtime" => Resource::Runtime,
            "harness" => Resource::Harness,
            _ => return Err(SHAPE),
        };
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        let fits = is_word(partition) && is_word(region) && is_account && is_word(id);
        if !fits {
            return Err(SHAPE);
        }
        Ok(Self { resource, region: region.to_owned(), text: text.to_owned() })
    }
}

/// Nothing that would be another part of the ARN, or of the path that it is put into.
fn is_word(part: &str) -> bool {
    let allows = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=128).contains(&part.len()) && part.bytes().all(allows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_type_says_what_answers() {
        let runtime = "arn:aws:bedrock-agentcore:eu-central-1:123456789012:runtime/bank-Ab12Cd34Ef";
        let arn: Arn = runtime.parse().unwrap();
        assert_eq!((arn.resource, &*arn.region), (Resource::Runtime, "eu-central-1"));
        let harness = "arn:aws:bedrock-agentcore:us-east-1:123456789012:harness/bank-Ab12Cd34Ef";
        assert_eq!(harness.parse::<Arn>().unwrap().resource, Resource::Harness);
    }

    #[test]
    fn other_arns_are_none_of_ours() {
        for text in [
            "",
            "bank-Ab12Cd34Ef",
            "arn:aws:bedrock:us-east-1:123456789012:runtime/x",
            "arn:aws:bedrock-agentcore:us-east-1:12:runtime/x",
            "arn:aws:bedrock-agentcore:us-east-1:123456789012:memory/x",
            "arn:aws:bedrock-agentcore:us-east-1:123456789012:runtime/",
            "arn:aws:bedrock-agentcore:us-east-1:123456789012:runtime/x/DEFAULT",
        ] {
            assert!(text.parse::<Arn>().is_err(), "{text}");
        }
    }
}
