//! What an agent can be seen doing in traces: every kind of step, as the phrases ask for it.
//!
//! Tokens stand in `modelInvocationOutput.metadata.usage` of each kind. The observations repeat
//! some of them in a `metadata.usage` of their own, as the service's model allows: whoever adds
//! those counts twice.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::actions::agent_id;
use super::citations;
use super::traces::tokens;

/// The model that the agent runs on.
const MODEL: &str = "anthropic.claude-3-5-sonnet-20240620-v1:0";
/// The prompt of a step; a proxy must not let it out.
const PROMPT: &str = "<secret-prompt>You are a banking assistant.</secret-prompt>";
/// Tokens that a step reads.
const STEP_TOKENS: usize = 50;

/// A kind of step: its word, and its traces.
#[derive(Debug)]
pub(super) struct Kind {
    word: &'static str,
    /// The traces of it, in order.
    pub(super) traces: fn() -> Vec<Value>,
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.word == other.word
    }
}

impl Eq for Kind {}

/// Every kind of step that a phrase can name.
const KINDS: &[Kind] = &[
    Kind { word: "pre", traces: pre_processing },
    Kind { word: "post", traces: post_processing },
    Kind { word: "routing", traces: routing },
    Kind { word: "custom", traces: custom },
    Kind { word: "failure", traces: failure },
    Kind { word: "lookup", traces: lookup },
    Kind { word: "code", traces: code },
    Kind { word: "action", traces: action },
];

/// Reads `KIND KIND…`.
///
/// # Errors
/// What there is to choose from.
pub(super) fn kinds(rest: &str) -> Result<Vec<&'static Kind>, String> {
    let kind = |word: &str| KINDS.iter().find(|kind| kind.word == word);
    let found: Option<Vec<_>> = rest.split_whitespace().map(kind).collect();
    found.filter(|kinds| !kinds.is_empty()).ok_or_else(|| {
        let known: Vec<_> = KINDS.iter().map(|kind| kind.word).collect();
        format!("a trace is one of {}", known.join(", "))
    })
}

/// The agent says to itself why it does what it does.
pub(super) fn rationale(text: &str) -> Value {
    orchestration(json!({"rationale": {"text": text, "traceId": "think-2"}}))
}

/// The model reasons; nobody may read it when there is no text.
pub(super) fn reasoning(text: &str) -> Value {
    let reasoning = match text {
        "" => json!({"redactedContent": STANDARD.encode("redacted")}),
        text => json!({"reasoningText": {"text": text, "signature": "c2lnbmVk"}}),
    };
    let mut output = output("reason-1", "<answer>…</answer>", tokens(text.len()));
    output["reasoningContent"] = reasoning;
    orchestration(json!({"modelInvocationOutput": output}))
}

/// A collaborator is asked and answers: each trace, and whether it is the collaborator's own.
pub(super) fn collaboration(name: &str, question: &str) -> Vec<(bool, Value)> {
    let answer = format!("{name} knows: {question}");
    let arn = format!("arn:aws:bedrock:us-east-1:123456789012:agent-alias/{}/LIVE", agent_id(name));
    let spent = usage(STEP_TOKENS + tokens(question.len()), tokens(answer.len()));
    let asked = json!({
        "agentCollaboratorName": name,
        "agentCollaboratorAliasArn": arn,
        "input": {"type": "TEXT", "text": question},
    });
    let told = json!({
        "agentCollaboratorName": name,
        "agentCollaboratorAliasArn": arn,
        "output": {"type": "TEXT", "text": answer},
        "metadata": spent,
    });
    let thought = json!({"text": format!("I look into: {question}"), "traceId": "help-2"});
    let thinking =
        json!({"rawResponse": {"content": answer}, "metadata": spent, "traceId": "help-2"});
    let steps = [
        (
            false,
            invocation("help-1", "AGENT_COLLABORATOR", "agentCollaboratorInvocationInput", asked),
        ),
        (true, json!({"rationale": thought})),
        (true, json!({"modelInvocationOutput": thinking})),
        (
            false,
            observation("help-1", "AGENT_COLLABORATOR", "agentCollaboratorInvocationOutput", told),
        ),
    ];
    steps.into_iter().map(|(is_own, step)| (is_own, orchestration(step))).collect()
}

