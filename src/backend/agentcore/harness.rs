//! An agent that the service itself runs, by `InvokeHarness`.
//!
//! `POST /harnesses/invoke?harnessArn=…` takes messages and answers with an event stream of the
//! Converse kind: several messages, one a step of the agent's loop, tool results among them. It
//! has ended as it should once its last message has a stop reason.
//! (AWS SDK for Rust, `aws-sdk-bedrockagentcore` 1.83; API model of 2024-02-28.)

use std::sync::Arc;

use aws_sdk_bedrockagentcore::types::{
    HarnessContentBlockDelta as Delta, HarnessContentBlockStart as Start,
    HarnessConversationRole as Speaker, HarnessInlineFunctionConfig, HarnessMessage,
    HarnessReasoningContentBlockDelta as ReasoningDelta, HarnessStopReason, HarnessTokenUsage,
    HarnessTool, HarnessToolConfiguration, HarnessToolType, HarnessToolUseBlockStart,
    HarnessToolUseType, InvokeHarnessStreamOutput as Event,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::backend::{Ask, Outlet};
use crate::turn::{FinishReason, ReturnControl, Tool, TurnEvent, Usage};

use super::Core;
use super::calls::{self, Call, Calls};
use super::document::document;
use super::failure::{self, Refused};
use super::shapes::CallPart;
use super::thoughts::Thoughts;

/// The longest description of an inline function, in characters.
const DESCRIPTION: usize = 4_096;

/// Asks the harness once.
///
/// # Errors
/// When the service refuses, an exception comes in the stream, or the stream breaks.
pub(super) async fn ask(
    core: &Core,
    ask: &Ask,
    messages: &[HarnessMessage],
    outlet: &Outlet,
) -> Result<FinishReason, Refused> {
    let tools: Vec<_> = ask.request.offered().iter().map(inline_function).collect();
    let mut answered = core
        .access
        .client
        .invoke_harness()
        .harness_arn(&core.arn.text)
        .set_qualifier(core.model.core.qualifier.clone())
        .runtime_session_id(ask.upstream.as_str())
        .set_runtime_user_id(core.runtime_user(ask))
        .set_messages(Some(messages.to_vec()))
        // Tools that are given stand in place of the harness's own.
        .set_tools((!tools.is_empty()).then_some(tools))
        .send()
        .await
        .map_err(|error| failure::of_call(&error))?;
    let mut answer = Answer::new(outlet, core.thoughts(&ask.request));
    loop {
        match answered.stream.recv().await {
            Ok(Some(event)) => answer.take(event).await?,
            Ok(None) => return answer.end().await,
            Err(error) => return Err(failure::of_stream(&error)),
        }
    }
}

/// A function of the client, as the harness is told of it.
fn inline_function(tool: &Tool) -> HarnessTool {
    let described = tool.description.as_deref().filter(|text| !text.is_empty());
    let description = described.unwrap_or(&tool.name).chars().take(DESCRIPTION).collect::<String>();
    let empty = json!({ "type": "object", "properties": {} });
    let config = HarnessInlineFunctionConfig::builder()
        .description(description)
        .input_schema(document(tool.parameters.as_ref().unwrap_or(&empty)))
        .build()
        .expect("description and schema are all that a function needs");
    HarnessTool::builder()
        .r#type(HarnessToolType::InlineFunction)
        .name(&tool.name)
        .config(HarnessToolConfiguration::InlineFunction(config))
        .build()
        .expect("a type is all that a tool needs")
}

struct Answer<'a> {
    outlet: &'a Outlet,
    thoughts: Thoughts,
    /// Whether the message that comes is the agent's; others bring the results of its tools.
    is_agent: bool,
    calls: Calls,
    usage: Usage,
    /// Of the message that ended last.
    stop: Option<HarnessStopReason>,
}

impl<'a> Answer<'a> {
    fn new(outlet: &'a Outlet, thoughts: Thoughts) -> Self {
        Self {
            outlet,
            thoughts,
            is_agent: true,
            calls: Calls::default(),
            usage: Usage::default(),
            stop: None,
        }
    }

    async fn take(&mut self, event: Event) -> Result<(), Refused> {
        self.outlet.alive();
        match event {
            Event::MessageStart(message) => {
                self.is_agent = message.role != Speaker::User;
                self.stop = None;
                if self.is_agent {
                    // It goes on, so what it called before has been run.
                    self.calls.ran_all_but(|_| false);
                }
            }
            Event::ContentBlockStart(block) => match block.start {
                Some(Start::ToolUse(used)) => self.call(block.content_block_index, used)?,
                Some(Start::ToolResult(result)) => self.calls.ran(&result.tool_use_id),
                _ => {}
            },
            Event::ContentBlockDelta(block) => {
                self.delta(block.content_block_index, block.delta).await?;
            }
            Event::ContentBlockStop(_) => self.thoughts.end(self.outlet).await,
            Event::MessageStop(message) => self.stop = Some(message.stop_reason),
            Event::Metadata(metadata) => {
                if let Some(used) = &metadata.usage {
                    self.usage.add(&usage(used));
                }
            }
            // Hooks decide for the service; a newer one may send what this SDK does not know.
            _ => {}
        }
        Ok(())
    }

