//! What a client asks of a turn, whatever dialect it spoke.

use std::collections::BTreeMap;

use super::{Message, ModelName, SessionId};

/// One turn, as asked for.
#[derive(Debug, Clone, Default)]
pub struct TurnRequest {
    /// The model named, if any; the routes' default stands in for none.
    pub model: Option<ModelName>,
    /// Everything the client sent, oldest first: a whole transcript, or what is new.
    pub messages: Vec<Message>,
    /// Which session the client says this is.
    pub hints: SessionHints,
    /// What the client tells about the request, for logs and, where the model says so, for the
    /// agent as session attributes.
    pub metadata: BTreeMap<String, String>,
    /// Attributes kept upstream for the whole session.
    pub session_attributes: BTreeMap<String, String>,
    /// Attributes for this turn only.
    pub prompt_attributes: BTreeMap<String, String>,
    /// The key of the agent's long-term memory, where it has one.
    pub memory_id: Option<String>,
    /// Whether the upstream session ends with this turn.
    pub end_session: bool,
    /// Whether the client wants the raw traces, where the operator allows it.
    pub wants_traces: bool,
    /// What to do when a turn is running, if the client overrides the model's policy.
    pub turn_policy: Option<TurnPolicy>,
    /// What to do when the client leaves, if it overrides the model's policy.
    pub disconnect_policy: Option<DisconnectPolicy>,
}

/// Which session a request belongs to, as far as the client says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionHints {
    /// The session the client named, by the first of the ways that it used.
    pub named: Option<SessionId>,
    /// Who speaks (`user`, `safety_identifier`): never names a session by itself, but two
    /// different ones never share one.
    pub speaker: Option<String>,
}

/// What happens to a turn that arrives while another one of its session runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TurnPolicy {
    /// It waits for its place, in order of arrival, bounded in number and time.
    #[default]
    Queue,
    /// It is refused with 409.
    Reject,
    /// The running one is stopped, keeps what was said, and the new one starts (barge-in).
    Interrupt,
}

impl TurnPolicy {
    /// Every policy with its name in configuration and headers.
    pub const NAMES: &'static [(&'static str, Self)] =
        &[("queue", Self::Queue), ("reject", Self::Reject), ("interrupt", Self::Interrupt)];
}

/// What happens to a turn whose last reader goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DisconnectPolicy {
    /// It is stopped, upstream too.
    #[default]
    Cancel,
    /// It runs on and can be rejoined.
    Detach,
}

impl DisconnectPolicy {
    /// Every policy with its name in configuration and headers.
    pub const NAMES: &'static [(&'static str, Self)] =
        &[("cancel", Self::Cancel), ("detach", Self::Detach)];
}

/// Looks a policy up by its name in such a list.
#[must_use]
pub fn named<P: Copy>(names: &[(&'static str, P)], name: &str) -> Option<P> {
    names.iter().find(|(known, _)| *known == name).map(|(_, policy)| *policy)
}
