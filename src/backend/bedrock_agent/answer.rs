//! The events of an agent's streams, as turn events.
//!
//! `InvokeAgent` and `InvokeInlineAgent` send the same events under types of their own; both are
//! read as [`AgentEvent`]s. A turn can take several calls, whose streams become one answer.
//!
//! There is no explicit end: a clean end of the body on a frame border is success, and the SDK
//! reports anything else as an error.

use std::sync::Arc;

use aws_sdk_bedrockagentruntime::error::SdkError;
use aws_sdk_bedrockagentruntime::primitives::Blob;
use aws_sdk_bedrockagentruntime::primitives::event_stream::EventReceiver;
use aws_sdk_bedrockagentruntime::types::{
    Citation as AwsCitation, InvocationInputMember, OutputFile as AwsFile, Trace as AwsTrace,
};
use aws_smithy_types::event_stream::RawMessage;
use bytes::Bytes;

use crate::backend::Outlet;
use crate::turn::{
    Failure, FailureKind, FileId, FinishReason, OutputFile, ReturnControl, Trace, TurnEvent,
};

use super::failure::Refused;
use super::return_control::{self, Toolbox};
use super::tally::Tally;
use super::tap::RawTraces;
use super::utf8::Joiner;
use super::{citation, trace};

/// What an agent's stream can bring.
#[derive(Debug)]
pub(in crate::backend) enum AgentEvent {
    /// A piece of the answer, and what it rests on.
    Chunk { bytes: Option<Blob>, citations: Vec<AwsCitation> },
    /// A record of what the agent does.
    Trace { trace: Option<Box<AwsTrace>>, collaborator: Option<String> },
    /// Calls that the caller is to make.
    ReturnControl { invocation_id: Option<String>, inputs: Vec<InvocationInputMember> },
    /// Files that come with the answer.
    Files(Vec<AwsFile>),
    /// A newer service may send what this SDK does not know.
    Unknown,
}

/// How much of a call's stream the client is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// All of it.
    Aloud,
    /// All but a hand-over: there is more to tell the agent.
    AloudButHandOver,
    /// Traces and usage only: the answer is for nobody.
    Muted,
}

/// The answer of one turn, call after call.
#[derive(Debug)]
pub(in crate::backend) struct Answer<'a> {
    outlet: &'a Outlet,
    toolbox: &'a dyn Toolbox,
    shows_reasoning: bool,
    tally: Tally,
    /// Tool calls that were shown.
    calls: u32,
    /// Whether any text was shown.
    has_text: bool,
    /// Whether the next text needs a blank line before it.
    is_apart: bool,
    manner: Manner,
    raw: Option<RawTraces>,
    joiner: Joiner,
    is_blocked: bool,
    handed: Option<Handed>,
}

/// What became of a call's hand-over.
#[derive(Debug)]
enum Handed {
    Shown,
    Kept(ReturnControl),
}

impl<'a> Answer<'a> {
    /// An answer of which nothing came yet.
    pub(in crate::backend) fn new(
        outlet: &'a Outlet,
        toolbox: &'a dyn Toolbox,
        shows_reasoning: bool,
    ) -> Self {
        Self {
            outlet,
            toolbox,
            shows_reasoning,
            tally: Tally::default(),
            calls: 0,
            has_text: false,
            is_apart: false,
            manner: Manner::Aloud,
            raw: None,
            joiner: Joiner::default(),
            is_blocked: false,
            handed: None,
        }
    }

    /// Begins a call's part of it, set apart from what came before.
    pub(super) fn begin(&mut self, manner: Manner) {
        self.manner = manner;
        self.is_apart = self.has_text;
        self.raw = None;
        self.joiner = Joiner::default();
        self.is_blocked = false;
        self.handed = None;
    }

    /// The last call's hand-over, where it was not shown.
    pub(super) fn take_hand_over(&mut self) -> Option<ReturnControl> {
        match self.handed.take() {
            Some(Handed::Kept(control)) => Some(control),
            shown => {
                self.handed = shown;
                None
            }
        }
    }

    /// Why the turn ends, if the last call was the last.
    pub(super) fn finish(&self) -> FinishReason {
        match self.handed {
            // The agent waits, whatever a guardrail took of its words.
            Some(_) => FinishReason::ToolCalls,
            None if self.is_blocked => FinishReason::ContentFilter,
            None => FinishReason::Stop,
        }
    }

    /// Tells what was used so far.
    pub(super) async fn tell_usage(&self) {
        if let Some(shares) = self.tally.shares() {
            self.outlet.push(TurnEvent::UsageByCollaborator(Arc::from(shares))).await;
        }
        if let Some(usage) = self.tally.total() {
            self.outlet.push(TurnEvent::Usage(usage)).await;
        }
    }

    /// Says that a call begins now.
    pub(super) fn called(&self) {
        self.outlet.called();
    }

    fn is_muted(&self) -> bool {
        self.manner == Manner::Muted
    }

