//! Outcrop: a session broker.
//!
//! Clients that speak OpenAI's chat format resend the whole conversation with every request;
//! Amazon Bedrock agents keep it themselves, under a session id. Outcrop stands between the two:
//! it finds out which conversation a request belongs to, holds that conversation in an actor of
//! its own, and sends only what is new upstream. This page says how a request travels, what holds
//! on the way, and what happens when something goes wrong. Files are named below `src/`. The
//! README says how to run it.
//!
//! # The life of a turn
//!
//! A *turn* is one request and the answer to it. A *session* is one conversation and runs one
//! turn at a time.
//!
//! ```text
//! client ─▶ edge ─▶ gate ─▶ wire ─▶ Sessions ─▶ session actor ─▶ pump ─▶ backend ─▶ Bedrock
//! client ◀─ edge ◀─ wire ◀─ turn log ◀───────── session actor ◀─ pump ◀────┘
//! ```
//!
//! 1. The [`listener`](edge::listener) accepts the connection and bounds it. One warp filter in
//!    [`edge`] takes the request apart; one table, `edge/routes.rs`, says what answers it. The
//!    paths of turns come from the formats that are spoken there (`edge/surfaces.rs`).
//! 2. The [`Gate`](gate::Gate) finds out who is calling and takes the request from the key's
//!    allowance, before the body is read. The [`Admission`](gate::Admission) that it gives is
//!    held until the turn has ended.
//! 3. A [`WireFormat`](wire::WireFormat) decodes the body into a
//!    [`TurnRequest`](turn::TurnRequest). [`FORMATS`](wire::FORMATS) lists the formats. They know
//!    nothing of backends, and backends nothing of them: both speak the vocabulary in [`turn`].
//!    The answer is in the format of the body, or in the one that `target_format` names.
//! 4. [`Routes`](backend::Routes) finds the model: a configured name, a direct form, or the
//!    default. Agents and models that nobody configured are known from the control plane, which a
//!    task of its own asks from time to time (`backend/discovery/watcher.rs`).
//! 5. [`Sessions::submit`](session::Sessions::submit) works out which session this is. A name
//!    that the client gave comes first; else the transcript that it resent is looked up by its
//!    digest (`session/identity.rs`); else a session begins. The session's actor is looked up in
//!    `session/directory.rs`, or spawned, and given the turn.
//! 6. The actor (`session/actor.rs`) asks its phase (`session/phase.rs`), a state machine without
//!    I/O, what to do: start the turn, let it wait, refuse it, or stop the one that runs.
//! 7. A pure function, `session/reconcile.rs`, compares what is held with what came in. What is
//!    new goes to the upstream session that already knows the rest. When there is none, or it may
//!    have expired, or the client edited its transcript, a new upstream session is opened and
//!    seeded with the history (`session/conversation/mod.rs`).
//! 8. The [`Backend`](backend::Backend) calls upstream and puts [`TurnEvent`](turn::TurnEvent)s
//!    into an [`Outlet`](backend::Outlet). The pump (`session/pump.rs`) polls the backend, and
//!    sends the events that came together to the actor as one message.
//! 9. The actor appends them to the turn's log (`session/turn_log.rs`).
//!    [`TurnReader`](session::TurnReader)s follow the log, each at its own pace and from any
//!    event on.
//! 10. The edge follows the log (`edge/follow.rs`), and the format's
//!     [`Encoder`](wire::Encoder) writes each event down as bytes. Until the first event that
//!     shows, a failure is an HTTP status; after it, an error within the stream. A silence longer
//!     than the keep-alive interval opens the stream without it.
//! 11. At the end the actor takes the answer into the transcript, and only then appends the last
//!     event: a client that has seen one turn end finds it in the session with its next request.
//!     Then the actor hands the record to the [store](store::SessionStore).
//!
//! # Layers
//!
//! ```text
//! cli ─▶ edge ─▶ gate, session, wire ─▶ backend, store ─▶ metrics, config ─▶ turn
//! cli ─▶ emulator ─▶ config, turn
//! ```
//!
//! A part may name those to its right, and never those to its left or beside it.
//! `tests/layers.rs` reads the paths in the sources and keeps this so; it also keeps warp in
//! [`edge`], ractor in [`session`], governor in [`gate`], prometheus in [`metrics`], the AWS SDK
//! and HTTP clients in [`backend`], and the process's environment in [`config`].
//!
//! # What holds
//!
//! - **A turn's log has one writer**, the session's actor. It alone decides what comes before
//!   what.
//! - **Nothing is appended after an interrupt.** The actor takes the order to stop from the same
//!   mailbox as the events. What the pump sent before it was cut and is still in the mailbox
//!   carries the number of a turn that no longer runs, and is dropped.
//! - **A turn ends once**, with `Finished` or `Failed`. A writer that is dropped without
//!   either, by a panic say, appends a failure; so no reader waits for ever.
//! - **A session has at most one actor that takes turns.** It is spawned under the lock of its
//!   directory entry, and leaves the directory before it stops.
//! - **A slow reader holds nobody up.** It lags behind in the log; the session and the upstream
//!   do not wait for it.
//! - **A retry never runs a turn twice.** An upstream call is repeated only when nothing came of
//!   it and the service surely did not begin the turn.
//! - **A session belongs to its tenant.** Every look-up is by tenant and id. What belongs to
//!   another tenant is answered like what does not exist.
//! - **Handlers of actors never wait** for the network or the disk.
//!
//! # Bounds
//!
//! | what | bound | where it is set |
//! |---|---|---|
//! | open connections | 20,000, then the kernel's backlog | `server.max_connections` |
//! | requests at once on one HTTP/2 connection | 100 | `edge/listener/connection.rs` |
//! | a request head | 64 KiB and 100 fields, 10 s | `server.header_limit_bytes`, `server.header_timeout_seconds` |
//! | a request body | 20 MiB, 30 s | `server.body_limit_bytes`, `server.body_timeout_seconds` |
//! | messages and attachments in one chat request | 10,000 and 1,000 | `wire/openai_chat/messages.rs` |
//! | messages and blocks in one request of another dialect | 10,000 and 40,000 | `wire/said.rs` |
//! | a client that takes no bytes | 60 s | `server.write_timeout_seconds` |
//! | requests a minute and turns at once of a key | none | `keys.requests_per_minute`, `keys.concurrent_turns` |
//! | requests a minute of all keys | none | `limits.requests_per_minute` |
//! | turns in the broker, running or waiting | 10,000 | `turn.max_in_flight` |
//! | turns that wait in one session | 8, for 60 s | `turn.queue`, `turn.queue_wait_seconds` |
//! | turns that run without a reader | 1,000 | `turn.max_detached` |
//! | requests that wait for a session's next turn | 64, for 55 s | `session/commands.rs`, `edge/sessions/following.rs` |
//! | sessions that one list by their state is chosen from | 10,000 with an actor | `session/listing.rs` |
//! | sessions with an actor | 200,000 | `session.max_resident` |
//! | sessions of a tenant | 100,000, then the one idle the longest goes | `session.max_per_tenant` |
//! | branches that forks of one session leave behind | 32, then the oldest goes | `session/running.rs` |
//! | a session's transcript | 1 MiB and 1,000 messages | `session.history_bytes`, `session.history_messages` |
//! | files that came with answers, of all sessions | 64 MiB, then the oldest go | `session.files_bytes` |
//! | a history that seeds an upstream session | 400,000 bytes | `backend/bedrock_agent/mod.rs` |
//! | events between backend and pump | yields at 64 | [`Outlet`](backend::Outlet) |
//! | messages of one turn in its actor's mailbox | 16 | `session/pump.rs` |
//! | what one turn may produce | 8 MiB, then it is cut as too long | `turn.output_bytes` |
//! | a turn | 120 s to the first event, 120 s of silence, 900 s in all | `turn.*_timeout_seconds` |
//! | ended turns kept for readers that come back | 60 s and 16 MiB together | `turn.resume_seconds`, `turn.resume_bytes` |
//! | writes and reads that wait for the store's threads | 32,768 and 16,384, then refused | `store/sqlite/job.rs`, `store/sqlite/readers.rs` |
//! | digests of transcripts | above 500,000 the old ones go early | `session/identity.rs` |
//! | upstream retries | 2 a turn, and a budget for each region and endpoint | `turn.retries`, `backend/retry.rs` |
//! | discovered agents | 500 aliases, 4 calls at once, 10 s each | `discovery.max_agents`, `backend/discovery/watcher.rs` |
//! | discovered models | 2,000 | `backend/discovery/models.rs` |
//! | CodeWhisperer's models, and turns of a conversation with it | 200, and 10,000 entries | `backend/codewhisperer/models.rs`, `backend/codewhisperer/request.rs` |
//! | images of one message to CodeWhisperer | 10 of 10 MB | `backend/codewhisperer/image.rs` |
//! | waiting for another process to renew a token | 30 s | `backend/sign_in/files.rs` |
//! | calls for the embeddings of one request | 8 at once | `backend/bedrock/embeddings/mod.rs` |
//! | log lines waiting to be written | 10,000, then dropped and counted | `cli/logging.rs` |
//! | different `model` labels | 500 | [`metrics::MAX_MODELS`] |
//!
//! ractor's mailboxes know no bound. What can be sent to an actor is bounded instead: turns by
//! the permits of `turn.max_in_flight`, events by the pump's credit.
//!
//! # Session states
//!
//! | phase | what | over HTTP |
//! |---|---|---|
//! | `Loading` | the store was asked for the session's record; turns wait | `idle` |
//! | `Idle` | no turn runs | `idle` |
//! | `Running` | one turn runs, others may wait | `running` |
//! | `Gone` | the actor takes no more turns; the next one finds or makes another actor | |
//! | no actor | the record is in the store | `passivated` |
//!
//! Each turn says how it found its session ([`Origin`](session::Origin)): `new`, `continued`,
//! `revived` from the store, `rehydrated` (the upstream did not know the conversation and was
//! seeded with it), or `forked` (the transcript left the one that is held).
//!
//! # When something happens
//!
//! **The client leaves.** The last reader of a running turn tells the actor. By the policy
//! `cancel` the upstream call is dropped, and what was said by then stays in the transcript,
//! marked as interrupted. By `detach` the turn runs on and can be rejoined, as long as fewer
//! turns than `turn.max_detached` do so. A turn that still waits in the queue is dropped by
//! either policy.
//!
//! **Somebody interrupts.** A turn with the policy `interrupt` stops the running turn and those
//! that wait. An interrupt over HTTP stops the running turn only; with `spoken` the transcript
//! keeps just that of the answer, also when the answer had already been generated to its end.
//!
//! **Nobody speaks.** After `session.resident_seconds` the actor stops; its record is in the
//! store already. The next turn spawns another one. After `session.expire_seconds` the record
//! goes too. Some agents forget earlier, and do not say so: past 95 % of the agent's idle time, as
//! its control plane tells it or else `idle_session_ttl_seconds`, the actor opens a new upstream
//! session and seeds it.
//!
//! **A session panics.** A backend that panics is one failed turn. An actor that panics fails
//! its running and waiting turns, the supervisor (`session/supervisor.rs`) counts it, and the next
//! turn revives the session as it was after the last turn that was saved.
//!
//! **The process ends.** Sessions are in the store's file (`store/sqlite/mod.rs`), and the next
//! process goes on with them; turns that were cut off are interrupted when it opens the file. With
//! the store in memory they end with the process: a client that resends its transcript is
//! rehydrated by the next one, one that sends only what is new begins blank.
//!
//! **The broker is told to stop.** New turns are refused with 503, `/readyz` says so, and the
//! listener stays open meanwhile. Running and waiting turns have `server.drain_seconds`; those
//! that are left then fail as `draining`. Then idle connections close, answers have five seconds
//! to reach their clients, and the process exits. A second signal does not wait.

pub mod backend;
pub mod cli;
pub mod config;
pub mod edge;
pub mod emulator;
pub mod gate;
pub mod metrics;
pub mod session;
pub mod store;
pub mod turn;
pub mod wire;
