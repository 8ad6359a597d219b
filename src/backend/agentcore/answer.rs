//! What a runtime says, as turn events.

use crate::backend::Outlet;
use crate::turn::{FinishReason, Tool, TurnEvent, Usage};

use super::calls::{self, Calls};
use super::failure::{self, Refused};
use super::shapes::{Said, Stop, Tokens};
use super::thoughts::Thoughts;

/// An answer in the making.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    outlet: &'a Outlet,
    /// The functions that the client can run.
    tools: &'a [Tool],
    thoughts: Thoughts,
    /// All that was said, without white space: what tells a text that comes again.
    said: String,
    /// Whether pieces have come: an echo of them says nothing new.
    has_pieces: bool,
    /// Whether a message of somebody else passes by.
    is_other: bool,
    calls: Calls,
    /// Tokens of model calls that each told their own.
    summed: Usage,
    /// Tokens of all so far, where that was told.
    total: Option<Usage>,
    stop: Option<Stop>,
}

impl<'a> Answer<'a> {
    pub(super) fn new(outlet: &'a Outlet, tools: &'a [Tool], thoughts: Thoughts) -> Self {
        Self {
            outlet,
            tools,
            thoughts,
            said: String::new(),
            has_pieces: false,
            is_other: false,
            calls: Calls::default(),
            summed: Usage::default(),
            total: None,
            stop: None,
        }
    }

    /// Whether nothing was said so far that a client would see.
    pub(super) fn is_empty(&self) -> bool {
        self.said.is_empty() && self.calls.is_empty()
    }

    /// The upstream lives, whatever it says.
    pub(super) fn alive(&self) {
        self.outlet.alive();
    }

    /// Takes what was said.
    ///
    /// # Errors
    /// When the runtime says that it failed.
    pub(super) async fn take(&mut self, said: Said) -> Result<(), Refused> {
        match said {
            Said::Message { by_agent } => self.is_other = !by_agent,
            Said::Piece(text) => {
                if !self.is_other {
                    self.has_pieces |= !text.is_empty();
                    self.say(&text).await;
                }
            }
            Said::Echo(text) => {
                if !self.has_pieces {
                    self.say(&text).await;
                }
            }
            Said::Whole(text) => self.whole(&text).await,
            Said::Thought(text) => self.thoughts.piece(&text, self.outlet).await,
            Said::Call(part) => self.calls.take(part).map_err(|_| failure::too_long())?,
            Said::Result { id } => self.calls.ran(&id),
            Said::Used(Tokens::More(usage)) => self.summed.add(&usage),
            Said::Used(Tokens::All(usage)) => self.total = Some(usage),
            Said::Stopped(stop) => self.stop = Some(stop),
            Said::Failed => {
                tracing::warn!("the agent runtime reports an error in its answer");
                return Err(failure::reported().into());
            }
        }
        Ok(())
    }

    /// Says a text as it is.
    pub(super) async fn say(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.thoughts.end(self.outlet).await;
        let tools = self.tools;
        self.calls.ran_all_but(|name| is_offered(tools, name));
        self.said.extend(text.split_whitespace());
        self.outlet.push(TurnEvent::Text(text.into())).await;
    }

    /// A text that may have been said in pieces before.
    async fn whole(&mut self, text: &str) {
        let bare: String = text.split_whitespace().collect();
        if bare.is_empty() || self.said.ends_with(&bare) {
            return;
        }
        if !self.said.is_empty() {
            self.say("\n\n").await;
        }
        self.say(text).await;
    }

    /// The runtime has said all.
    pub(super) async fn end(mut self) -> FinishReason {
        self.thoughts.end(self.outlet).await;
        let usage = self.total.unwrap_or(self.summed);
        if usage.total_tokens() > 0 {
            self.outlet.push(TurnEvent::Usage(usage)).await;
        }
        // A model that says it is done does not wait for anybody but the client.
        let (tools, may_wait) = (self.tools, matches!(self.stop, None | Some(Stop::Tools)));
        self.calls.ran_all_but(|name| may_wait || is_offered(tools, name));
        let calls = self.calls.into_open();
        for event in calls::events(&calls) {
            self.outlet.push(event).await;
        }
        match self.stop {
            _ if !calls.is_empty() => FinishReason::ToolCalls,
            Some(Stop::Length) => FinishReason::Length,
            Some(Stop::Filtered) => FinishReason::ContentFilter,
            None | Some(Stop::Done | Stop::Tools) => FinishReason::Stop,
        }
    }
}

