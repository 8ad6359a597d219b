//! What becomes of a request's members: nearly all of them are the upstream's own.

use crate::backend::fields::{ANY_OTHER, CACHE_CONTROL, Fields, STRICT, Treatment};

use Treatment::{Ignored, Mapped, Passed};

pub(super) const FIELDS: Fields = &[
    ("messages", Mapped),
    ("tools", Mapped),
    (STRICT, Mapped),
    (CACHE_CONTROL, Ignored),
    ("tool_choice", Mapped),
    ("parallel_tool_calls", Mapped),
    ("max_completion_tokens", Mapped),
    ("max_tokens", Mapped),
    ("temperature", Mapped),
    ("top_p", Mapped),
    ("top_k", Mapped),
    ("stop", Mapped),
    ("seed", Mapped),
    ("frequency_penalty", Mapped),
    ("presence_penalty", Mapped),
    ("response_format", Mapped),
    ("reasoning_effort", Mapped),
    ("thinking", Passed),
    ("verbosity", Passed),
    ("service_tier", Mapped),
    ("logit_bias", Passed),
    ("logprobs", Passed),
    ("top_logprobs", Passed),
    ("prediction", Passed),
    ("web_search_options", Passed),
    ("moderation", Passed),
    ("prompt_cache_key", Passed),
    ("prompt_cache_options", Passed),
    ("prompt_cache_retention", Passed),
    ("store", Passed),
    ("metadata", Ignored),
    ("user", Passed),
    ("safety_identifier", Passed),
    (ANY_OTHER, Passed),
];
