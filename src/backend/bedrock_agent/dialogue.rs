//! The calls of one turn, in order.
//!
//! An agent that handed control over takes nothing but the results of it: a text sent with them
//! is ignored. So a turn is one call, or two where a user's text follows results or came in
//! their place:
//!
//! ```text
//! text                      → call(text)
//! results                   → call(results)
//! results, then text        → call(results), a blank line, call(text)
//! text instead of results   → call(interrupted) unheard, call(text)
//! ```
//!
//! Whatever the agent hands over while there is a text to tell it is answered as interrupted,
//! unheard, a few times at most.
//!
//! A call is tried again only where it surely did not start. One that carries results and was
//! refused within its stream may have taken them.

use std::sync::Arc;

use aws_sdk_bedrockagentruntime::types::{InputFile, InvocationResultMember};

use crate::backend::aws::{AgentAccess, Place};
use crate::backend::{Ask, Deps, retry};
use crate::config::{Model, Turn as TurnConfig};
use crate::metrics::{Metrics, Outcome};
use crate::turn::{Failure, FailureKind, FinishReason, ReturnControl};

use super::answer::{Answer, Manner};
use super::failure::Refused;
use super::results::{self, Results};
use super::wishes::Wishes;
use super::{files, prose};

/// Hand-overs that are answered as interrupted before an agent is taken to be stuck.
const PATIENCE: usize = 3;

/// The service as one model reaches it.
#[derive(Debug)]
pub(in crate::backend) struct Upstream {
    /// The kind of backend, for metrics.
    pub(in crate::backend) kind: &'static str,
    /// The client and its budget.
    pub(in crate::backend) access: AgentAccess,
    /// Where calls are counted.
    pub(in crate::backend) metrics: Arc<Metrics>,
    /// The model's settings.
    pub(in crate::backend) model: Model,
    /// How often to try.
    pub(in crate::backend) turn: TurnConfig,
    /// Whether clients of all models may have raw traces.
    pub(in crate::backend) debug_traces: bool,
}

impl Upstream {
    /// Reaches the service as the model's settings say.
    pub(in crate::backend) fn open(kind: &'static str, model: &Model, deps: &Deps) -> Self {
        let place = Place { region: model.region.clone(), endpoint: model.endpoint_url.clone() };
        Self {
            kind,
            access: deps.aws.agents(&place),
            metrics: Arc::clone(&deps.metrics),
            model: model.clone(),
            turn: deps.config.turn.clone(),
            debug_traces: deps.config.routing.debug_traces,
        }
    }
}

/// An operation of the service, with all of a turn that does not differ from call to call.
pub(in crate::backend) trait Operation: Sync {
    /// Makes one call and reads its stream into the answer.
    fn call(
        &self,
        step: &Step,
        answer: &mut Answer<'_>,
    ) -> impl Future<Output = Result<(), Refused>> + Send;
}

/// What one call of a turn brings.
#[derive(Debug, Default)]
pub(in crate::backend) struct Step {
    /// `returnControlInvocationResults`.
    pub(in crate::backend) results: Option<Results>,
    /// `inputText`.
    pub(in crate::backend) text: Option<String>,
    /// `files`.
    pub(in crate::backend) files: Vec<InputFile>,
    /// Whether the earlier conversation goes with it.
    pub(in crate::backend) is_first: bool,
    /// Whether the session may end with it.
    pub(in crate::backend) is_last: bool,
}

impl Step {
    /// The results and the id of the hand-over that they answer, as members of a session's state.
    pub(in crate::backend) fn results(
        &self,
    ) -> (Option<String>, Option<Vec<InvocationResultMember>>) {
        self.results.clone().map(Results::into_parts).unzip()
    }
}

/// The calls that a turn takes, before any was made.
#[derive(Debug)]
pub(in crate::backend) struct Plan {
    /// Results first, and whether anybody hears what the agent says to them.
    opening: Option<(Results, bool)>,
    /// Then what is new.
    closing: Option<Step>,
}

impl Plan {
    /// What this turn takes.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub(in crate::backend) fn of(ask: &Ask, wishes: &Wishes) -> Result<Self, Failure> {
        let text = prose::input_text(ask)?;
        let files = files::of(&ask.input, wishes.file_use)?;
        let is_silent = text.is_empty() && files.is_empty();
        // A session that ends with nothing said waits for no results any more.
        let pending = ask.pending.as_ref().filter(|it| it.is_answered() || !is_silent);
        let opening = match pending {
            Some(pending) => {
                Some((results::of(pending, wishes.tool_errors)?, pending.is_answered()))
            }
            None => None,
        };
        let closing = (opening.is_none() || !is_silent).then(|| Step {
            text: (!text.is_empty()).then_some(text),
            files,
            is_first: opening.is_none(),
            is_last: true,
            results: None,
        });
        Ok(Self { opening, closing })
    }
}

