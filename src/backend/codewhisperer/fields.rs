//! What becomes of a request's members: the service has words for few of them.

use crate::backend::fields::{ANY_OTHER, CACHE_CONTROL, Fields, STRICT, Treatment};

use Treatment::{Ignored, Mapped, Refused};

const NO_BIAS: &str = "CodeWhisperer has no logit_bias; leave it out";
const NO_LOGPROBS: &str = "CodeWhisperer has no logprobs; leave it out";
const NO_TOP_LOGPROBS: &str = "CodeWhisperer has no top_logprobs; leave it out";
const NO_SEARCH: &str = "CodeWhisperer has no web_search_options; leave it out";

pub(super) const FIELDS: Fields = &[
    ("messages", Mapped),
    ("tools", Mapped),
    (STRICT, Ignored),
    (CACHE_CONTROL, Ignored),
    ("tool_choice", Mapped),
    ("parallel_tool_calls", Mapped),
    ("max_completion_tokens", Ignored),
    ("max_tokens", Ignored),
    ("temperature", Ignored),
    ("top_p", Ignored),
    ("top_k", Ignored),
    ("stop", Ignored),
    ("seed", Ignored),
    ("frequency_penalty", Ignored),
    ("presence_penalty", Ignored),
    ("response_format", Mapped),
    ("reasoning_effort", Ignored),
    ("thinking", Ignored),
    ("verbosity", Ignored),
    ("service_tier", Ignored),
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
    ("metadata", Ignored),
    ("user", Ignored),
    ("safety_identifier", Ignored),
    (ANY_OTHER, Ignored),
];