fn pre_processing() -> Vec<Value> {
    let mut output = output("pre-1", "<category>D</category>", 8);
    output["parsedResponse"] = json!({"isValid": true, "rationale": "The caller asks a question."});
    both("preProcessingTrace", "pre-1", "PRE_PROCESSING", output)
}

fn post_processing() -> Vec<Value> {
    let mut output = output("post-1", "<final_response>…</final_response>", 12);
    output["parsedResponse"] = json!({"text": "…"});
    both("postProcessingTrace", "post-1", "POST_PROCESSING", output)
}

fn routing() -> Vec<Value> {
    let output = output("route-1", "<agent>undecidable</agent>", 4);
    both("routingClassifierTrace", "route-1", "ROUTING_CLASSIFIER", output)
}

fn custom() -> Vec<Value> {
    vec![json!({"customOrchestrationTrace": {
        "traceId": "custom-1",
        "event": {"text": "the orchestrating function took over"},
    }})]
}

fn failure() -> Vec<Value> {
    vec![json!({"failureTrace": {
        "traceId": "fail-1",
        "failureCode": 424,
        "failureReason": "the function behind the action group timed out",
    }})]
}

fn lookup() -> Vec<Value> {
    let asked = json!({"knowledgeBaseId": "KB12345678", "text": "fees in year one"});
    let told = json!({"retrievedReferences": citations::found(), "metadata": usage(7, 7)});
    round(
        "look-1",
        "KNOWLEDGE_BASE",
        ["knowledgeBaseLookupInput", "knowledgeBaseLookupOutput"],
        [asked, told],
    )
}

fn code() -> Vec<Value> {
    let asked = json!({"code": "print(6 * 7)"});
    let told = json!({"executionOutput": "42", "metadata": usage(7, 7)});
    let asked = invocation(
        "code-1",
        "ACTION_GROUP_CODE_INTERPRETER",
        "codeInterpreterInvocationInput",
        asked,
    );
    let told = observation("code-1", "ACTION_GROUP", "codeInterpreterInvocationOutput", told);
    vec![orchestration(asked), orchestration(told)]
}

fn action() -> Vec<Value> {
    let asked = json!({
        "actionGroupName": "demo",
        "function": "look_up_rate",
        "executionType": "LAMBDA",
        "parameters": [{"name": "product", "type": "string", "value": "loan"}],
    });
    let told = json!({"text": "7.5", "metadata": usage(7, 7)});
    round(
        "act-2",
        "ACTION_GROUP",
        ["actionGroupInvocationInput", "actionGroupInvocationOutput"],
        [asked, told],
    )
}

/// What goes into a model and what comes out of it.
fn both(trace: &str, trace_id: &str, kind: &str, output: Value) -> Vec<Value> {
    let input = json!({
        "foundationModel": MODEL,
        "inferenceConfiguration": {"maximumLength": 2048, "temperature": 0.0, "topK": 250, "topP": 1.0},
        "text": PROMPT,
        "traceId": trace_id,
        "type": kind,
    });
    vec![
        json!({trace: {"modelInvocationInput": input}}),
        json!({trace: {"modelInvocationOutput": output}}),
    ]
}

/// Something is asked and answered, by these members.
fn round(trace_id: &str, kind: &str, members: [&str; 2], [asked, told]: [Value; 2]) -> Vec<Value> {
    let asked = invocation(trace_id, kind, members[0], asked);
    let told = observation(trace_id, kind, members[1], told);
    vec![orchestration(asked), orchestration(told)]
}

fn invocation(trace_id: &str, kind: &str, member: &str, asked: Value) -> Value {
    json!({"invocationInput": {"invocationType": kind, member: asked, "traceId": trace_id}})
}

fn observation(trace_id: &str, kind: &str, member: &str, told: Value) -> Value {
    json!({"observation": {"type": kind, member: told, "traceId": trace_id}})
}

fn orchestration(step: Value) -> Value {
    json!({"orchestrationTrace": step})
}

fn output(trace_id: &str, raw: &str, written: usize) -> Value {
    json!({
        "rawResponse": {"content": raw},
        "metadata": usage(STEP_TOKENS, written),
        "traceId": trace_id,
    })
}

fn usage(input: usize, output: usize) -> Value {
    json!({"usage": {"inputTokens": input, "outputTokens": output}})
}