/// Makes a turn's calls and tells their usage.
///
/// # Errors
/// The failure of the call that failed; the turn may have run if one before it did.
pub(in crate::backend) async fn hold<O: Operation>(
    upstream: &Upstream,
    operation: &O,
    plan: Plan,
    answer: Answer<'_>,
) -> Result<FinishReason, Failure> {
    let mut dialogue = Dialogue { upstream, operation, answer, has_run: false };
    dialogue.run(plan).await?;
    Ok(dialogue.answer.finish())
}

struct Dialogue<'a, O> {
    upstream: &'a Upstream,
    operation: &'a O,
    answer: Answer<'a>,
    /// Whether a call of this turn went well already.
    has_run: bool,
}

impl<O: Operation> Dialogue<'_, O> {
    async fn run(&mut self, plan: Plan) -> Result<(), Failure> {
        let Plan { opening, closing } = plan;
        if let Some((results, is_heard)) = opening {
            let manner = match (&closing, is_heard) {
                (_, false) => Manner::Muted,
                (Some(_), true) => Manner::AloudButHandOver,
                (None, true) => Manner::Aloud,
            };
            let is_last = closing.is_none();
            let step = Step { results: Some(results), is_first: true, is_last, ..Step::default() };
            self.step(&step, manner).await?;
        }
        let Some(closing) = closing else { return Ok(()) };
        self.decline().await?;
        self.step(&closing, Manner::Aloud).await
    }

    /// Answers what the agent still hands over as interrupted.
    async fn decline(&mut self) -> Result<(), Failure> {
        for _ in 0..PATIENCE {
            let Some(control) = self.answer.take_hand_over() else { return Ok(()) };
            self.interrupt(&control).await?;
        }
        match self.answer.take_hand_over() {
            None => Ok(()),
            Some(_) => {
                let message = "the agent goes on handing control over though it was interrupted";
                let stuck = Failure::new(FailureKind::UpstreamProtocol, message);
                Err(Failure { may_have_run: true, ..stuck })
            }
        }
    }

    async fn interrupt(&mut self, control: &ReturnControl) -> Result<(), Failure> {
        let results = Some(results::interrupted(control)?);
        self.step(&Step { results, ..Step::default() }, Manner::Muted).await
    }

    /// Makes a call, again where that is safe.
    async fn step(&mut self, step: &Step, manner: Manner) -> Result<(), Failure> {
        let Upstream { kind, access, metrics, turn, .. } = self.upstream;
        let mut delays = retry::delays(turn.retry_delay, turn.retries);
        loop {
            self.answer.begin(manner);
            let called = self.operation.call(step, &mut self.answer).await;
            self.answer.tell_usage().await;
            let Err(refused) = called else {
                metrics.upstream_request(kind, Outcome::Ok);
                access.budget.earn();
                self.has_run = true;
                return Ok(());
            };
            metrics.upstream_request(kind, Outcome::Failed);
            metrics.upstream_error(kind, refused.failure.kind);
            let wait = if is_safe(&refused, step) { delays.next() } else { None };
            let Some(wait) = wait.filter(|_| access.budget.spend()) else {
                return Err(self.failure(refused, step));
            };
            metrics.upstream_retry(kind);
            tokio::time::sleep(wait).await;
        }
    }

    fn failure(&self, refused: Refused, step: &Step) -> Failure {
        let may_have_run = self.has_run || !(is_safe(&refused, step) || is_at_the_door(&refused));
        let failure = Failure { may_have_run, ..refused.failure };
        if step.results.is_some() && failure.kind == FailureKind::UpstreamRejected {
            return Failure {
                message: "the agent no longer waits for these results; send the request again to \
                          go on in a new session of the agent"
                    .into(),
                ..failure.at("messages")
            };
        }
        failure
    }
}

/// Whether the service did not even let the request in: it may be asked elsewhere instead.
fn is_at_the_door(refused: &Refused) -> bool {
    let is_closed = matches!(
        refused.failure.kind,
        FailureKind::UpstreamDenied | FailureKind::ModelNotFound | FailureKind::UpstreamRejected
    );
    !refused.in_stream && is_closed
}

/// Whether a call can be made again without the risk that it is run twice.
fn is_safe(refused: &Refused, step: &Step) -> bool {
    refused.did_not_start && (step.results.is_none() || !refused.in_stream)
}
