//! What was said so far, and the turn that runs.
//!
//! The whole transcript goes along with every request, as any OpenAI-compatible server wants it.
//! An Outcrop names the session in its reply; from then on the session is named too, and is what
//! an interrupt is sent to.

use std::time::Duration;

use http::{HeaderName, Method};
use serde_json::{Value, json};

use crate::cli::answer::{Answer, Piece, Whole};
use crate::cli::is_unheard;
use crate::cli::server::{Server, Trouble};
use crate::cli::sessions::path_of;

use super::interrupts::Interrupts;

/// An interrupted turn's stream ends by then, or is given up.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A conversation with one model.
#[derive(Debug)]
pub(super) struct Conversation {
    server: Server,
    pub(super) model: String,
    system: Option<String>,
    pub(super) messages: Vec<Value>,
    /// The session's id, where the server keeps one.
    pub(super) session: Option<String>,
    /// Tools that are offered, in OpenAI's spelling.
    pub(super) tools: Vec<Value>,
}

/// How a turn ended that did not fail.
#[derive(Debug)]
pub(super) enum Ended {
    Answered(Whole),
    /// By Ctrl-C, with what came before it.
    Interrupted(Whole),
    /// By two of them: the user wants to leave.
    Left(Whole),
}

impl Conversation {
    /// Nothing was said.
    pub(super) fn new(server: Server, model: String, system: Option<String>) -> Self {
        let (messages, tools) = (Vec::new(), Vec::new());
        Self { server, model, system, messages, session: None, tools }
    }

    /// The server it is held with.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Begins anew.
    pub(super) fn forget(&mut self) {
        self.messages.clear();
        self.session = None;
    }

    /// Goes on with a session of the server, or begins one of this name.
    pub(super) async fn take_up(&mut self, id: &str) -> Result<(), Trouble> {
        let held = match self.server.document(Method::GET, &path_of(id)).await {
            Ok(session) => session,
            Err(trouble) if trouble.is_not_found() => Value::Null,
            Err(trouble) => return Err(trouble),
        };
        self.forget();
        self.session = Some(id.to_owned());
        let model = held["moved_to"].as_str().or(held["model"].as_str());
        if let Some(model) = model {
            model.clone_into(&mut self.model);
        }
        let messages = held["messages"].as_array().into_iter().flatten();
        self.messages = messages.cloned().map(without_status).collect();
        Ok(())
    }

    /// Has another model answer from now on; an Outcrop's session is moved to it.
    pub(super) async fn move_to(&mut self, model: &str) -> Result<(), Trouble> {
        if let Some(session) = self.session.as_ref().filter(|_| !self.messages.is_empty()) {
            let path = format!("{}/move", path_of(session));
            self.server.post(&path, &json!({ "model": model })).await?;
        }
        model.clone_into(&mut self.model);
        Ok(())
    }

    /// Stops the session's running turn, or tells what of the last answer was heard.
    pub(super) async fn interrupt(
        &mut self,
        spoken: Option<&str>,
    ) -> Result<Option<Value>, Trouble> {
        let Some(session) = &self.session else { return Ok(None) };
        let path = format!("{}/interrupt", path_of(session));
        let body = spoken.map_or_else(|| json!({}), |spoken| json!({ "spoken": spoken }));
        let session = self.server.post(&path, &body).await?;
        let messages = session["messages"].as_array().into_iter().flatten();
        self.messages = messages.cloned().map(without_status).collect();
        Ok(Some(session))
    }

    /// The user says something.
    pub(super) fn says(&mut self, text: &str) {
        self.messages.push(json!({ "role": "user", "content": text }));
    }

    /// A tool says something.
    pub(super) fn tool_says(&mut self, call: &str, text: &str) {
        self.messages.push(json!({ "role": "tool", "tool_call_id": call, "content": text }));
    }

    /// The calls of the last answer get no results. A server without sessions refuses a
    /// transcript with such, so the answer is taken out; an Outcrop knows what to make of it.
    pub(super) fn leave_calls_open(&mut self) {
        if self.session.is_some() {
            return;
        }
        let answered = self.messages.iter().rposition(|message| message["role"] == "assistant");
        self.messages.truncate(answered.unwrap_or_default());
    }