fn is_offered(tools: &[Tool], name: &str) -> bool {
    tools.iter().any(|tool| tool.name == name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::config::Model;
    use crate::turn::{Fold, TurnRequest};

    use super::super::shapes;
    use super::*;

    /// What becomes of a runtime's events, with a client that can run `weather`.
    async fn answered(events: &[Value]) -> (Fold, FinishReason) {
        let outlet = Outlet::default();
        let tools = [Tool {
            name: "weather".to_owned(),
            description: None,
            parameters: None,
            ..Tool::default()
        }];
        let model = Model::new("m".parse().unwrap(), "bedrock-agentcore");
        let thoughts = Thoughts::allowed(&model, &TurnRequest::default(), false);
        let mut answer = Answer::new(&outlet, &tools, thoughts);
        for said in events.iter().flat_map(shapes::read) {
            answer.take(said).await.unwrap();
        }
        let finish = answer.end().await;
        let mut fold = Fold::default();
        fold.push(&TurnEvent::Started).unwrap();
        outlet.take().iter().for_each(|event| fold.push(event).unwrap());
        (fold, finish)
    }

    fn text(text: &str) -> Value {
        json!({ "event": { "contentBlockDelta": { "delta": { "text": text } } } })
    }

    fn call(name: &str) -> [Value; 3] {
        let using = json!({ "toolUse": { "toolUseId": "t1", "name": name } });
        let arguments = json!({ "toolUse": { "input": "{\"city\":\"Oslo\"}" } });
        [
            json!({ "event": { "contentBlockStart": { "contentBlockIndex": 0, "start": using } } }),
            json!({ "event": { "contentBlockDelta": { "contentBlockIndex": 0,
                "delta": arguments } } }),
            json!({ "event": { "messageStop": { "stopReason": "tool_use" } } }),
        ]
    }

    #[tokio::test]
    async fn what_is_said_twice_is_shown_once() {
        let message = json!({ "role": "assistant", "content": [{ "text": "Hello Ann." }] });
        let events = [
            text("Hello "),
            json!({ "data": "Hello " }),
            text("Ann."),
            json!({ "data": "Ann." }),
            json!({ "message": message }),
            json!({ "result": "Hello Ann.\n" }),
        ];
        let (fold, finish) = answered(&events).await;
        assert_eq!((fold.text(), finish), ("Hello Ann.", FinishReason::Stop));
    }

    #[tokio::test]
    async fn a_result_that_was_not_said_yet_is_shown() {
        let events = [json!("Looking it up …"), json!({ "result": "It rains." })];
        let (fold, _) = answered(&events).await;
        assert_eq!(fold.text(), "Looking it up …\n\nIt rains.");
        let (fold, _) = answered(&[json!({ "data": "It " }), json!({ "data": "rains." })]).await;
        assert_eq!(fold.text(), "It rains.");
    }

    #[tokio::test]
    async fn a_call_that_ends_the_answer_is_handed_over() {
        let (fold, finish) = answered(&call("clock")).await;
        assert_eq!(finish, FinishReason::ToolCalls);
        assert!(fold.pending().is_none(), "there is no hand-over that could be answered");
        let calls = fold.into_message().tool_calls;
        assert_eq!((&*calls[0].name, &*calls[0].arguments), ("clock", "{\"city\":\"Oslo\"}"));
    }

    #[tokio::test]
    async fn calls_that_the_runtime_runs_itself_are_not_shown() {
        let result = json!({ "message": { "role": "user", "content": [
            { "toolResult": { "toolUseId": "t1", "content": [{ "text": "rain" }] } }] } });
        let done = json!({ "event": { "messageStop": { "stopReason": "end_turn" } } });
        for name in ["clock", "weather"] {
            let mut events = call(name).to_vec();
            events.extend([result.clone(), text("It rains."), done.clone()]);
            let (fold, finish) = answered(&events).await;
            assert_eq!((fold.text(), finish), ("It rains.", FinishReason::Stop), "{name}");
            assert!(fold.into_message().tool_calls.is_empty());
        }
    }

    #[tokio::test]
    async fn the_clients_own_function_is_handed_over_though_the_agent_speaks_on() {
        let mut events = call("weather").to_vec();
        events.push(text("One moment."));
        let (fold, finish) = answered(&events).await;
        assert_eq!((fold.text(), finish), ("One moment.", FinishReason::ToolCalls));
        let mut events = call("clock").to_vec();
        events.push(text("It is noon."));
        assert_eq!(answered(&events).await.1, FinishReason::Stop);
    }

    #[tokio::test]
    async fn what_others_say_in_the_stream_is_not_shown() {
        let events = [
            json!({ "event": { "messageStart": { "role": "user" } } }),
            text("secret"),
            json!({ "event": { "messageStart": { "role": "assistant" } } }),
            text("Hello."),
        ];
        assert_eq!(answered(&events).await.0.text(), "Hello.");
    }

    #[tokio::test]
    async fn tokens_are_summed_unless_the_sum_is_told() {
        let used = |n: u64| {
            let usage = json!({ "inputTokens": n, "outputTokens": 1 });
            json!({ "event": { "metadata": { "usage": usage } } })
        };
        let (fold, _) = answered(&[text("a"), used(3), used(4)]).await;
        let usage = fold.usage().unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (7, 2));
        let told = |n: u64| json!({ "choices": [], "usage": { "prompt_tokens": n, "completion_tokens": n } });
        let (fold, _) = answered(&[json!("a"), told(1), told(5)]).await;
        assert_eq!(fold.usage().unwrap().input_tokens, 5);
    }

    #[tokio::test]
    async fn an_error_in_the_answer_fails_the_turn_without_its_words() {
        let outlet = Outlet::default();
        let model = Model::new("m".parse().unwrap(), "bedrock-agentcore");
        let thoughts = Thoughts::allowed(&model, &TurnRequest::default(), false);
        let mut answer = Answer::new(&outlet, &[], thoughts);
        let refused = answer.take(Said::Failed).await.unwrap_err();
        assert_eq!(refused.failure.kind, crate::turn::FailureKind::UpstreamDependency);
        assert!(!refused.did_not_start);
    }
}