    async fn take(&mut self, event: AgentEvent) -> Result<(), Refused> {
        match event {
            AgentEvent::Chunk { bytes, citations } => self.chunk(bytes, citations).await,
            AgentEvent::Trace { trace, collaborator } => self.trace(trace, collaborator).await,
            AgentEvent::ReturnControl { invocation_id, inputs } => {
                return self.hand_over(invocation_id, inputs).await.map_err(Refused::started);
            }
            AgentEvent::Files(files) => self.files(files).await,
            AgentEvent::Unknown => self.outlet.alive(),
        }
        Ok(())
    }

    async fn chunk(&mut self, bytes: Option<Blob>, citations: Vec<AwsCitation>) {
        self.outlet.alive();
        if self.is_muted() {
            return;
        }
        let text = bytes.and_then(|bytes| self.joiner.push(bytes.as_ref()));
        self.say(text).await;
        for cited in citations {
            self.outlet.push(TurnEvent::Citation(Arc::new(citation::citation(cited)))).await;
        }
    }

    async fn say(&mut self, text: Option<Arc<str>>) {
        let Some(text) = text else { return };
        self.has_text = true;
        let text = if std::mem::take(&mut self.is_apart) {
            Arc::from(format!("\n\n{text}"))
        } else {
            text
        };
        self.outlet.push(TurnEvent::Text(text)).await;
    }

    async fn trace(&mut self, trace: Option<Box<AwsTrace>>, collaborator: Option<String>) {
        self.outlet.alive();
        let raw = self.raw.as_ref().and_then(RawTraces::next);
        let Some(trace) = &trace else { return };
        if let Some(used) = trace::usage(trace) {
            self.tally.add(collaborator.as_deref(), &used);
        }
        self.is_blocked |= trace::is_blocked(trace);
        if let Some(code) = trace::failure_code(trace) {
            tracing::warn!(code, "the agent reports a failed step");
        }
        if self.shows_reasoning
            && !self.is_muted()
            && let Some(thought) = trace::reasoning(trace)
        {
            let thought = match &collaborator {
                Some(name) => format!("{name}: {thought}\n\n"),
                None => format!("{thought}\n\n"),
            };
            self.outlet.push(TurnEvent::Reasoning(thought.into())).await;
        }
        if let Some((raw, weight)) = raw {
            let step = trace::step(trace);
            let trace = Trace { step, collaborator, raw: Some(raw), weight };
            self.outlet.push(TurnEvent::Trace(Arc::new(trace))).await;
        }
    }

    async fn hand_over(
        &mut self,
        invocation_id: Option<String>,
        inputs: Vec<InvocationInputMember>,
    ) -> Result<(), Failure> {
        if self.handed.is_some() {
            let message = "the agent handed control over twice in one answer";
            return Err(Failure::new(FailureKind::UpstreamProtocol, message));
        }
        self.outlet.alive();
        let handed = return_control::read(invocation_id, inputs, self.toolbox)?;
        if self.manner != Manner::Aloud {
            self.handed = Some(Handed::Kept(handed.control));
            return Ok(());
        }
        self.handed = Some(Handed::Shown);
        for event in handed.events(self.calls) {
            self.calls += u32::from(matches!(event, TurnEvent::ToolCallStarted { .. }));
            self.outlet.push(event).await;
        }
        Ok(())
    }

    async fn files(&mut self, files: Vec<AwsFile>) {
        self.outlet.alive();
        if self.is_muted() {
            return;
        }
        for file in files {
            let file = OutputFile {
                id: FileId::generate(),
                name: file.name.unwrap_or_else(|| "file".to_owned()),
                media_type: file.r#type.unwrap_or_else(|| "application/octet-stream".to_owned()),
                bytes: Bytes::from(file.bytes.map(Blob::into_inner).unwrap_or_default()),
            };
            self.outlet.push(TurnEvent::File(Arc::new(file))).await;
        }
    }

    /// What of the text was held back for the rest of a character.
    async fn end(&mut self) {
        let rest = self.joiner.finish();
        if !self.is_muted() {
            self.say(rest).await;
        }
    }
}

