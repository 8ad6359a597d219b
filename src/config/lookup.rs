//! What others ask of a configuration.

use super::problem::nearest;
use super::{Config, Loaded, Model, Place, Problem};
use crate::turn::ModelName;

/// What a bare Bedrock model id may begin with beside its vendor, which is letters only:
/// inference profiles are named for their region.
const PROFILE_REGION_WITH_DASH: &str = "us-gov";

impl Config {
    /// The configured model of this name.
    #[must_use]
    pub fn model(&self, name: &ModelName) -> Option<&Model> {
        self.models.iter().find(|model| model.name == *name)
    }

    /// Whether direct forms of model names may be asked for.
    #[must_use]
    pub fn allows_direct(&self) -> bool {
        self.routing.allow_direct.unwrap_or(self.models.is_empty())
    }

    /// Whether a direct form may turn out to be an agent or a model that is discovered.
    fn may_be_found(&self, name: &str) -> bool {
        match name.split_once('/') {
            Some(("bedrock", rest)) if rest.starts_with("agent/") => self.discovery.agents,
            Some(("bedrock", rest)) => self.discovery.models && !rest.starts_with("agentcore/"),
            Some(("codewhisperer", _)) => self.discovery.models,
            // A bare id; of ARNs none are discovered.
            None => self.discovery.models && !name.starts_with("arn:"),
            Some(_) => false,
        }
    }

    /// Whether this model can be asked for; the error says why not, to stand after a setting.
    pub(super) fn check_model(&self, name: &ModelName) -> Result<(), String> {
        if self.model(name).is_some() {
            return Ok(());
        }
        if !is_direct_form(name.as_str()) {
            let known = self.models.iter().map(|model| model.name.as_str());
            return Err(match nearest(name.as_str(), known) {
                Some(meant) => format!("names no configured model; did you mean {meant}?"),
                None => format!("names no configured model: {name}"),
            });
        }
        if self.allows_direct() || self.may_be_found(name.as_str()) {
            return Ok(());
        }
        Err(format!("is a direct form, {name}, which routing.allow_direct does not allow"))
    }
}

impl Loaded {
    /// Whether the listener would let everybody in: it is reachable from beyond loopback, no key
    /// is configured, and nobody said that this is wanted. `serve` refuses to start so.
    #[must_use]
    pub fn exposure(&self) -> Option<Problem> {
        let Config { server, keys, .. } = &self.config;
        let is_open = keys.is_empty() && !server.insecure_no_auth;
        if !is_open || server.listen.ip().is_loopback() {
            return None;
        }
        let message = format!(
            "{} is reachable from elsewhere and no key is configured: make one with `outcrop \
             config set key`, or set server.insecure_no_auth",
            server.listen
        );
        let place = self.places.get("server.listen").cloned().unwrap_or(Place::File);
        Some(Problem::new(place, "server.listen", message))
    }
}

/// Whether a name says by itself who answers: `bedrock/…`, `openai/…`, `codewhisperer[/…]`, an
/// ARN, or a bare Bedrock id (`vendor.model`, `region.vendor.model`).
fn is_direct_form(name: &str) -> bool {
    let has_prefix = ["bedrock/", "openai/", "codewhisperer/", "arn:"]
        .iter()
        .any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()));
    let is_bedrock_id = name.split_once('.').is_some_and(|(first, rest)| {
        let is_word = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_alphabetic());
        !rest.is_empty() && (is_word || first == PROFILE_REGION_WITH_DASH)
    });
    has_prefix || is_bedrock_id || name == "codewhisperer"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_forms_are_told_from_names() {
        let direct = [
            "bedrock/agent/ABCDEF1234/TSTALIASID",
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            "us-gov.amazon.nova-lite-v1:0",
            "amazon.titan-embed-text-v2:0",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/x",
            "openai/llama3",
            "codewhisperer",
        ];
        for name in direct {
            assert!(is_direct_form(name), "{name}");
        }
        for name in ["loan-advisor", "gpt-4.1", "bedrock/", "bedrock-agent", ".x", "x."] {
            assert!(!is_direct_form(name), "{name}");
        }
    }

    #[test]
    fn a_listener_open_to_all_is_a_problem_unless_it_is_wanted() {
        let mut loaded = Loaded::default();
        assert_eq!(loaded.exposure(), None);
        loaded.config.server.listen = "0.0.0.0:8000".parse().unwrap();
        assert!(loaded.exposure().is_some());
        loaded.config.server.insecure_no_auth = true;
        assert_eq!(loaded.exposure(), None);
    }
}