    /// Calls of MCP servers and of the service's own tools are run upstream.
    fn call(&mut self, index: i32, used: HarnessToolUseBlockStart) -> Result<(), Refused> {
        if !matches!(used.r#type, None | Some(HarnessToolUseType::ToolUse)) {
            // Its arguments must not go to a call before it under the same index.
            self.calls.close_key(&index.to_string());
            return Ok(());
        }
        let (id, name) = (Some(used.tool_use_id), Some(used.name));
        self.part(CallPart { key: index.to_string(), id, name, ..CallPart::default() })
    }

    fn part(&mut self, part: CallPart) -> Result<(), Refused> {
        self.calls.take(part).map_err(|_| failure::too_long().into())
    }

    async fn delta(&mut self, index: i32, delta: Option<Delta>) -> Result<(), Refused> {
        match delta {
            Some(Delta::Text(text)) if self.is_agent && !text.is_empty() => {
                self.thoughts.end(self.outlet).await;
                self.outlet.push(TurnEvent::Text(text.into())).await;
            }
            Some(Delta::ReasoningContent(ReasoningDelta::Text(text))) if self.is_agent => {
                self.thoughts.piece(&text, self.outlet).await;
            }
            Some(Delta::ToolUse(more)) => {
                let (key, arguments) = (index.to_string(), more.input);
                self.part(CallPart { key, arguments, ..CallPart::default() })?;
            }
            _ => {}
        }
        Ok(())
    }

    async fn end(mut self) -> Result<FinishReason, Refused> {
        self.thoughts.end(self.outlet).await;
        let Some(stop) = self.stop else {
            tracing::warn!("the harness's stream ended without a stop reason");
            return Err(failure::broken().into());
        };
        if self.usage.total_tokens() > 0 {
            self.outlet.push(TurnEvent::Usage(self.usage)).await;
        }
        let open = self.calls.into_open();
        if stop == HarnessStopReason::ToolUse && !open.is_empty() {
            for event in calls::events(&open) {
                self.outlet.push(event).await;
            }
            self.outlet.push(TurnEvent::ReturnControl(Arc::new(hand_over(&open)))).await;
            return Ok(FinishReason::ToolCalls);
        }
        finish(&stop)
    }
}

/// The calls in the service's own spelling. It has no name for a hand-over, so that is ours.
fn hand_over(calls: &[Call]) -> ReturnControl {
    let inputs: Vec<_> = calls
        .iter()
        .map(|call| {
            let input: Value = serde_json::from_str(call.document()).unwrap_or_default();
            let input = if input.is_object() { input } else { Map::new().into() };
            let id = call.id.as_deref().unwrap_or_default();
            let kind = HarnessToolUseType::ToolUse.as_str().to_owned();
            json!({ "toolUse": { "toolUseId": id, "name": call.name, "input": input, "type": kind } })
        })
        .collect();
    let weight = inputs.iter().map(|input| input.to_string().len()).sum();
    ReturnControl { invocation_id: Uuid::new_v4().hyphenated().to_string(), inputs, weight }
}

/// Input tokens leave out what was read from the cache or written to it, as in Converse. (The
/// API model does not say; the total is told beside, and this makes up for it.)
fn usage(used: &HarnessTokenUsage) -> Usage {
    let count = |tokens: i32| u64::try_from(tokens).unwrap_or_default();
    let cached = count(used.cache_read_input_tokens.unwrap_or_default());
    let written = count(used.cache_write_input_tokens.unwrap_or_default());
    Usage {
        input_tokens: count(used.input_tokens) + cached + written,
        output_tokens: count(used.output_tokens),
        cached_input_tokens: cached,
        cache_written_tokens: written,
        ..Usage::default()
    }
}

