//! What the calls of `InvokeAgent` and of `InvokeInlineAgent` have in common.
//!
//! The SDK has types of its own for each operation: its builder, its session's state and its
//! events have the same members under other names, and no trait over them. What is filled in or
//! read alike is written here once, where it takes both in turn as a macro.

use std::error::Error;

use aws_sdk_bedrockagentruntime::client::customize::CustomizableOperation;
use aws_sdk_bedrockagentruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockagentruntime::primitives::event_stream::EventReceiver;
use aws_sdk_bedrockagentruntime::types::{
    ConversationHistory, InlineAgentResponseStream, ResponseStream,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use serde_json::Value;

use crate::backend::Ask;
use crate::turn::Failure;

use super::answer::{self, AgentEvent, Answer};
use super::dialogue::Step;
use super::failure::{self, Refused};
use super::merge::Merge;
use super::prose;
use super::tap::{self, RawTraces};
use super::wishes::Wishes;

/// What the calls of one turn have in common, whichever operation they are of.
#[derive(Debug)]
pub(in crate::backend) struct Invocation<'a> {
    /// The turn.
    pub(in crate::backend) ask: &'a Ask,
    /// What it wants.
    pub(in crate::backend) wishes: Wishes,
    /// The knowledge bases, in the service's spelling.
    pub(in crate::backend) knowledge_bases: &'a [Value],
}

impl Invocation<'_> {
    /// Whether the session ends with this call.
    pub(in crate::backend) fn ends_session(&self, step: &Step) -> bool {
        step.is_last && self.ask.request.end_session
    }

    /// The earlier conversation, where it goes with this call.
    pub(in crate::backend) fn history(&self, step: &Step) -> Option<ConversationHistory> {
        if step.is_first { prose::history(&self.ask.history) } else { None }
    }

    /// Adds to a call what goes past the SDK's types: the knowledge bases, put at `path`, and
    /// where raw traces are wanted what collects them.
    pub(in crate::backend) fn past_types<T, E, B>(
        &self,
        mut call: CustomizableOperation<T, E, B>,
        path: &'static [&'static str],
    ) -> (CustomizableOperation<T, E, B>, Option<RawTraces>) {
        if !self.knowledge_bases.is_empty() {
            call = call.interceptor(Merge { path, value: Value::from(self.knowledge_bases) });
        }
        if !self.wishes.raw_traces {
            return (call, None);
        }
        let (tap, traces) = tap::tap();
        (call.interceptor(tap), Some(traces))
    }
}

/// Sets the members of a call that both operations have.
macro_rules! with_members {
    ($call:expr, $invocation:expr, $step:expr) => {
        $call
            .set_input_text($step.text.clone())
            .end_session($invocation.ends_session($step))
            .enable_trace($invocation.wishes.traces)
            .streaming_configurations($invocation.wishes.streaming.clone())
            .set_prompt_creation_configurations($invocation.wishes.prompt_creation.clone())
    };
}
pub(in crate::backend) use with_members;

/// Builds the state of a session, for a call of either operation.
macro_rules! session_state {
    ($state:ty, $invocation:expr, $step:expr) => {{
        let (invocation_id, results) = $step.results();
        <$state>::builder()
            .set_session_attributes($invocation.wishes.session_attributes.clone())
            .set_prompt_session_attributes($invocation.wishes.prompt_attributes.clone())
            .set_invocation_id(invocation_id)
            .set_return_control_invocation_results(results)
            .set_files((!$step.files.is_empty()).then(|| $step.files.clone()))
            .set_conversation_history($invocation.history($step))
            .build()
    }};
}
pub(in crate::backend) use session_state;

/// Reads the events of a stream.
macro_rules! read_events {
    ($events:ident) => {
        impl From<$events> for AgentEvent {
            fn from(event: $events) -> Self {
                match event {
                    $events::Chunk(part) => Self::Chunk {
                        bytes: part.bytes,
                        citations: part
                            .attribution
                            .and_then(|cited| cited.citations)
                            .unwrap_or_default(),
                    },
                    $events::Trace(part) => Self::Trace {
                        trace: part.trace.map(Box::new),
                        collaborator: part.collaborator_name,
                    },
                    $events::ReturnControl(payload) => Self::ReturnControl {
                        invocation_id: payload.invocation_id,
                        inputs: payload.invocation_inputs.unwrap_or_default(),
                    },
                    $events::Files(part) => Self::Files(part.files.unwrap_or_default()),
                    _ => Self::Unknown,
                }
            }
        }
    };
}
read_events!(ResponseStream);
read_events!(InlineAgentResponseStream);

/// What a call is answered with: a stream of events `T`, which may end in an exception `E`, or
/// no stream.
type Answered<T, E, R> = Result<EventReceiver<T, E>, SdkError<R, HttpResponse>>;

/// Makes a call and reads its stream into the answer.
///
/// # Errors
/// When the service refuses the call, or its stream fails.
pub(in crate::backend) async fn hear<T, E, R>(
    sent: impl Future<Output = Answered<T, E, R>>,
    raw: Option<RawTraces>,
    answer: &mut Answer<'_>,
) -> Result<(), Refused>
where
    T: Into<AgentEvent>,
    E: Error + ProvideErrorMetadata + 'static,
    R: Error + ProvideErrorMetadata + 'static,
{
    answer.called();
    let events = sent.await.map_err(|error| failure::of_call(&error))?;
    // Not yet a sign of life: the service sends its head before it thinks.
    answer::read(events, raw, answer, failure::of_stream).await
}

/// Makes the call that ends a session. The session ends when the stream does; what it still says
/// is for nobody.
///
/// # Errors
/// When the service refuses the call.
pub(in crate::backend) async fn leave<T, E, R>(
    sent: impl Future<Output = Answered<T, E, R>>,
) -> Result<(), Failure>
where
    R: Error + ProvideErrorMetadata + 'static,
{
    let mut events = sent.await.map_err(|error| failure::of_call(&error).failure)?;
    while let Ok(Some(_)) = events.recv().await {}
    Ok(())
}
