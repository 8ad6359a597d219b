//! The closed sets that labels are taken from.
//!
//! Each is an enum in declaration order with a list of all its values, so that a series exists
//! from the start, at zero, and `rate()` sees its first step.

/// How a turn, or one call to an upstream, came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It ended as it should.
    Ok,
    /// It ended as it should not.
    Failed,
    /// Somebody stopped it; neither a success nor an error.
    Interrupted,
}

impl Outcome {
    /// Every outcome, in declaration order.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Failed, Self::Interrupted];

    /// The label `outcome`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Who or what stopped a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterruptReason {
    /// Its last reader went away and the policy was to cancel.
    Disconnect,
    /// A newer turn of the session took its place.
    BargeIn,
    /// A client asked for it.
    Request,
    /// Its session was ended.
    SessionEnded,
    /// The broker shut down before it was done.
    Shutdown,
    /// It reached the limit on a whole turn.
    Timeout,
}

impl InterruptReason {
    /// Every reason, in declaration order.
    pub const ALL: [Self; 6] = [
        Self::Disconnect,
        Self::BargeIn,
        Self::Request,
        Self::SessionEnded,
        Self::Shutdown,
        Self::Timeout,
    ];

    /// The label `reason` of `outcrop_turns_interrupted_total`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::BargeIn => "barge_in",
            Self::Request => "request",
            Self::SessionEnded => "session_ended",
            Self::Shutdown => "shutdown",
            Self::Timeout => "timeout",
        }
    }
}

/// Why a session is no more. Passivation is not an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// A client ended it.
    Ended,
    /// It had no turn for `session.expire_seconds`.
    Expired,
    /// It made room for others at one of the limits on sessions.
    Evicted,
    /// Its actor died and nothing was left to revive it from.
    Crashed,
}

impl EndReason {
    /// Every reason, in declaration order.
    pub const ALL: [Self; 4] = [Self::Ended, Self::Expired, Self::Evicted, Self::Crashed];

    /// The label `reason` of `outcrop_sessions_ended_total`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Crashed => "crashed",
        }
    }
}

/// Which limit turned somebody away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// A key's `requests_per_minute`.
    KeyRequests,
    /// A key's `tokens_per_minute`.
    KeyTokens,
    /// `limits.requests_per_minute`, all keys together.
    GlobalRequests,
    /// A key's `concurrent_turns`.
    ConcurrentTurns,
    /// `turn.queue`: the session had no place left.
    SessionQueue,
    /// `turn.queue_wait_seconds`: the place was not reached in time.
    QueueWait,
    /// `turn.max_in_flight`.
    TurnsInFlight,
    /// `turn.max_detached`.
    DetachedTurns,
    /// `session.max_per_tenant`.
    TenantSessions,
    /// `session.max_resident`.
    ResidentSessions,
}

impl Limit {
    /// Every limit, in declaration order.
    pub const ALL: [Self; 10] = [
        Self::KeyRequests,
        Self::KeyTokens,
        Self::GlobalRequests,
        Self::ConcurrentTurns,
        Self::SessionQueue,
        Self::QueueWait,
        Self::TurnsInFlight,
        Self::DetachedTurns,
        Self::TenantSessions,
        Self::ResidentSessions,
    ];

    /// The label `limit`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeyRequests => "key_requests",
            Self::KeyTokens => "key_tokens",
            Self::GlobalRequests => "global_requests",
            Self::ConcurrentTurns => "concurrent_turns",
            Self::SessionQueue => "session_queue",
            Self::QueueWait => "queue_wait",
            Self::TurnsInFlight => "turns_in_flight",
            Self::DetachedTurns => "detached_turns",
            Self::TenantSessions => "tenant_sessions",
            Self::ResidentSessions => "resident_sessions",
        }
    }
}

/// Which way tokens went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenDirection {
    /// Read by the model, cached ones included.
    Input,
    /// Written by the model, reasoning included.
    Output,
}

impl TokenDirection {
    /// The label `direction`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

/// What was asked of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreOp {
    /// A session was read.
    Load,
    /// A session was written, perhaps with a turn that ended.
    Save,
    /// A turn was written that began.
    Begin,
    /// A turn was looked up.
    Turn,
    /// A session was forgotten.
    Remove,
    /// A tenant's sessions were listed, or one was looked for by its transcript.
    List,
    /// Sessions past their time were swept out.
    Sweep,
}

impl StoreOp {
    /// Every operation, in declaration order.
    pub const ALL: [Self; 7] =
        [Self::Load, Self::Save, Self::Begin, Self::Turn, Self::Remove, Self::List, Self::Sweep];

    /// The label `op`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Save => "save",
            Self::Begin => "begin",
            Self::Turn => "turn",
            Self::Remove => "remove",
            Self::List => "list",
            Self::Sweep => "sweep",
        }
    }
}
