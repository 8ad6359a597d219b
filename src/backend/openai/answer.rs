//! An upstream's answer, as turn events.
//!
//! Asked for a stream, a server answers with server-sent events, or all at once with one JSON
//! document: the first byte that is no space tells which. A stream is whole when it said
//! `[DONE]` or why it finished; one that just stops is a failure.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::backend::Outlet;
use crate::backend::http::{HttpError, Reply};
use crate::backend::sse::Events;
use crate::turn::{Citation, FinishReason, Logprobs, Reference, Span, Thought, TurnEvent, Usage};

use super::calls::Calls;
use super::chunk::{CallDelta, Choice, Chunk, Delta, SentLogprobs, UrlCitation};
use super::failure::{self, Refused, Said};

const DONE: &[u8] = b"[DONE]";

/// Reads the answer to its end; `taken` are the call ids that the conversation has, `limit` the
/// bytes that one event, or an answer that comes at once, may have.
///
/// # Errors
/// When the upstream reports an error, breaks off, or sends what is no answer.
pub(super) async fn read(
    mut reply: Reply,
    outlet: &Outlet,
    taken: HashSet<String>,
    limit: usize,
) -> Result<FinishReason, Refused> {
    let mut answer = Answer::new(outlet, taken);
    let Some(first) = first_piece(&mut reply).await? else { return Err(cut("nothing came")) };
    if first.trim_ascii_start().starts_with(b"{") {
        let document = whole(&mut reply, first, limit).await?;
        answer.chunk(&document).await?;
        return answer.end().await;
    }
    let mut events = Events::new(limit);
    let (mut piece, mut ready) = (first, Vec::new());
    loop {
        // Comments too show that the upstream is at work.
        outlet.alive();
        events.push(&piece, &mut ready).map_err(|error| not_understood(&error))?;
        for data in ready.drain(..) {
            if data.trim_ascii() == DONE {
                reply.settle().await;
                answer.is_done = true;
                return answer.end().await;
            }
            answer.chunk(&data).await?;
        }
        match reply.next().await {
            Ok(Some(next)) => piece = next.into(),
            Ok(None) => break,
            // What was finished is whole, though its usage may be missing.
            Err(_) if answer.finish.is_some() => return answer.end().await,
            Err(error) => return Err(failure::of_http(&error)),
        }
    }
    if let Some(data) = events.finish().map_err(|error| not_understood(&error))? {
        if data.trim_ascii() == DONE {
            answer.is_done = true;
        } else {
            answer.chunk(&data).await?;
        }
    }
    answer.end().await
}

/// The body up to the first byte that is no space.
async fn first_piece(reply: &mut Reply) -> Result<Option<Vec<u8>>, Refused> {
    loop {
        match reply.next().await {
            Ok(Some(piece)) if piece.trim_ascii_start().is_empty() => {}
            Ok(Some(piece)) => return Ok(Some(piece.into())),
            Ok(None) => return Ok(None),
            Err(error) => return Err(failure::of_http(&error)),
        }
    }
}

pub(super) async fn whole(
    reply: &mut Reply,
    mut read: Vec<u8>,
    limit: usize,
) -> Result<Vec<u8>, Refused> {
    while let Some(piece) = reply.next().await.map_err(|error| failure::of_http(&error))? {
        if read.len() + piece.len() > limit {
            return Err(failure::of_http(&HttpError::TooLong(limit)));
        }
        read.extend_from_slice(&piece);
    }
    Ok(read)
}

fn cut(what: &'static str) -> Refused {
    tracing::warn!(what, "the upstream's stream ended without its end");
    failure::protocol()
}

fn not_understood(error: &dyn std::error::Error) -> Refused {
    tracing::warn!(%error, "the upstream's stream was not understood");
    failure::protocol()
}

/// What has come of an answer.
struct Answer<'a> {
    outlet: &'a Outlet,
    calls: Calls,
    /// All that the model thought, for its upstream: it may want it back with the results.
    thought: String,
    usage: Option<Usage>,
    finish: Option<FinishReason>,
    is_done: bool,
}

impl<'a> Answer<'a> {
    fn new(outlet: &'a Outlet, taken: HashSet<String>) -> Self {
        Self {
            outlet,
            calls: Calls::new(taken),
            thought: String::new(),
            usage: None,
            finish: None,
            is_done: false,
        }
    }