    /// Asks for the answer to what was said last. What was said stays in the transcript; if the
    /// turn fails before anything came of it, it does not.
    pub(super) async fn turn(
        &mut self,
        interrupts: &mut Interrupts,
        show: &mut impl FnMut(&Piece),
    ) -> Result<Ended, Trouble> {
        let ended = self.run(interrupts, show).await;
        if ended.is_err() {
            let is_unanswered = self.messages.last().is_some_and(|last| last["role"] == "user");
            if is_unanswered {
                self.messages.pop();
            }
        }
        ended
    }

    async fn run(
        &mut self,
        interrupts: &mut Interrupts,
        show: &mut impl FnMut(&Piece),
    ) -> Result<Ended, Trouble> {
        let server = self.named()?;
        let body = self.body();
        interrupts.forget();
        let mut answer = tokio::select! {
            answer = Answer::to(&server, &body) => answer?,
            () = interrupts.next() => return Ok(Ended::Interrupted(Whole::default())),
        };
        let is_outcrop = !answer.header("x-outcrop-session").is_empty();
        if is_outcrop {
            self.session = Some(answer.header("x-session-id").to_owned());
        }
        loop {
            let piece = tokio::select! {
                piece = answer.next() => piece,
                () = interrupts.next() => {
                    let leaves = self.stop(&mut answer, interrupts, show).await;
                    let whole = self.keep(answer);
                    return Ok(if leaves { Ended::Left(whole) } else { Ended::Interrupted(whole) });
                }
            };
            match piece {
                // Nobody reads on: whoever closed the pipe does not want the rest.
                Ok(Some(piece)) => {
                    show(&piece);
                    if is_unheard() {
                        self.stop(&mut answer, interrupts, show).await;
                        return Ok(Ended::Interrupted(self.keep(answer)));
                    }
                }
                Ok(None) => return Ok(Ended::Answered(self.keep(answer))),
                Err(trouble) => {
                    if !answer.so_far().text.is_empty() {
                        self.keep(answer);
                    }
                    return Err(trouble);
                }
            }
        }
    }

    /// The server, asked for this session.
    fn named(&self) -> Result<Server, Trouble> {
        let server = self.server.clone();
        let Some(session) = &self.session else { return Ok(server) };
        let name = HeaderName::from_static("x-session-id");
        server.with(name, session).map_err(|message| self.server.strange(&message))
    }

    fn body(&self) -> Value {
        let system = self.system.iter().map(|text| json!({ "role": "system", "content": text }));
        let messages: Vec<Value> = system.chain(self.messages.iter().cloned()).collect();
        let mut body = json!({ "model": self.model, "messages": messages });
        if !self.tools.is_empty() {
            body["tools"] = json!(self.tools);
        }
        body
    }

    /// Stops the turn: an Outcrop is told so, and says what it still had to say; any other
    /// server notices that nobody reads on. Says whether the user did not wait for that.
    async fn stop(
        &self,
        answer: &mut Answer,
        interrupts: &mut Interrupts,
        show: &mut impl FnMut(&Piece),
    ) -> bool {
        let Some(session) =
            self.session.as_ref().filter(|_| !answer.header("x-outcrop-session").is_empty())
        else {
            return false;
        };
        let path = format!("{}/interrupt", path_of(session));
        let rest = async {
            // If it cannot be told, leaving the stream stops the turn too.
            self.server.post(&path, &json!({})).await.ok()?;
            // The stream ends with a failure or without one; either way it was stopped.
            while let Ok(Some(piece)) = answer.next().await {
                show(&piece);
            }
            Some(())
        };
        tokio::select! {
            _ = tokio::time::timeout(LAST_WORDS, rest) => false,
            () = interrupts.next() => true,
        }
    }

    /// Takes what was answered into the transcript.
    fn keep(&mut self, answer: Answer) -> Whole {
        let whole = answer.into_whole();
        let calls: Vec<Value> = whole.calls.iter().map(crate::cli::answer::Call::written).collect();
        let mut message = json!({ "role": "assistant", "content": whole.text });
        if !calls.is_empty() {
            message["tool_calls"] = json!(calls);
            if whole.text.is_empty() {
                message["content"] = Value::Null;
            }
        }
        if !whole.text.is_empty() || !calls.is_empty() {
            self.messages.push(message);
        }
        whole
    }
}

/// A message of a session as it may be sent.
fn without_status(mut message: Value) -> Value {
    if let Some(members) = message.as_object_mut() {
        members.shift_remove("status");
    }
    message
}
