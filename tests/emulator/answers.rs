//! What comes with an answer: citations, files, guardrails, traces and their tokens.

use aws_sdk_bedrockagentruntime::types::{
    GuardrailAction, GuardrailSensitiveInformationPolicyAction, GuardrailTopicPolicyAction,
    OrchestrationTrace, PostProcessingTrace, PreProcessingTrace, ReasoningContentBlock,
    RetrievalResultLocationType, RoutingClassifierTrace, Trace, TracePart, Usage,
};

use crate::harness::{Heard, Running, hear, start, streamed};

async fn traced(emulator: &Running, text: &str) -> Heard {
    let call = emulator.call("traced").input_text(text).enable_trace(true);
    hear(call.streaming_configurations(streamed())).await.unwrap()
}

/// The usage of a trace of any kind, as a careful client reads it.
fn usage(part: &TracePart) -> Option<(i64, i64)> {
    let metadata = match part.trace.as_ref()? {
        Trace::OrchestrationTrace(OrchestrationTrace::ModelInvocationOutput(output)) => {
            &output.metadata
        }
        Trace::PreProcessingTrace(PreProcessingTrace::ModelInvocationOutput(output)) => {
            &output.metadata
        }
        Trace::PostProcessingTrace(PostProcessingTrace::ModelInvocationOutput(output)) => {
            &output.metadata
        }
        Trace::RoutingClassifierTrace(RoutingClassifierTrace::ModelInvocationOutput(output)) => {
            &output.metadata
        }
        _ => return None,
    };
    let Usage { input_tokens, output_tokens, .. } = metadata.as_ref()?.usage()?;
    Some((i64::from((*input_tokens)?), i64::from((*output_tokens)?)))
}

fn summed<'a>(parts: impl IntoIterator<Item = &'a TracePart>) -> (i64, i64) {
    let usages = parts.into_iter().filter_map(usage);
    usages.fold((0, 0), |sum, usage| (sum.0 + usage.0, sum.1 + usage.1))
}

fn tokens(shown: &serde_json::Value) -> (i64, i64) {
    (shown["input_tokens"].as_i64().unwrap(), shown["output_tokens"].as_i64().unwrap())
}