    /// Takes in a chunk, or a whole completion.
    async fn chunk(&mut self, data: &[u8]) -> Result<(), Refused> {
        // Its error would quote what the model said.
        let chunk: Chunk = serde_json::from_slice(data)
            .map_err(|error| cut_json(data, error.line(), error.column()))?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(failure::of_said(&Said::of(&error)));
        }
        if let Some(usage) = chunk.usage {
            self.usage = Some(usage.into());
        }
        let mut choices = chunk.choices.into_iter().flatten();
        let ours = choices.find(|choice| choice.index.unwrap_or(0) == 0);
        match ours {
            Some(choice) => self.choice(choice, data.len()).await,
            None => Ok(()),
        }
    }

    /// `weight` is the size of the chunk that it came in.
    async fn choice(&mut self, choice: Choice, weight: usize) -> Result<(), Refused> {
        if let Some(delta) = choice.delta.or(choice.message) {
            self.delta(delta).await?;
        }
        if let Some(SentLogprobs { content, refusal }) = choice.logprobs
            && !(content.is_empty() && refusal.is_empty())
        {
            let logprobs = Logprobs { content, refusal, weight };
            self.outlet.push(TurnEvent::Logprobs(Arc::new(logprobs))).await;
        }
        if let Some(reason) = choice.finish_reason.as_deref().filter(|reason| !reason.is_empty()) {
            self.finish = Some(finish_reason(reason));
        }
        Ok(())
    }

    async fn delta(&mut self, delta: Delta) -> Result<(), Refused> {
        // Servers that send both send the same twice.
        let thought = delta.reasoning_content.filter(|text| !text.is_empty());
        let thought = thought.unwrap_or(delta.reasoning.0);
        if !thought.is_empty() {
            self.thought.push_str(&thought);
            self.outlet.push(TurnEvent::Reasoning(thought.into())).await;
        }
        let texts = [Some(delta.content.0), delta.refusal];
        for text in texts.into_iter().flatten().filter(|text| !text.is_empty()) {
            self.outlet.push(TurnEvent::Text(text.into())).await;
        }
        let older = delta
            .function_call
            .map(|function| CallDelta { function: Some(function), ..CallDelta::default() });
        let mut events = Vec::new();
        for call in delta.tool_calls.into_iter().flatten().chain(older) {
            self.calls.push(call, &mut events).map_err(|error| not_understood(&error))?;
        }
        let cited = delta.annotations.into_iter().flatten();
        let cited = cited.filter_map(|annotation| annotation.url_citation.map(citation));
        events.extend(cited.map(|citation| TurnEvent::Citation(Arc::new(citation))));
        for event in events {
            self.outlet.push(event).await;
        }
        Ok(())
    }

    async fn end(mut self) -> Result<FinishReason, Refused> {
        if self.finish.is_none() && !self.is_done {
            return Err(cut("neither a finish reason nor [DONE]"));
        }
        let mut events = Vec::new();
        self.calls.finish(&mut events).map_err(|error| not_understood(&error))?;
        if !self.calls.is_empty() && !self.thought.is_empty() {
            let thought = Thought::Text { text: self.thought, signature: None };
            events.push(TurnEvent::Thought(Arc::new(thought)));
        }
        events.extend(self.usage.map(TurnEvent::Usage));
        for event in events {
            self.outlet.push(event).await;
        }
        // Some say `stop` though the model waits for results.
        Ok(match self.finish {
            Some(FinishReason::Stop) | None if !self.calls.is_empty() => FinishReason::ToolCalls,
            finish => finish.unwrap_or(FinishReason::Stop),
        })
    }
}

fn cut_json(data: &[u8], line: usize, column: usize) -> Refused {
    tracing::warn!(bytes = data.len(), line, column, "the upstream sent what is no chunk");
    failure::protocol()
}

/// Names beyond OpenAI's mean that the model had said everything.
fn finish_reason(name: &str) -> FinishReason {
    match name {
        "length" | "max_tokens" | "model_length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }
}

fn citation(cited: UrlCitation) -> Citation {
    let span = cited.start_index.zip(cited.end_index).map(|(start, end)| Span { start, end });
    let metadata: Option<Value> = cited.title.map(|title| json!({ "title": title }));
    let page = Reference { kind: "WEB".to_owned(), location: cited.url, text: None, metadata };
    Citation { text: None, span, references: vec![page] }
}
