//! A call is taken into its session, and the agent thinks of an answer.

use std::collections::VecDeque;

use super::Emulated;
use super::actions::{self, Action, Awaited};
use super::demo_agent;
use super::draft::{Draft, Drafted};
use super::faults::Fault;
use super::files_out;
use super::memories::{MemoryKey, Summary, summarised};
use super::particulars::{self, Particulars};
use super::pieces::Cut;
use super::refusal::Refusal;
use super::request::Ask;
use super::results::{self, Outcome, Returned};
use super::script::Plan;
use super::session_state::check_attributes;
use super::sessions::{Session, SessionKey};
use super::steps;
use super::tool_box::ToolBox;
use super::traces::{Size, Tracer};
use super::wishes::{self, Stage, Wish};

/// The session attribute with the caller's phone number.
const PHONE_NUMBER: &str = "phone_number";
/// Files of which a session knows, the latest.
const KEPT_FILES: usize = 10;
/// What ends a call when a result says `FAILURE`.
const DEPENDENCY_FAILED: &str = "dependencyFailedException";

/// What a session waits for, and what it does then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    /// What the results must name.
    pub(super) invocation_id: String,
    /// The actions whose results are waited for.
    awaited: Vec<Awaited>,
    /// What is done after them.
    rest: VecDeque<Stage>,
    /// What the results until now amount to, to be told in the end.
    told: Vec<String>,
    /// Bytes of the message that all this came with.
    message: usize,
}

impl Pending {
    /// Bytes it takes, roughly.
    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + 2 * self.message + self.told.iter().map(String::len).sum::<usize>()
    }

    /// The names of the actions that are waited for.
    pub(super) fn names(&self) -> Vec<String> {
        self.awaited.iter().map(|action| action.target.spoken()).collect()
    }
}

/// A call on a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn<'a> {
    /// What all calls share.
    pub(super) emulated: &'a Emulated,
    /// The session.
    pub(super) key: &'a SessionKey,
    /// What is asked.
    pub(super) ask: &'a Ask,
    /// What may be handed over, where the agent comes with the call; anything otherwise.
    pub(super) tools: Option<&'a ToolBox>,
}

/// What is left to do of a message with phrases.
struct Left {
    rest: VecDeque<Stage>,
    told: Vec<String>,
    message: usize,
}