fn finish(stop: &HarnessStopReason) -> Result<FinishReason, Refused> {
    Ok(match stop {
        HarnessStopReason::EndTurn
        | HarnessStopReason::StopSequence
        | HarnessStopReason::ToolUse
        | HarnessStopReason::ToolResult => FinishReason::Stop,
        HarnessStopReason::MaxTokens
        | HarnessStopReason::MaxOutputTokensExceeded
        | HarnessStopReason::MaxIterationsExceeded
        | HarnessStopReason::ModelContextWindowExceeded
        | HarnessStopReason::TimeoutExceeded
        | HarnessStopReason::PartialTurn => FinishReason::Length,
        // A hook is the operator's own guardrail.
        HarnessStopReason::ContentFiltered | HarnessStopReason::HookStopped => {
            FinishReason::ContentFilter
        }
        HarnessStopReason::Interrupted => FinishReason::Interrupted,
        HarnessStopReason::MalformedModelOutput | HarnessStopReason::MalformedToolUse => {
            return Err(failure::malformed().into());
        }
        other => {
            tracing::warn!(reason = other.as_str(), "a stop reason that nobody knows");
            FinishReason::Stop
        }
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_bedrockagentcore::types::{
        HarnessContentBlockDeltaEvent, HarnessContentBlockStartEvent, HarnessContentBlockStopEvent,
        HarnessMessageStartEvent, HarnessMessageStopEvent, HarnessMetadataEvent,
        HarnessStreamMetrics, HarnessToolResultBlockStart, HarnessToolUseBlockDelta,
    };

    use crate::config::{Model, Reasoning};
    use crate::turn::{FailureKind, Fold, TurnRequest};

    use super::*;

    fn speaks(role: Speaker) -> Event {
        Event::MessageStart(HarnessMessageStartEvent::builder().role(role).build().unwrap())
    }

    fn stops(reason: HarnessStopReason) -> Event {
        Event::MessageStop(HarnessMessageStopEvent::builder().stop_reason(reason).build().unwrap())
    }

    fn begins(index: i32, start: Start) -> Event {
        let block = HarnessContentBlockStartEvent::builder().content_block_index(index);
        Event::ContentBlockStart(block.start(start).build().unwrap())
    }

    fn uses(index: i32, id: &str, kind: Option<HarnessToolUseType>) -> Event {
        let used = HarnessToolUseBlockStart::builder().tool_use_id(id).name("weather");
        begins(index, Start::ToolUse(used.set_type(kind).build().unwrap()))
    }

    fn results(id: &str) -> Event {
        let result = HarnessToolResultBlockStart::builder().tool_use_id(id).build().unwrap();
        begins(0, Start::ToolResult(result))
    }

    fn delta(index: i32, delta: Delta) -> Event {
        let block = HarnessContentBlockDeltaEvent::builder().content_block_index(index);
        Event::ContentBlockDelta(block.delta(delta).build().unwrap())
    }

    fn text(text: &str) -> Event {
        delta(0, Delta::Text(text.to_owned()))
    }

    fn arguments(index: i32, json: &str) -> Event {
        let more = HarnessToolUseBlockDelta::builder().input(json).build().unwrap();
        delta(index, Delta::ToolUse(more))
    }

    fn used(input: i32, output: i32) -> Event {
        let usage = HarnessTokenUsage::builder()
            .input_tokens(input)
            .output_tokens(output)
            .total_tokens(input + output)
            .cache_read_input_tokens(2)
            .build()
            .unwrap();
        let metrics = HarnessStreamMetrics::builder().latency_ms(5).build().unwrap();
        Event::Metadata(HarnessMetadataEvent::builder().usage(usage).metrics(metrics).build())
    }

    async fn answered(
        events: Vec<Event>,
        reasoning: Reasoning,
    ) -> (Vec<TurnEvent>, Result<FinishReason, FailureKind>) {
        let outlet = Outlet::default();
        let mut model = Model::new("m".parse().unwrap(), "bedrock-agentcore");
        model.agents.reasoning = reasoning;
        let thoughts = Thoughts::allowed(&model, &TurnRequest::default(), false);
        let mut answer = Answer::new(&outlet, thoughts);
        for event in events {
            answer.take(event).await.unwrap();
        }
        let finish = answer.end().await.map_err(|refused| refused.failure.kind);
        (outlet.take(), finish)
    }

    async fn fold(events: Vec<Event>) -> (Fold, FinishReason) {
        let (events, finish) = answered(events, Reasoning::Never).await;
        let finish = finish.unwrap();
        let mut fold = Fold::default();
        fold.push(&TurnEvent::Started).unwrap();
        events.iter().for_each(|event| fold.push(event).unwrap());
        fold.push(&TurnEvent::Finished(finish)).unwrap();
        (fold, finish)
    }

    #[tokio::test]
    async fn inline_functions_are_handed_over_in_the_services_spelling() {
        let (fold, finish) = fold(vec![
            speaks(Speaker::Assistant),
            text("Let me see."),
            uses(1, "use-1", Some(HarnessToolUseType::ToolUse)),
            arguments(1, "{\"city\":"),
            arguments(1, "\"Oslo\"}"),
            uses(1, "use-2", None),
            stops(HarnessStopReason::ToolUse),
            used(10, 4),
        ])
        .await;
        assert_eq!((fold.text(), finish), ("Let me see.", FinishReason::ToolCalls));
        let usage = fold.usage().unwrap();
        assert_eq!(
            (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens),
            (12, 2, 4)
        );
        let pending = fold.pending().unwrap();
        let inputs: Vec<_> = pending.calls.iter().map(|call| &call.input["toolUse"]).collect();
        assert_eq!(
            *inputs[0],
            json!({ "toolUseId": "use-1", "name": "weather",
            "input": { "city": "Oslo" }, "type": "tool_use" })
        );
        assert_eq!((&inputs[1]["toolUseId"], &inputs[1]["input"]), (&json!("use-2"), &json!({})));
        assert_eq!(pending.calls[1].call.arguments, "{}");
        assert_ne!(pending.calls[0].call.id, pending.calls[1].call.id);
    }

    #[tokio::test]
    async fn tools_that_run_upstream_are_not_shown() {
        let (fold, finish) = fold(vec![
            speaks(Speaker::Assistant),
            uses(0, "use-1", Some(HarnessToolUseType::ToolUse)),
            uses(1, "use-2", Some(HarnessToolUseType::ServerToolUse)),
            arguments(1, "{}"),
            stops(HarnessStopReason::ToolUse),
            speaks(Speaker::User),
            results("use-1"),
            text("a secret of the tool"),
            stops(HarnessStopReason::ToolResult),
            speaks(Speaker::Assistant),
            text("It rains."),
            stops(HarnessStopReason::EndTurn),
        ])
        .await;
        assert_eq!((fold.text(), finish), ("It rains.", FinishReason::Stop));
        assert!(fold.into_message().tool_calls.is_empty());
    }

    #[tokio::test]
    async fn reasoning_is_shown_where_it_may_be_and_ends_with_a_blank_line() {
        let thinks = || delta(0, Delta::ReasoningContent(ReasoningDelta::Text("hm".to_owned())));
        let stop = || {
            let block = HarnessContentBlockStopEvent::builder().content_block_index(0);
            Event::ContentBlockStop(block.build().unwrap())
        };
        let events = || vec![thinks(), stop(), text("Hi"), stops(HarnessStopReason::EndTurn)];
        let (shown, _) = answered(events(), Reasoning::Always).await;
        let reasoning = |text: &str| TurnEvent::Reasoning(text.into());
        let expected = [reasoning("hm"), reasoning("\n\n"), TurnEvent::Text("Hi".into())];
        assert_eq!(shown, expected);
        let (hidden, _) = answered(events(), Reasoning::Asked).await;
        assert_eq!(hidden, [TurnEvent::Text("Hi".into())]);
    }

    #[tokio::test]
    async fn a_stream_without_a_stop_reason_broke_off() {
        let (_, finish) = answered(vec![text("It")], Reasoning::Never).await;
        assert_eq!(finish, Err(FailureKind::UpstreamProtocol));
        let events = vec![
            speaks(Speaker::Assistant),
            stops(HarnessStopReason::ToolUse),
            speaks(Speaker::Assistant),
            text("It"),
        ];
        let (_, finish) = answered(events, Reasoning::Never).await;
        assert_eq!(finish, Err(FailureKind::UpstreamProtocol));
    }

    #[test]
    fn every_stop_reason_means_something() {
        let kind = |name: &str| {
            let finished = finish(&HarnessStopReason::from(name));
            finished.map_err(|refused| refused.failure.kind)
        };
        for name in ["end_turn", "stop_sequence", "tool_use", "tool_result", "something_new"] {
            assert_eq!(kind(name), Ok(FinishReason::Stop), "{name}");
        }
        for name in [
            "max_tokens",
            "max_output_tokens_exceeded",
            "max_iterations_exceeded",
            "model_context_window_exceeded",
            "timeout_exceeded",
            "partial_turn",
        ] {
            assert_eq!(kind(name), Ok(FinishReason::Length), "{name}");
        }
        assert_eq!(kind("content_filtered"), Ok(FinishReason::ContentFilter));
        assert_eq!(kind("hook_stopped"), Ok(FinishReason::ContentFilter));
        assert_eq!(kind("interrupted"), Ok(FinishReason::Interrupted));
        assert_eq!(kind("malformed_tool_use"), Err(FailureKind::UpstreamDependency));
        assert_eq!(kind("malformed_model_output"), Err(FailureKind::UpstreamDependency));
    }

    #[test]
    fn a_function_without_description_or_schema_is_still_one() {
        let tool = Tool {
            name: "clock".to_owned(),
            description: None,
            parameters: None,
            ..Tool::default()
        };
        let built = inline_function(&tool);
        let Some(HarnessToolConfiguration::InlineFunction(config)) = built.config() else {
            panic!("{built:?}")
        };
        assert_eq!(config.description(), "clock");
        assert_eq!(config.input_schema().as_object().unwrap()["type"], "object".into());
    }
}