#[tokio::test]
async fn references_to_every_type_of_place_come_with_the_text_that_cites_them() {
    let emulator = start().await;
    for is_streamed in [true, false] {
        let call =
            emulator.call("cites").input_text("say: Grüße!; cite: all; cite: s3,web It is so.");
        let streaming = is_streamed.then(streamed);
        let heard = hear(call.set_streaming_configurations(streaming)).await.unwrap();
        assert_eq!(heard.text(), "Grüße! Fees are waived in year one. It is so.");
        assert_eq!(heard.chunks.len() == 1, !is_streamed);
        assert_eq!(heard.citations.len(), 2);
        let part = heard.citations[0].generated_response_part().unwrap();
        let part = part.text_response_part().unwrap();
        let span = part.span().unwrap();
        assert_eq!((span.start(), span.end()), (Some(7), Some(34)));
        assert_eq!(part.text(), Some("Fees are waived in year one."));
        let references = heard.citations[0].retrieved_references();
        assert_eq!(references.len(), 10);
        let location = references[9].location().unwrap();
        assert_eq!(location.r#type(), &RetrievalResultLocationType::Sql);
        assert!(location.sql_location().unwrap().query().is_some());
        assert!(references.iter().all(|reference| reference.metadata().is_some()));
        assert_eq!(heard.citations[1].retrieved_references().len(), 2);
    }
}

#[tokio::test]
async fn files_come_together_at_the_end_of_an_answer() {
    let emulator = start().await;
    let heard = traced(&emulator, "say: Here.; file: a.csv 12; file: b.png; say: Enjoy.").await;
    assert_eq!(heard.text(), "Here. Enjoy.");
    let [csv, png] = &heard.files[..] else { panic!("not two files") };
    assert_eq!((csv.name(), csv.r#type()), (Some("a.csv"), Some("text/csv")));
    assert_eq!(csv.bytes().unwrap().as_ref(), b"a.csv\na.csv\n");
    assert_eq!(png.r#type(), Some("image/png"));
}

#[tokio::test]
async fn a_guardrail_blocks_or_only_masks() {
    let emulator = start().await;
    let guardrail = |heard: &Heard| {
        let found =
            heard.traces.iter().find_map(|part| part.trace.as_ref()?.as_guardrail_trace().ok());
        found.unwrap().clone()
    };
    let heard = traced(&emulator, "guardrail: block topic").await;
    assert_eq!(heard.text(), "Sorry, the model cannot answer this question.");
    let trace = guardrail(&heard);
    assert_eq!(trace.action(), Some(&GuardrailAction::Intervened));
    let topic = &trace.input_assessments()[0].topic_policy().unwrap().topics()[0];
    assert_eq!(topic.action(), Some(&GuardrailTopicPolicyAction::Blocked));

    let trace = guardrail(&traced(&emulator, "guardrail: mask").await);
    let policy = trace.output_assessments()[0].sensitive_information_policy().unwrap();
    let masked = &GuardrailSensitiveInformationPolicyAction::Anonymized;
    assert_eq!(policy.pii_entities()[0].action(), Some(masked));
    let trace = guardrail(&traced(&emulator, "guardrail: pass; say: Fine.").await);
    assert_eq!(trace.action(), Some(&GuardrailAction::None));
}

#[tokio::test]
async fn thoughts_and_reasoning_are_traced() {
    let emulator = start().await;
    let heard = traced(&emulator, "think: It is late.; reason: Two and two.; reason:").await;
    let steps: Vec<_> = heard
        .traces
        .iter()
        .filter_map(|part| part.trace.as_ref()?.as_orchestration_trace().ok())
        .collect();
    let thought = steps[2].as_rationale().unwrap();
    assert_eq!(thought.text(), Some("It is late."));
    let reasoning = |place: usize| {
        steps[place].as_model_invocation_output().unwrap().reasoning_content().unwrap()
    };
    let ReasoningContentBlock::ReasoningText(text) = reasoning(3) else { panic!("no text") };
    assert_eq!(text.text(), "Two and two.");
    assert!(reasoning(4).is_redacted_content());
}

#[tokio::test]
async fn the_tokens_of_every_kind_of_trace_add_up_to_what_the_state_tells() {
    let emulator = start().await;
    let script = "trace: pre routing lookup code action custom failure; ask: Researcher what is \
                  new?; ask: Writer; ask: Researcher and then?; reason: so; say: Done.; trace: post";
    let heard = traced(&emulator, script).await;
    assert!(heard.failure.is_none(), "{:?}", heard.failure);
    let kinds: Vec<_> = heard.traces.iter().filter_map(|part| part.trace.as_ref()).collect();
    assert!(kinds.iter().any(|trace| trace.is_failure_trace()));
    assert!(kinds.iter().any(|trace| trace.is_custom_orchestration_trace()));
    assert!(!kinds.iter().any(|trace| trace.is_unknown()));

    let shown = emulator.state().await;
    let call = &shown["calls"][0];
    assert_eq!(tokens(&call["usage"]), summed(&heard.traces));
    for name in ["Researcher", "Writer"] {
        let own = heard.traces.iter().filter(|part| part.collaborator_name() == Some(name));
        assert_eq!(tokens(&call["collaborators"][name]), summed(own), "{name}");
    }
    let asked = heard.traces.iter().filter(|part| part.collaborator_name() == Some("Researcher"));
    assert!(
        asked.clone().count() == 4
            && asked.clone().all(|part| part.agent_id() == Some("RESEARCHER"))
    );
}

#[tokio::test]
async fn an_exception_comes_at_the_point_where_it_stands() {
    let emulator = start().await;
    for (script, chunks, traces, returned) in [
        ("say: a; fail: throttlingException; say: b", 1, 2, 0),
        ("think: a; fail: throttlingException", 0, 3, 0),
        ("call: a; fail: throttlingException", 0, 3, 1),
    ] {
        let call = emulator.call(&format!("fails-{returned}-{traces}")).input_text(script);
        let heard = hear(call.enable_trace(true)).await.unwrap();
        let counted = (heard.chunks.len(), heard.traces.len(), heard.returned.len());
        assert_eq!(counted, (chunks, traces, returned), "{script}");
        let failure = heard.failure.unwrap().into_service_error();
        assert!(failure.is_throttling_exception(), "{script}: {failure:?}");
    }
}

#[tokio::test]
async fn an_exception_may_come_before_all_traces() {
    let emulator = start().await;
    let fault = crate::harness::faulty("exception:throttlingException:first");
    let call = emulator.call("first").session_state(fault).enable_trace(true);
    let heard = hear(call.input_text("hello")).await.unwrap();
    assert!(heard.traces.is_empty() && heard.failure.is_some());
}