impl Turn<'_> {
    /// Takes the call into its session and plans the answer.
    ///
    /// # Errors
    /// When a fault refuses the call, or the call does not fit what the session waits for.
    pub(super) fn plan(self, session: &mut Session) -> Result<Plan, Refusal> {
        let Self { emulated, key, ask, .. } = self;
        session.calls += 1;
        if let Some(sent) = ask.session_attributes() {
            let mut attributes = session.attributes.clone();
            attributes.extend(sent.iter().map(|(name, value)| (name.clone(), value.clone())));
            check_attributes([&attributes])?;
            session.attributes = attributes;
        }
        let attributes = ask.prompt_attributes().into_iter().chain([&session.attributes]);
        let behaviour = emulated.behaviour.for_call(attributes)?;
        if let Some(Fault::Refuse(refuse)) = &behaviour.fault
            && refuse.meets(session.calls, ask.wants_stream())
        {
            return Err(refuse.with.clone());
        }
        self.take_in(session);
        let turns = session.memory.turns as usize;
        let tracer = ask.wants_traces().then(|| Tracer::new(key.clone(), &emulated.account));
        let draft = Draft::new(tracer.as_ref(), ask.wants_stream());
        let Drafted { parts, said, fails, hands_over } = self.answer(session, draft)?;
        session.turns = session.turns.saturating_add(1);
        if ask.ends_session() {
            session.ending = true;
            self.remember(session);
        }
        let input = ask.input_text.as_ref().map_or(0, String::len);
        Ok(Plan {
            parts,
            fails,
            hands_over,
            size: Size { input, output: said, turns },
            pace: behaviour.pace,
            tracer,
            fault: behaviour.fault,
        })
    }

    /// What came along with the message.
    fn take_in(self, session: &mut Session) {
        if session.memory.turns == 0 {
            let told = self.ask.history().iter().filter_map(|message| message.user_text());
            told.for_each(|text| session.memory.listen(&text));
        }
        if let Some(memory) = self.ask.memory_id() {
            session.memory_id = Some(memory.to_owned());
        }
        session.files.extend_from_slice(self.ask.files());
        let surplus = session.files.len().saturating_sub(KEPT_FILES);
        session.files.drain(..surplus);
    }

    /// Keeps a summary of a session that ends.
    fn remember(self, session: &Session) {
        let (key, text) = (self.memory_key(session), summarised(&session.memory));
        if let (Some(key), Some(text)) = (key, text) {
            let summary = Summary { session: self.key.session.clone(), began: session.began, text };
            self.emulated.memories.keep(&key, summary);
        }
    }

    fn memory_key(self, session: &Session) -> Option<MemoryKey> {
        let memory = session.memory_id.clone()?;
        let SessionKey { agent, alias, .. } = self.key.clone();
        Some(MemoryKey { agent, alias, memory })
    }

    /// Lets the agent answer results, or else a message.
    fn answer(self, session: &mut Session, draft: Draft<'_>) -> Result<Drafted, Refusal> {
        if let Some(results) = self.ask.results() {
            return self.take_back(results, session, draft);
        }
        let Some(text) = &self.ask.input_text else { return Ok(draft.finish(None)) };
        if let Some(pending) = &session.pending {
            return Err(Refusal::validation(format!(
                "the session waits for the results of {} in returnControlInvocationResults",
                pending.names().join(", "),
            )));
        }
        match wishes::stages(text) {
            Some(stages) => {
                session.memory.listen(text);
                Ok(self.begin(text.len(), stages, session, draft))
            }
            None => Ok(self.speak(text, session, draft)),
        }
    }

    fn speak(self, text: &str, session: &mut Session, mut draft: Draft<'_>) -> Drafted {
        let particulars = Particulars {
            attributes: &session.attributes,
            prompt_attributes: self.ask.prompt_attributes(),
            files: &session.files,
            remembered: self.memory_key(session).map(|key| self.emulated.memories.of(&key)),
        };
        if let Some(answer) = particulars::answer(text, &particulars) {
            session.memory.listen(text);
            draft.say(&answer);
            return draft.finish(None);
        }
        let phone_number = session.attributes.get(PHONE_NUMBER).map(String::as_str);
        let answer = demo_agent::answer(&mut session.memory, text, phone_number);
        draft.tell(answer.text, if answer.word_by_word { Cut::Words } else { Cut::Bytes });
        draft.finish(None)
    }

    fn begin(
        self,
        message: usize,
        stages: Result<Vec<Stage>, String>,
        session: &mut Session,
        mut draft: Draft<'_>,
    ) -> Drafted {
        match stages {
            Ok(stages) => {
                let left = Left { rest: stages.into(), told: Vec::new(), message };
                self.play(left, session, draft)
            }
            Err(reason) => {
                draft.say(&format!("I cannot follow this: {reason}."));
                draft.finish(None)
            }
        }
    }

    /// Goes on with the results of what was handed over.
    fn take_back(
        self,
        results: &[Returned],
        session: &mut Session,
        draft: Draft<'_>,
    ) -> Result<Drafted, Refusal> {
        let Some(pending) = &session.pending else {
            return Err(Refusal::validation("the session waits for no results of actions"));
        };
        if self.ask.invocation_id() != Some(&pending.invocation_id) {
            return Err(Refusal::validation(
                "invocationId is not the one of the actions asked for",
            ));
        }
        let outcomes = results::outcomes(results, &pending.awaited)?;
        let Some(Pending { rest, mut told, message, .. }) = session.pending.take() else {
            return Ok(draft.finish(None));
        };
        for outcome in outcomes {
            match outcome {
                Outcome::Said(text) => told.push(text),
                Outcome::Failed => return Ok(draft.finish(Some(DEPENDENCY_FAILED.to_owned()))),
            }
        }
        Ok(self.play(Left { rest, told, message }, session, draft))
    }

    /// Does the next stage. The one that hands nothing over, the last, begins with what all
    /// results amount to; the others keep that for it.
    fn play(self, mut left: Left, session: &mut Session, mut draft: Draft<'_>) -> Drafted {
        let stage = left.rest.pop_front().unwrap_or_default();
        if !stage.hands_over() {
            draft.say(&left.told.join("\n"));
        }
        let mut acts = Vec::new();
        let mut files = Vec::new();
        let mut fails = None;
        for wish in stage.wishes {
            match wish {
                Wish::Act(action) => match self.declared(action) {
                    Ok(action) => acts.push(action),
                    Err(reason) => draft.say(&reason),
                },
                Wish::Make(file) => files.push(file),
                Wish::Fail(name) => {
                    fails = Some(name);
                    break;
                }
                other => grant(other, &mut draft),
            }
        }
        if !files.is_empty() {
            draft.event(files_out::event(&files));
        }
        if acts.is_empty() {
            return draft.finish(fails);
        }
        session.pending = Some(hand_over(&acts, left, &mut draft));
        Drafted { hands_over: true, ..draft.finish(fails) }
    }

    /// The action as the agent that came with the call declares it.
    fn declared(self, action: Action) -> Result<Action, String> {
        let Some(tools) = self.tools else { return Ok(action) };
        let name = action.target.spoken();
        tools.declared(action).ok_or_else(|| format!("I do not know the function {name}."))
    }
}

/// Does what is done where it stands.
fn grant(wish: Wish, draft: &mut Draft<'_>) {
    match wish {
        Wish::Say(text) => draft.say(&text),
        Wish::Cite(cited) => draft.cite(&cited),
        Wish::Guard(guard) => {
            draft.trace(None, || guard.trace());
            draft.say(guard.said());
        }
        Wish::Think(text) => draft.trace(None, || steps::rationale(&text)),
        Wish::Reason(text) => draft.trace(None, || steps::reasoning(&text)),
        Wish::Ask { collaborator, question } => {
            for (is_own, trace) in steps::collaboration(&collaborator, &question) {
                draft.trace(is_own.then_some(&*collaborator), || trace);
            }
        }
        Wish::Step(kinds) => {
            let traces = kinds.into_iter().flat_map(|kind| (kind.traces)());
            traces.for_each(|trace| draft.trace(None, || trace));
        }
        // These wait for the end of their stage.
        Wish::Act(_) | Wish::Make(_) | Wish::Fail(_) => {}
    }
}

fn hand_over(acts: &[Action], left: Left, draft: &mut Draft<'_>) -> Pending {
    let handed = actions::hand_over(acts);
    for action in acts {
        draft.trace(action.collaborator.as_deref(), || action.trace(&handed.invocation_id));
    }
    draft.event(handed.event);
    let Left { rest, told, message } = left;
    Pending { invocation_id: handed.invocation_id, awaited: handed.awaited, rest, told, message }
}
