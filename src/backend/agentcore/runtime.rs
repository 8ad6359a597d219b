//! A container of the operator's own, by `InvokeAgentRuntime`.
//!
//! `POST /runtimes/{arn}/invocations` hands the payload to the container that holds the session
//! and its answer back as it comes: status, content type and body are the container's.
//! (AWS SDK for Rust, `aws-sdk-bedrockagentcore` 1.83; API model of 2024-02-28.)

use aws_sdk_bedrockagentcore::primitives::{Blob, ByteStream};
use serde_json::Value;

use crate::backend::{Ask, Outlet};
use crate::turn::FinishReason;

use super::answer::Answer;
use super::failure::{self, Refused};
use super::lines::{Cutter, Framing, Piece};
use super::{Core, shapes};

/// What containers may answer; they choose.
const ACCEPTED: &str = "text/event-stream, application/json";
/// What OpenAI-like streams end with.
const DONE: &str = "[DONE]";

/// Asks the runtime once.
///
/// # Errors
/// When the service or the container refuses, or the answer breaks off.
pub(super) async fn ask(
    core: &Core,
    ask: &Ask,
    payload: &Value,
    outlet: &Outlet,
) -> Result<FinishReason, Refused> {
    let answered = core
        .access
        .client
        .invoke_agent_runtime()
        .agent_runtime_arn(&core.arn.text)
        .set_qualifier(core.model.core.qualifier.clone())
        .runtime_session_id(ask.upstream.as_str())
        .set_runtime_user_id(core.runtime_user(ask))
        .content_type("application/json")
        .accept(ACCEPTED)
        .payload(Blob::new(payload.to_string()))
        .send()
        .await
        .map_err(|error| failure::of_call(&error))?;
    let mut answer = Answer::new(outlet, ask.request.offered(), core.thoughts(&ask.request));
    match Framing::of(&answered.content_type) {
        Framing::Whole => whole(answered.response, core.turn.output_bytes, &mut answer).await?,
        framing => pieces(answered.response, framing, &mut answer).await?,
    }
    Ok(answer.end().await)
}

/// Reads an answer as it comes.
async fn pieces(
    mut body: ByteStream,
    framing: Framing,
    answer: &mut Answer<'_>,
) -> Result<(), Refused> {
    let mut cutter = Cutter::new(framing);
    while let Some(frame) = next(&mut body).await? {
        answer.alive();
        for piece in cutter.push(&frame).map_err(|_| failure::too_long())? {
            take(piece, answer).await?;
        }
    }
    for piece in cutter.finish().map_err(|_| failure::too_long())? {
        take(piece, answer).await?;
    }
    Ok(())
}

async fn next(body: &mut ByteStream) -> Result<Option<bytes::Bytes>, Refused> {
    body.try_next().await.map_err(|error| {
        tracing::warn!(%error, "the body of the runtime's answer broke off");
        failure::broken().into()
    })
}

async fn take(piece: Piece, answer: &mut Answer<'_>) -> Result<(), Refused> {
    let data = match piece {
        Piece::Text(text) => {
            answer.say(&text).await;
            return Ok(());
        }
        Piece::ErrorData(_) => return answer.take(shapes::Said::Failed).await,
        Piece::Data(data) => data,
    };
    if data == DONE {
        return Ok(());
    }
    match serde_json::from_str(&data) {
        Ok(value) => {
            for said in shapes::read(&value) {
                answer.take(said).await?;
            }
        }
        // A generator that yields its text without making JSON of it.
        Err(_) => answer.take(shapes::Said::Piece(data)).await?,
    }
    Ok(())
}

/// Reads an answer of one document; one that nobody knows is shown as it is.
async fn whole(
    mut body: ByteStream,
    longest: usize,
    answer: &mut Answer<'_>,
) -> Result<(), Refused> {
    let mut document = Vec::new();
    while let Some(frame) = next(&mut body).await? {
        answer.alive();
        document.extend_from_slice(&frame);
        if document.len() > longest {
            return Err(failure::too_long().into());
        }
    }
    let Ok(text) = String::from_utf8(document) else { return Err(failure::broken().into()) };
    match documents(&text) {
        Some(values) => {
            for said in values.iter().flat_map(shapes::read) {
                answer.take(said).await?;
            }
            if answer.is_empty() {
                answer.say(text.trim()).await;
            }
        }
        None => answer.say(&text).await,
    }
    Ok(())
}

/// The one document of a body, or one a line; nothing where it is no JSON.
fn documents(text: &str) -> Option<Vec<Value>> {
    if let Ok(value) = serde_json::from_str(text) {
        return Some(vec![value]);
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::Model;
    use crate::turn::{FailureKind, TurnEvent, TurnRequest};

    use super::super::thoughts::Thoughts;
    use super::*;

    async fn read(content_type: &str, body: &'static str) -> Result<String, FailureKind> {
        let outlet = Outlet::default();
        let model = Model::new("m".parse().unwrap(), "bedrock-agentcore");
        let thoughts = Thoughts::allowed(&model, &TurnRequest::default(), false);
        let mut answer = Answer::new(&outlet, &[], thoughts);
        let body = ByteStream::from_static(body.as_bytes());
        let read = match Framing::of(content_type) {
            Framing::Whole => whole(body, 1_000, &mut answer).await,
            framing => pieces(body, framing, &mut answer).await,
        };
        read.map_err(|refused| refused.failure.kind)?;
        answer.end().await;
        let said = outlet.take().into_iter().filter_map(|event| match event {
            TurnEvent::Text(text) => Some(text.to_string()),
            _ => None,
        });
        Ok(said.collect())
    }

    #[tokio::test]
    async fn bodies_are_read_by_their_content_type() {
        let events = "data: \"It \"\n\ndata: \"rains.\"\n\ndata: [DONE]\n\n";
        let lines = "{\"text\":\"It \"}\n{\"text\":\"rains.\"}\n";
        for (content_type, body) in [
            ("text/event-stream", events),
            ("text/event-stream", "data: It \n\ndata: rains."),
            ("application/x-ndjson", lines),
            ("application/json", lines),
            ("application/json", "{\"result\": \"It rains.\"}"),
            ("application/json", "\"It rains.\""),
            ("application/json", "It rains."),
            ("text/plain; charset=utf-8", "It rains."),
            ("", "{\"response\": \"It rains.\"}"),
        ] {
            assert_eq!(read(content_type, body).await.unwrap(), "It rains.", "{content_type}");
        }
    }

    #[tokio::test]
    async fn a_document_that_nobody_knows_is_shown_and_an_event_is_not() {
        let unknown = "{\"weather\":{\"sky\":\"grey\"}}";
        assert_eq!(read("application/json", unknown).await.unwrap(), unknown);
        let event = "data: {\"weather\":{\"sky\":\"grey\"}}\n\n";
        assert_eq!(read("text/event-stream", event).await.unwrap(), "");
    }

    #[tokio::test]
    async fn what_the_container_says_of_its_failure_is_not_shown() {
        let failed = Err(FailureKind::UpstreamDependency);
        assert_eq!(read("application/json", "{\"error\":\"secret\"}").await, failed);
        assert_eq!(read("text/event-stream", "data: {\"error\":\"secret\"}\n\n").await, failed);
        assert_eq!(read("text/event-stream", "event: error\ndata: secret\n\n").await, failed);
    }

    #[tokio::test]
    async fn an_answer_that_is_no_text_or_too_much_of_it_is_broken() {
        let long: &'static str = Box::leak("x".repeat(1_001).into_boxed_str());
        assert_eq!(read("application/json", long).await, Err(FailureKind::UpstreamProtocol));
    }
}
