//! What an agent's traces tell: token usage, reasoning, guardrails, failed steps.
//!
//! Usage stands in `modelInvocationOutput.metadata.usage` of every step, collaborators' included;
//! the `metadata` of observations counts other things and is left alone.

use aws_sdk_bedrockagentruntime::types::{
    GuardrailAction, GuardrailAssessment, GuardrailContentPolicyAction,
    GuardrailSensitiveInformationPolicyAction, GuardrailTopicPolicyAction,
    GuardrailWordPolicyAction, Metadata, OrchestrationTrace, PostProcessingTrace,
    PreProcessingTrace, ReasoningContentBlock, RoutingClassifierTrace, Trace,
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

/// What the agent or its model thought, where the trace says: the rationale of a step, or the
/// reasoning of a model that shows it.
pub(super) fn reasoning(trace: &Trace) -> Option<&str> {
    let content = match trace {
        Trace::OrchestrationTrace(OrchestrationTrace::Rationale(rationale)) => {
            return rationale.text.as_deref().filter(|text| !text.trim().is_empty());
        }
        Trace::PreProcessingTrace(PreProcessingTrace::ModelInvocationOutput(output)) => {
            output.reasoning_content.as_ref()?
        }
        Trace::OrchestrationTrace(OrchestrationTrace::ModelInvocationOutput(output)) => {
            output.reasoning_content.as_ref()?
        }
        Trace::PostProcessingTrace(PostProcessingTrace::ModelInvocationOutput(output)) => {
            output.reasoning_content.as_ref()?
        }
        _ => return None,
    };
    match content {
        ReasoningContentBlock::ReasoningText(block) => {
            Some(block.text.as_str()).filter(|text| !text.trim().is_empty())
        }
        // Redacted: encrypted by the model's provider.
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
pub(super) fn failure_code(trace: &Trace) -> Option<i32> {
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

#[cfg(test)]
mod tests {
    use aws_sdk_bedrockagentruntime::types::{
        OrchestrationModelInvocationOutput, PreProcessingModelInvocationOutput, Rationale,
        ReasoningTextBlock, RoutingClassifierModelInvocationOutput, Usage as AwsUsage,
    };

    use super::*;

    fn used(input: i32, output: i32) -> Metadata {
        let usage = AwsUsage::builder().input_tokens(input).output_tokens(output).build();
        Metadata::builder().usage(usage).build()
    }

    #[test]
    fn every_kind_of_step_that_asks_a_model_has_its_usage() {
        let pre = PreProcessingModelInvocationOutput::builder().metadata(used(1, 2)).build();
        let pre = Trace::PreProcessingTrace(PreProcessingTrace::ModelInvocationOutput(pre));
        let routing =
            RoutingClassifierModelInvocationOutput::builder().metadata(used(3, 4)).build();
        let routing =
            Trace::RoutingClassifierTrace(RoutingClassifierTrace::ModelInvocationOutput(routing));
        assert_eq!(usage(&pre).map(|used| used.total_tokens()), Some(3));
        assert_eq!(usage(&routing).map(|used| used.total_tokens()), Some(7));
    }

    #[test]
    fn rationale_and_reasoning_are_told_and_nothing_else() {
        let thought = Rationale::builder().text("The user wants rain.").build();
        let rationale = Trace::OrchestrationTrace(OrchestrationTrace::Rationale(thought));
        assert_eq!(reasoning(&rationale), Some("The user wants rain."));
        let block = ReasoningTextBlock::builder().text("Hm.").build().unwrap();
        let output = OrchestrationModelInvocationOutput::builder()
            .reasoning_content(ReasoningContentBlock::ReasoningText(block))
            .build();
        let output = OrchestrationTrace::ModelInvocationOutput(output);
        assert_eq!(reasoning(&Trace::OrchestrationTrace(output)), Some("Hm."));
        let empty = OrchestrationModelInvocationOutput::builder().build();
        let empty = OrchestrationTrace::ModelInvocationOutput(empty);
        assert_eq!(reasoning(&Trace::OrchestrationTrace(empty)), None);
    }
}
