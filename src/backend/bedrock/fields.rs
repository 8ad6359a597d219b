//! What becomes of a request's members: what Converse has no word for is left out, or refused
//! where the answer would not mean the same.

use crate::backend::fields::{ANY_OTHER, CACHE_CONTROL, Fields, STRICT, Treatment};

use Treatment::{Ignored, Mapped, Refused};

const NO_BIAS: &str = "models on Bedrock have no logit_bias; leave it out";
const NO_LOGPROBS: &str = "models on Bedrock have no logprobs; leave it out";
const NO_TOP_LOGPROBS: &str = "models on Bedrock have no top_logprobs; leave it out";
const NO_SEARCH: &str = "models on Bedrock have no web_search_options; leave it out";

pub(super) const FIELDS: Fields = &[
    ("messages", Mapped),
    ("tools", Mapped),
    (STRICT, Mapped),
    (CACHE_CONTROL, Mapped),
    ("tool_choice", Mapped),
    ("parallel_tool_calls", Mapped),
    ("max_completion_tokens", Mapped),
    ("max_tokens", Mapped),
    ("temperature", Mapped),
    ("top_p", Mapped),
    ("top_k", Mapped),
    ("stop", Mapped),
    ("seed", Ignored),
    ("frequency_penalty", Ignored),
    ("presence_penalty", Ignored),
    ("response_format", Mapped),
    ("reasoning_effort", Mapped),
    ("thinking", Mapped),
    ("verbosity", Ignored),
    ("service_tier", Mapped),
    ("logit_bias", Refused(NO_BIAS)),
    ("logprobs", Refused(NO_LOGPROBS)),
    ("top_logprobs", Refused(NO_TOP_LOGPROBS)),
    ("prediction", Ignored),
    ("web_search_options", Refused(NO_SEARCH)),
    ("moderation", Ignored),
    ("prompt_cache_key", Ignored),
    ("prompt_cache_options", Ignored),
    ("prompt_cache_retention", Ignored),
    ("store", Ignored),
    ("metadata", Mapped),
    ("user", Ignored),
    ("safety_identifier", Ignored),
    (ANY_OTHER, Ignored),
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::backend::fields::check;
    use crate::turn::{Failure, TurnRequest};

    use super::*;

    fn checked(extra: Value) -> Result<(), Failure> {
        let mut request = TurnRequest::default();
        request.generation.extra = extra.as_object().unwrap().clone();
        check(FIELDS, &request)
    }

    #[test]
    fn what_changes_the_answer_and_cannot_be_had_is_refused_by_name() {
        for (extra, param) in [
            (json!({"logprobs": true}), "logprobs"),
            (json!({"logit_bias": {"50256": -100}}), "logit_bias"),
            (json!({"web_search_options": {}}), "web_search_options"),
        ] {
            assert_eq!(checked(extra).unwrap_err().param.as_deref(), Some(param));
        }
    }

    #[test]
    fn what_asks_for_nothing_or_is_not_known_passes() {
        let idle = json!({"logprobs": false, "top_logprobs": 0, "logit_bias": {}, "store": true,
            "colour": "blue"});
        assert_eq!(checked(idle), Ok(()));
    }
}