/// Reads one call's stream to its end; `refused` makes a failure of an error of it, told whether
/// it is the first thing that came.
///
/// # Errors
/// When an exception frame comes, the stream breaks, or it hands over what cannot be answered.
pub(super) async fn read<T: Into<AgentEvent>, E>(
    mut events: EventReceiver<T, E>,
    raw: Option<RawTraces>,
    answer: &mut Answer<'_>,
    refused: impl Fn(&SdkError<E, RawMessage>, bool) -> Refused,
) -> Result<(), Refused> {
    answer.raw = raw;
    let mut is_first = true;
    loop {
        match events.recv().await {
            Ok(Some(event)) => answer.take(event.into()).await?,
            Ok(None) => {
                answer.end().await;
                return Ok(());
            }
            Err(error) => return Err(refused(&error, is_first)),
        }
        is_first = false;
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_bedrockagentruntime::types::{
        FunctionInvocationInput, Metadata, OrchestrationModelInvocationOutput, OrchestrationTrace,
        Rationale, Usage as AwsUsage,
    };

    use crate::turn::Tool;

    use super::*;

    fn chunk(text: &str) -> AgentEvent {
        AgentEvent::Chunk { bytes: Some(Blob::new(text)), citations: Vec::new() }
    }

    fn hand_over() -> AgentEvent {
        let input = FunctionInvocationInput::builder().action_group("G").function("f").build();
        let input = InvocationInputMember::FunctionInvocationInput(input.unwrap());
        AgentEvent::ReturnControl { invocation_id: Some("i".to_owned()), inputs: vec![input] }
    }

    fn rationale(text: &str, collaborator: Option<&str>) -> AgentEvent {
        let rationale = Rationale::builder().text(text).build();
        AgentEvent::Trace {
            trace: Some(Box::new(AwsTrace::OrchestrationTrace(OrchestrationTrace::Rationale(
                rationale,
            )))),
            collaborator: collaborator.map(str::to_owned),
        }
    }

    fn usage(tokens: i32, collaborator: Option<&str>) -> AgentEvent {
        let usage = AwsUsage::builder().input_tokens(tokens).output_tokens(1).build();
        let output = OrchestrationModelInvocationOutput::builder()
            .metadata(Metadata::builder().usage(usage).build())
            .build();
        let trace = OrchestrationTrace::ModelInvocationOutput(output);
        AgentEvent::Trace {
            trace: Some(Box::new(AwsTrace::OrchestrationTrace(trace))),
            collaborator: collaborator.map(str::to_owned),
        }
    }

    fn texts(outlet: &Outlet) -> String {
        let said = outlet.take().into_iter().map(|event| match event {
            TurnEvent::Text(text) => text.to_string(),
            TurnEvent::Reasoning(text) => format!("<{text}>"),
            other => format!("{other:?}"),
        });
        said.collect::<Vec<_>>().join("|")
    }

    async fn take_all(answer: &mut Answer<'_>, events: Vec<AgentEvent>) {
        for event in events {
            answer.take(event).await.unwrap();
        }
        answer.end().await;
    }

    #[tokio::test]
    async fn a_second_answer_of_a_turn_is_set_apart_by_a_blank_line() {
        let (outlet, tools) = (Outlet::default(), Vec::<Tool>::new());
        let mut answer = Answer::new(&outlet, &tools, false);
        answer.begin(Manner::AloudButHandOver);
        take_all(&mut answer, vec![chunk("It rains.")]).await;
        answer.begin(Manner::Aloud);
        take_all(&mut answer, vec![chunk("You are"), chunk(" welcome.")]).await;
        assert_eq!(texts(&outlet), "It rains.|\n\nYou are| welcome.");
        assert_eq!(answer.finish(), FinishReason::Stop);
    }

    #[tokio::test]
    async fn a_muted_answer_leaves_its_usage_and_its_hand_over() {
        let (outlet, tools) = (Outlet::default(), Vec::<Tool>::new());
        let mut answer = Answer::new(&outlet, &tools, true);
        answer.begin(Manner::Muted);
        let events = vec![usage(3, None), rationale("Hm.", None), chunk("Fine."), hand_over()];
        take_all(&mut answer, events).await;
        assert_eq!(answer.take_hand_over().unwrap().invocation_id, "i");
        answer.begin(Manner::Aloud);
        take_all(&mut answer, vec![chunk("Hello")]).await;
        assert_eq!(texts(&outlet), "Hello");
        answer.tell_usage().await;
        let [TurnEvent::Usage(used)] = outlet.take()[..] else { panic!("no usage") };
        assert_eq!((used.input_tokens, used.output_tokens), (3, 1));
    }

    #[tokio::test]
    async fn a_second_hand_over_in_one_answer_breaks_the_protocol() {
        let (outlet, tools) = (Outlet::default(), Vec::<Tool>::new());
        let mut answer = Answer::new(&outlet, &tools, false);
        answer.begin(Manner::Aloud);
        answer.take(hand_over()).await.unwrap();
        assert_eq!(answer.finish(), FinishReason::ToolCalls);
        let refused = answer.take(hand_over()).await.unwrap_err();
        assert_eq!(refused.failure.kind, FailureKind::UpstreamProtocol);
    }

    #[tokio::test]
    async fn reasoning_names_the_collaborator_and_usage_is_split() {
        let (outlet, tools) = (Outlet::default(), Vec::<Tool>::new());
        let mut answer = Answer::new(&outlet, &tools, true);
        answer.begin(Manner::Aloud);
        take_all(&mut answer, vec![rationale("Rates?", Some("loans")), usage(2, Some("loans"))])
            .await;
        assert_eq!(texts(&outlet), "<loans: Rates?\n\n>");
        answer.tell_usage().await;
        let told = outlet.take();
        assert!(matches!(&told[0], TurnEvent::UsageByCollaborator(shares) if shares.len() == 1));
        assert!(matches!(told[1], TurnEvent::Usage(_)));
    }
}
