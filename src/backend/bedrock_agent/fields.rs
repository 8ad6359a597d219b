//! What becomes of a request's members: agents have settings of their own and take few.

use crate::backend::fields::{ANY_OTHER, CACHE_CONTROL, Fields, STRICT, Treatment};

use Treatment::{Ignored, Mapped, Refused};

const NO_SHAPE: &str = "response_format must be text: agents cannot be held to a schema";
const NO_LOGPROBS: &str = "agents tell no logprobs; leave them out, or ask a model that does";

pub(in crate::backend) const FIELDS: Fields = &[
    ("messages", Mapped),
    ("tools", Mapped),
    (STRICT, Ignored),
    (CACHE_CONTROL, Ignored),
    ("tool_choice", Ignored),
    ("parallel_tool_calls", Ignored),
    ("max_completion_tokens", Ignored),
    ("max_tokens", Ignored),
    ("temperature", Ignored),
    ("top_p", Ignored),
    ("top_k", Ignored),
    ("stop", Ignored),
    ("seed", Ignored),
    ("frequency_penalty", Ignored),
    ("presence_penalty", Ignored),
    ("response_format", Refused(NO_SHAPE)),
    ("reasoning_effort", Ignored),
    ("thinking", Ignored),
    ("verbosity", Ignored),
    ("service_tier", Ignored),
    ("logit_bias", Ignored),
    ("logprobs", Refused(NO_LOGPROBS)),
    ("top_logprobs", Ignored),
    ("prediction", Ignored),
    ("web_search_options", Ignored),
    ("moderation", Ignored),
    ("prompt_cache_key", Ignored),
    ("prompt_cache_options", Ignored),
    ("prompt_cache_retention", Ignored),
    ("store", Ignored),
    ("metadata", Mapped),
    ("user", Mapped),
    ("safety_identifier", Mapped),
    (ANY_OTHER, Ignored),
];
