//! What goes upstream with a turn, worked out of what the session holds and what came in.

use std::sync::Arc;
use std::time::SystemTime;

use crate::backend::{Ask, Route};
use crate::config::Profile;
use crate::store::Record;
use crate::turn::request::Overflow;
use crate::turn::{Failure, FailureKind, Message, ModelName, Pending, Role, TurnRequest};

use super::actor::Call;
use super::attempt::Order;
use super::conversation::{Arrival, Conversation, Prepared};
use super::env::Env;
use super::reconcile::Telling;

/// Works out what goes upstream; with a refusal where the request cannot be honoured.
pub(super) fn prepare(
    env: &Env,
    held: &mut Conversation,
    call: &Call,
    route: &Route,
    model: &ModelName,
) -> (Prepared, Option<Failure>) {
    let request = &call.request;
    let read = |waits: Option<&Pending>| read_results(route, request, waits);
    let arrival = Arrival {
        messages: &request.messages,
        telling: Telling {
            named: call.named,
            is_heard: call.route.model.profile == Profile::Voice,
            phrases: call.phrases(),
        },
        branches: call.branches,
        is_delta: request.is_delta,
        model,
        remembers: route.backend.remembers(),
        now: SystemTime::now(),
        base: call.base,
        room: env.room(),
        handed_back: request.handed_back.is_some().then_some(&read),
    };
    match held.prepare(&arrival) {
        Ok(prepared) => match check_that_all_is_told(held.record(), request, &prepared) {
            Ok(()) => (prepared, None),
            Err(failure) => (held.nothing_new(), Some(failure)),
        },
        Err(failure) => (held.nothing_new(), Some(failure)),
    }
}

/// Refuses a turn whose client wants all to be told, where the session has let go of some of it
/// and the upstream does not remember it either.
fn check_that_all_is_told(
    record: &Record,
    request: &TurnRequest,
    prepared: &Prepared,
) -> Result<(), Failure> {
    let is_retold = !prepared.history.is_empty();
    if request.overflow != Overflow::Refuse || record.dropped == 0 || !is_retold {
        return Ok(());
    }
    let message = "the session has let go of its oldest messages, so the model cannot be told all \
                   of it; send truncation: auto, or begin a new conversation";
    Err(Failure::new(FailureKind::ContextLengthExceeded, message).at("truncation"))
}

fn read_results(
    route: &Route,
    request: &TurnRequest,
    waits: Option<&Pending>,
) -> Result<Vec<Message>, Failure> {
    let Some(handed_back) = &request.handed_back else { return Ok(Vec::new()) };
    let waits = waits.filter(|pending| pending.invocation_id == handed_back.invocation_id);
    let Some(pending) = waits else {
        return Err(Failure::bad_field(
            "invocation_id",
            "this session waits for no results of this invocation",
        ));
    };
    route.backend.read_results(pending, handed_back)
}

pub(super) fn order(
    held: &Conversation,
    (call, model): (&Call, &ModelName),
    prepared: Prepared,
    refusal: Option<Failure>,
) -> Order {
    if let Some(failure) = refusal {
        return Order::Refuse(failure);
    }
    if let Some(pending) = prepared.unsettled {
        return Order::Restate(pending);
    }
    Order::Ask(Box::new(Ask {
        key: held.record().key.clone(),
        upstream: prepared.upstream,
        system: instructions(held.record(), &call.request),
        history: history_for(model, held.record(), prepared.history),
        input: prepared.input,
        pending: prepared.pending,
        request: Arc::clone(&call.request),
    }))
}

/// The client's instructions: those of this request, or those that the session keeps.
pub(super) fn instructions(record: &Record, request: &TurnRequest) -> Arc<[Message]> {
    let own = || request.messages.iter().filter(|message| message.role == Role::System);
    if own().next().is_none() || own().eq(record.system.iter()) {
        return Arc::clone(&record.system);
    }
    // More than a session keeps.
    own().cloned().collect()
}

/// The history as another model may have it: what a model thought, and signed, is for itself.
pub(super) fn history_for(
    model: &ModelName,
    record: &Record,
    mut history: Vec<Arc<Message>>,
) -> Vec<Arc<Message>> {
    if record.model != *model {
        for message in history.iter_mut().filter(|message| !message.thoughts.is_empty()) {
            Arc::make_mut(message).thoughts.clear();
        }
    }
    history
}
