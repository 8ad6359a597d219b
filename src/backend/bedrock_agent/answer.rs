//! The events of an agent's stream, as turn events.
//!
//! `InvokeAgent` and `InvokeInlineAgent` send the same events under types of their own; both are
//! read as [`AgentEvent`]s.
//!
//! There is no explicit end: a clean end of the body on a frame border is success, and the SDK
//! reports anything else as an error.

use std::sync::Arc;

use aws_sdk_bedrockagentruntime::error::SdkError;
use aws_sdk_bedrockagentruntime::primitives::Blob;
use aws_sdk_bedrockagentruntime::primitives::event_stream::EventReceiver;
use aws_sdk_bedrockagentruntime::types::{
    Citation as AwsCitation, InvocationInputMember, OutputFile as AwsFile, ResponseStream,
    RetrievalResultLocation, RetrievedReference, Trace as AwsTrace,
};
use aws_smithy_types::event_stream::RawMessage;
use bytes::Bytes;

use crate::backend::Outlet;
use crate::turn::{
    Citation, FileId, FinishReason, OutputFile, Reference, Span, Trace, TurnEvent, Usage,
};

use super::failure::Refused;
use super::tap::RawTraces;
use super::utf8::Joiner;
use super::{return_control, trace};

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

impl From<ResponseStream> for AgentEvent {
    fn from(event: ResponseStream) -> Self {
        match event {
            ResponseStream::Chunk(part) => Self::Chunk {
                bytes: part.bytes,
                citations: part.attribution.and_then(|cited| cited.citations).unwrap_or_default(),
            },
            ResponseStream::Trace(part) => Self::Trace {
                trace: part.trace.map(Box::new),
                collaborator: part.collaborator_name,
            },
            ResponseStream::ReturnControl(payload) => Self::ReturnControl {
                invocation_id: payload.invocation_id,
                inputs: payload.invocation_inputs.unwrap_or_default(),
            },
            ResponseStream::Files(part) => Self::Files(part.files.unwrap_or_default()),
            _ => Self::Unknown,
        }
    }
}

/// Reads the stream to its end; `refused` makes a failure of an error of it, told whether it is
/// the first thing that came.
///
/// # Errors
/// When an exception frame comes or the stream breaks.
pub(in crate::backend) async fn read<T: Into<AgentEvent>, E>(
    mut events: EventReceiver<T, E>,
    raw: Option<RawTraces>,
    outlet: &Outlet,
    refused: impl Fn(&SdkError<E, RawMessage>, bool) -> Refused,
) -> Result<FinishReason, Refused> {
    let mut answer = Answer {
        outlet,
        raw,
        joiner: Joiner::default(),
        usage: None,
        calls: 0,
        finish: FinishReason::Stop,
    };
    let mut is_first = true;
    loop {
        let event = match events.recv().await {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(answer.end().await),
            Err(error) => return Err(refused(&error, is_first)),
        };
        is_first = false;
        match event.into() {
            AgentEvent::Chunk { bytes, citations } => answer.chunk(bytes, citations).await,
            AgentEvent::Trace { trace, collaborator } => answer.trace(trace, collaborator).await,
            AgentEvent::ReturnControl { invocation_id, inputs } => {
                answer.finish = FinishReason::ToolCalls;
                for event in return_control::events(invocation_id, inputs, answer.calls) {
                    answer.calls += u32::from(matches!(event, TurnEvent::ToolCallStarted { .. }));
                    outlet.push(event).await;
                }
            }
            AgentEvent::Files(files) => answer.files(files).await,
            AgentEvent::Unknown => outlet.alive(),
        }
    }
}

struct Answer<'a> {
    outlet: &'a Outlet,
    raw: Option<RawTraces>,
    joiner: Joiner,
    usage: Option<Usage>,
    /// Calls handed over so far.
    calls: u32,
    finish: FinishReason,
}

impl Answer<'_> {
    async fn chunk(&mut self, bytes: Option<Blob>, citations: Vec<AwsCitation>) {
        if let Some(bytes) = bytes
            && let Some(text) = self.joiner.push(bytes.as_ref())
        {
            self.outlet.push(TurnEvent::Text(text)).await;
        } else {
            self.outlet.alive();
        }
        for citation in citations {
            self.outlet.push(TurnEvent::Citation(Arc::new(self::citation(citation)))).await;
        }
    }

    async fn trace(&mut self, trace: Option<Box<AwsTrace>>, collaborator: Option<String>) {
        self.outlet.alive();
        let raw = self.raw.as_ref().and_then(RawTraces::next);
        let Some(trace) = &trace else { return };
        if let Some(used) = trace::usage(trace) {
            self.usage.get_or_insert_with(Usage::default).add(&used);
        }
        if trace::is_blocked(trace) {
            self.finish = FinishReason::ContentFilter;
        }
        if let Some(reason) = trace::failure_reason(trace) {
            tracing::warn!(code = reason, "the agent reports a failed step");
        }
        if let Some((raw, weight)) = raw {
            let step = trace::step(trace);
            let trace = Trace { step, collaborator, raw: Some(raw), weight };
            self.outlet.push(TurnEvent::Trace(Arc::new(trace))).await;
        }
    }

    async fn files(&mut self, files: Vec<AwsFile>) {
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

    async fn end(mut self) -> FinishReason {
        if let Some(text) = self.joiner.finish() {
            self.outlet.push(TurnEvent::Text(text)).await;
        }
        if let Some(usage) = self.usage {
            self.outlet.push(TurnEvent::Usage(usage)).await;
        }
        self.finish
    }
}

fn citation(citation: AwsCitation) -> Citation {
    let part = citation.generated_response_part.and_then(|part| part.text_response_part);
    let span = part.as_ref().and_then(|part| part.span.as_ref()).and_then(|span| {
        let start = usize::try_from(span.start?).ok()?;
        Some(Span { start, end: usize::try_from(span.end?).ok()? })
    });
    let references = citation.retrieved_references.unwrap_or_default();
    Citation {
        text: part.and_then(|part| part.text),
        span,
        references: references.into_iter().map(reference).collect(),
    }
}

fn reference(reference: RetrievedReference) -> Reference {
    let location = reference.location;
    Reference {
        kind: location.as_ref().map_or_else(String::new, |at| at.r#type.as_str().to_owned()),
        location: location.and_then(address),
        text: reference.content.map(|content| content.text),
        metadata: None,
    }
}

/// Where the URL or id of a source sits depends on its type.
fn address(at: RetrievalResultLocation) -> Option<String> {
    at.s3_location
        .and_then(|at| at.uri)
        .or_else(|| at.web_location.and_then(|at| at.url))
        .or_else(|| at.confluence_location.and_then(|at| at.url))
        .or_else(|| at.salesforce_location.and_then(|at| at.url))
        .or_else(|| at.share_point_location.and_then(|at| at.url))
        .or_else(|| at.one_drive_location.and_then(|at| at.url))
        .or_else(|| at.google_drive_location.and_then(|at| at.url))
        .or_else(|| at.kendra_document_location.and_then(|at| at.uri))
        .or_else(|| at.custom_document_location.and_then(|at| at.id))
        .or_else(|| at.sql_location.and_then(|at| at.query))
}
