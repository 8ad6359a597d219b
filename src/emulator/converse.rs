//! A call is taken into its session, and the agent thinks of an answer.

use std::collections::VecDeque;

use super::Emulated;
use super::actions::{self, Action, Awaited};
use super::demo_agent;
use super::draft::{Draft, Drafted};
use super::faults::Fault;
use super::files_out;
use super::pieces::Cut;
use super::refusal::Refusal;
use super::request::{Ask, check_attributes};
use super::results::{self, Outcome, Returned};
use super::script::Plan;
use super::sessions::{Session, SessionKey};
use super::steps;
use super::traces::{Size, Tracer};
use super::wishes::{self, Stage, Wish};

/// The session attribute with the caller's phone number.
const PHONE_NUMBER: &str = "phone_number";
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

/// Takes the call into its session and plans the answer.
///
/// # Errors
/// When a fault refuses the call, or the call does not fit what the session waits for.
pub(super) fn converse(
    emulated: &Emulated,
    key: &SessionKey,
    ask: &Ask,
    session: &mut Session,
) -> Result<Plan, Refusal> {
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
    if session.memory.turns == 0 {
        let told = ask.history().iter().filter_map(|message| message.user_text());
        told.for_each(|text| session.memory.listen(&text));
    }
    let turns = session.memory.turns as usize;
    let tracer = ask.wants_traces().then(|| Tracer::new(key.clone(), &emulated.account));
    let draft = Draft::new(tracer.as_ref(), ask.wants_stream());
    let Drafted { parts, said, fails, hands_over } = answer(ask, session, draft)?;
    session.turns = session.turns.saturating_add(1);
    session.ending = ask.ends_session();
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

/// Lets the agent answer results, or else a message.
fn answer(ask: &Ask, session: &mut Session, draft: Draft<'_>) -> Result<Drafted, Refusal> {
    if let Some(results) = ask.results() {
        return take_back(results, ask.invocation_id(), session, draft);
    }
    let Some(text) = &ask.input_text else { return Ok(draft.finish(None)) };
    if let Some(pending) = &session.pending {
        return Err(Refusal::validation(format!(
            "the session waits for the results of {} in returnControlInvocationResults",
            pending.names().join(", "),
        )));
    }
    match wishes::stages(text) {
        Some(stages) => {
            session.memory.listen(text);
            Ok(begin(text.len(), stages, session, draft))
        }
        None => Ok(speak(text, session, draft)),
    }
}

fn speak(text: &str, session: &mut Session, mut draft: Draft<'_>) -> Drafted {
    let phone_number = session.attributes.get(PHONE_NUMBER).map(String::as_str);
    let answer = demo_agent::answer(&mut session.memory, text, phone_number);
    draft.tell(answer.text, if answer.word_by_word { Cut::Words } else { Cut::Bytes });
    draft.finish(None)
}

fn begin(
    message: usize,
    stages: Result<Vec<Stage>, String>,
    session: &mut Session,
    mut draft: Draft<'_>,
) -> Drafted {
    match stages {
        Ok(stages) => {
            let left = Left { rest: stages.into(), told: Vec::new(), message };
            play(left, session, draft)
        }
        Err(reason) => {
            draft.say(&format!("I cannot follow this: {reason}."));
            draft.finish(None)
        }
    }
}

/// Goes on with the results of what was handed over.
fn take_back(
    results: &[Returned],
    invocation_id: Option<&str>,
    session: &mut Session,
    draft: Draft<'_>,
) -> Result<Drafted, Refusal> {
    let Some(pending) = &session.pending else {
        return Err(Refusal::validation("the session waits for no results of actions"));
    };
    if invocation_id != Some(&pending.invocation_id) {
        return Err(Refusal::validation("invocationId is not the one of the actions asked for"));
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
    Ok(play(Left { rest, told, message }, session, draft))
}

/// What is left to do of a message with phrases.
struct Left {
    rest: VecDeque<Stage>,
    told: Vec<String>,
    message: usize,
}

/// Does the next stage. The one that hands nothing over, the last, begins with what all results
/// amount to; the others keep that for it.
fn play(mut left: Left, session: &mut Session, mut draft: Draft<'_>) -> Drafted {
    let stage = left.rest.pop_front().unwrap_or_default();
    if !stage.hands_over() {
        draft.say(&left.told.join("\n"));
    }
    let mut acts = Vec::new();
    let mut files = Vec::new();
    let mut fails = None;
    for wish in stage.wishes {
        match wish {
            Wish::Act(action) => acts.push(action),
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
