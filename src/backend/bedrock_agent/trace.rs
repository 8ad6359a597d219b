//! What an agent's traces tell: token usage, guardrails, failed steps.
//!
//! Usage stands in `modelInvocationOutput.metadata.usage` of every step, collaborators' included;
//! the `metadata` of observations counts other things and is left alone.

use aws_sdk_bedrockagentruntime::types::{
    GuardrailAction, GuardrailAssessment, GuardrailContentPolicyAction,
    GuardrailSensitiveInformationPolicyAction, GuardrailTopicPolicyAction,
    GuardrailWordPolicyAction, Metadata, OrchestrationTrace, PostProcessingTrace,
    PreProcessingTrace, RoutingClassifierTrace, Trace,
};

use crate::turn::Usage;

/// The tokens of one model call, where this trace is the end of one.
pub(super) fn usage(trace: &Trace) -> Option<Usage> {
    let used = metadata(trace)?.usage.as_ref()?;
    let count = |tokens: Option<i32>| tokens.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    Some(Usage {
        input_tokens: count(used.input_tokens),
        output_tokens: count(used.output_tokens),
        ..Usage::default()
    })
}

fn metadata(trace: &Trace) -> Option<&Metadata> {
    match trace {
        Trace::PreProcessingTrace(PreProcessingTrace::ModelInvocationOutput(output)) => {
            output.metadata.as_ref()
        }
        Trace::OrchestrationTrace(OrchestrationTrace::ModelInvocationOutput(output)) => {
            output.metadata.as_ref()
        }
        Trace::PostProcessingTrace(PostProcessingTrace::ModelInvocationOutput(output)) => {
            output.metadata.as_ref()
        }
        Trace::RoutingClassifierTrace(RoutingClassifierTrace::ModelInvocationOutput(output)) => {
            output.metadata.as_ref()
        }
        _ => None,
    }
}

/// Which step a trace is about.
pub(super) fn step(trace: &Trace) -> &'static str {
    match trace {
        Trace::PreProcessingTrace(_) => "pre_processing",
        Trace::OrchestrationTrace(_) => "orchestration",
        Trace::PostProcessingTrace(_) => "post_processing",
        Trace::RoutingClassifierTrace(_) => "routing_classifier",
        Trace::CustomOrchestrationTrace(_) => "custom_orchestration",
        Trace::GuardrailTrace(_) => "guardrail",
        Trace::FailureTrace(_) => "failure",
        _ => "other",
    }
}

/// The code of a failed step; its reason may quote prompts and stays unread.
pub(super) fn failure_reason(trace: &Trace) -> Option<i32> {
    match trace {
        Trace::FailureTrace(failure) => failure.failure_code,
        _ => None,
    }
}

/// Whether a guardrail blocked something; one that only masked leaves the answer standing.
pub(super) fn is_blocked(trace: &Trace) -> bool {
    let Trace::GuardrailTrace(guardrail) = trace else { return false };
    if guardrail.action != Some(GuardrailAction::Intervened) {
        return false;
    }
    let assessments = guardrail.input_assessments().iter().chain(guardrail.output_assessments());
    assessments.into_iter().any(blocks)
}

fn blocks(assessment: &GuardrailAssessment) -> bool {
    let topics = assessment.topic_policy.as_ref().is_some_and(|policy| {
        policy.topics().iter().any(|t| t.action == Some(GuardrailTopicPolicyAction::Blocked))
    });
    let content = assessment.content_policy.as_ref().is_some_and(|policy| {
        policy.filters().iter().any(|f| f.action == Some(GuardrailContentPolicyAction::Blocked))
    });
    let words = assessment.word_policy.as_ref().is_some_and(|policy| {
        let blocked = Some(GuardrailWordPolicyAction::Blocked);
        policy.custom_words().iter().any(|word| word.action == blocked)
            || policy.managed_word_lists().iter().any(|word| word.action == blocked)
    });
    let personal = assessment.sensitive_information_policy.as_ref().is_some_and(|policy| {
        let blocked = Some(GuardrailSensitiveInformationPolicyAction::Blocked);
        policy.pii_entities().iter().any(|entity| entity.action == blocked)
            || policy.regexes().iter().any(|regex| regex.action == blocked)
    });
    topics || content || words || personal
}
