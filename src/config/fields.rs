//! Every setting, once: its name, its kind and its place in [`Config`].
//!
//! The lists below are walked by whoever deals with settings by name: the reader fills the
//! places, the writer prints them, and [`names`] lists what is known. So what is known, what is
//! read and what is shown cannot differ. Each list takes its struct apart to the last field: a
//! field that is added there does not compile until it is named here.

use super::kind::{Count, Flag, Id, Kind, List, Maybe, Named, Positive, Seconds};
use super::text::{Address, Clear, KeyHash, Level, Text};
use super::{
    Aws, CodeWhisperer, Config, Discovery, Emulator, Key, Limits, Log, LogFormat, OpenAi, Routing,
    Secret, Server, Session, Store, StoreKind, Synchronous, Turn,
};
use crate::turn::{DisconnectPolicy, ModelName, TenantId};

/// Request heads: hyper takes no limit below 8 KiB, and keeps what it reads in memory.
const HEADER_BYTES: Count = Count(8 << 10..=16 << 20);
/// Bodies are held in memory: up to a gibibyte.
const BODY_BYTES: Count = Count(1..=1 << 30);
/// Attempts beyond ten only add to an upstream's trouble.
const RETRIES: Count = Count(0..=10);
/// Each reader of the store is a thread and an open file.
const READERS: Count = Count(1..=64);

/// Whoever walks the settings.
pub(super) trait Fields {
    /// The settings that follow are of this section; the one before is done.
    fn section(&mut self, name: &'static str);

    /// A setting of the current section or table.
    fn field<K: Kind>(&mut self, name: &'static str, kind: &K, value: &mut K::Value);

    /// A setting that has no default.
    fn required<K: Kind>(&mut self, name: &'static str, kind: &K, value: &mut K::Value);
}

/// One `[[keys]]` table as it is written: its hash, or the key itself.
pub(super) struct KeyTable {
    /// All but the hash.
    pub(super) key: Key,
    pub(super) hash: Option<[u8; 32]>,
    pub(super) clear: Option<Secret>,
}

impl KeyTable {
    /// A table for such a key, whose hash is not known yet.
    pub(super) fn new(tenant: TenantId) -> Self {
        Self { key: Key::new(tenant, [0; 32]), hash: None, clear: None }
    }
}

/// The name of one setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) section: &'static str,
    pub(super) field: &'static str,
}

impl Name {
    /// As messages and [`Flag`](super::Flag)s spell it.
    pub(super) fn path(self) -> String {
        format!("{}.{}", self.section, self.field)
    }

    /// The variable that sets it.
    pub(super) fn variable(self) -> String {
        format!("OUTCROP_{}__{}", self.section, self.field).to_ascii_uppercase()
    }
}

/// The names of all settings outside of `[[models]]` and `[[keys]]`.
pub(super) fn names() -> Vec<Name> {
    let mut names = Names::default();
    sections(&mut names, &mut Config::default());
    names.all
}

/// Takes down what it is shown.
#[derive(Default)]
pub(super) struct Names {
    section: &'static str,
    pub(super) all: Vec<Name>,
}

impl Fields for Names {
    fn section(&mut self, name: &'static str) {
        self.section = name;
    }

    fn field<K: Kind>(&mut self, name: &'static str, _kind: &K, _value: &mut K::Value) {
        self.all.push(Name { section: self.section, field: name });
    }

    fn required<K: Kind>(&mut self, name: &'static str, kind: &K, value: &mut K::Value) {
        self.field(name, kind, value);
    }
}

/// All sections; `[[models]]` and `[[keys]]` are walked table by table, by
/// [`model_fields`](super::model_fields) and [`key`].
pub(super) fn sections(fields: &mut impl Fields, config: &mut Config) {
    let Config {
        server,
        session,
        store,
        turn,
        limits,
        aws,
        openai,
        codewhisperer,
        log,
        routing,
        models: _,
        keys: _,
        discovery,
        emulator,
    } = config;
    server_section(fields, server);
    session_section(fields, session);
    store_section(fields, store);
    turn_section(fields, turn);
    limits_section(fields, limits);
    aws_section(fields, aws);
    openai_section(fields, openai);
    codewhisperer_section(fields, codewhisperer);
    log_section(fields, log);
    routing_section(fields, routing);
    discovery_section(fields, discovery);
    emulator_section(fields, emulator);
}

fn server_section(fields: &mut impl Fields, server: &mut Server) {
    let Server {
        listen,
        insecure_no_auth,
        allowed_origins,
        body_limit_bytes,
        body_timeout,
        header_limit_bytes,
        header_timeout,
        idle_timeout,
        write_timeout,
        max_connections,
        keep_alive,
        voice_keep_alive,
        drain,
        health_account,
    } = server;
    fields.section("server");
    fields.field("listen", &Address, listen);
    fields.field("insecure_no_auth", &Flag, insecure_no_auth);
    fields.field("allowed_origins", &List(Text::ORIGIN), allowed_origins);
    fields.field("body_limit_bytes", &BODY_BYTES, body_limit_bytes);
    fields.field("body_timeout_seconds", &Seconds::SOME, body_timeout);
    fields.field("header_limit_bytes", &HEADER_BYTES, header_limit_bytes);
    fields.field("header_timeout_seconds", &Seconds::SOME, header_timeout);
    fields.field("idle_timeout_seconds", &Seconds::SOME, idle_timeout);
    fields.field("write_timeout_seconds", &Seconds::SOME, write_timeout);
    fields.field("max_connections", &Count::SOME, max_connections);
    fields.field("keep_alive_seconds", &Seconds::SOME, keep_alive);
    fields.field("voice_keep_alive_seconds", &Seconds::SOME, voice_keep_alive);
    fields.field("drain_seconds", &Seconds::ANY, drain);
    fields.field("health_account", &Flag, health_account);
}

fn session_section(fields: &mut impl Fields, session: &mut Session) {
    let Session {
        resident,
        expire,
        max_per_tenant,
        max_resident,
        resident_bytes,
        history_bytes,
        history_messages,
        match_transcripts,
        files_bytes,
    } = session;
    fields.section("session");
    fields.field("resident_seconds", &Seconds::SOME, resident);
    fields.field("expire_seconds", &Seconds::SOME, expire);
    fields.field("max_per_tenant", &Count::SOME, max_per_tenant);
    fields.field("max_resident", &Count::SOME, max_resident);
    fields.field("resident_bytes", &Count::BYTES, resident_bytes);
    fields.field("history_bytes", &Count::BYTES, history_bytes);
    fields.field("history_messages", &Count::SOME, history_messages);
    fields.field("match_transcripts", &Flag, match_transcripts);
    fields.field("files_bytes", &Count::BYTES, files_bytes);
}

fn store_section(fields: &mut impl Fields, store: &mut Store) {
    let Store { kind, path, durable, synchronous, flush, readers, tenant_bytes } = store;
    fields.section("store");
    fields.field("kind", &Maybe(Named(StoreKind::NAMES)), kind);
    fields.field("path", &Maybe(Text::PATH), path);
    fields.field("durable", &Flag, durable);
    fields.field("synchronous", &Named(Synchronous::NAMES), synchronous);
    fields.field("flush_seconds", &Seconds::SOME, flush);
    fields.field("readers", &READERS, readers);
    fields.field("tenant_bytes", &Maybe(Count::BYTES), tenant_bytes);
}

fn turn_section(fields: &mut impl Fields, turn: &mut Turn) {
    let Turn {
        queue,
        queue_wait,
        max_in_flight,
        max_detached,
        connect_timeout,
        first_event_timeout,
        stall_timeout,
        total_timeout,
        output_bytes,
        retries,
        retry_delay,
        breaker_failures,
        breaker_pause,
        resume,
        resume_bytes,
    } = turn;
    fields.section("turn");
    fields.field("queue", &Count::ANY, queue);
    fields.field("queue_wait_seconds", &Seconds::SOME, queue_wait);
    fields.field("max_in_flight", &Count::SOME, max_in_flight);
    fields.field("max_detached", &Count::ANY, max_detached);
    fields.field("connect_timeout_seconds", &Seconds::SOME, connect_timeout);
    fields.field("first_event_timeout_seconds", &Seconds::SOME, first_event_timeout);
    fields.field("stall_timeout_seconds", &Seconds::SOME, stall_timeout);
    fields.field("total_timeout_seconds", &Seconds::SOME, total_timeout);
    fields.field("output_bytes", &Count::BYTES, output_bytes);
    fields.field("retries", &RETRIES, retries);
    fields.field("retry_delay_seconds", &Seconds::ANY, retry_delay);
    fields.field("breaker_failures", &Positive, breaker_failures);
    fields.field("breaker_seconds", &Seconds::SOME, breaker_pause);
    fields.field("resume_seconds", &Seconds::ANY, resume);
    fields.field("resume_bytes", &Count::BYTES, resume_bytes);
}

fn limits_section(fields: &mut impl Fields, limits: &mut Limits) {
    let Limits { requests_per_minute } = limits;
    fields.section("limits");
    fields.field("requests_per_minute", &Maybe(Positive), requests_per_minute);
}

fn aws_section(fields: &mut impl Fields, aws: &mut Aws) {
    let Aws { region, endpoint_url } = aws;
    fields.section("aws");
    fields.field("region", &Maybe(Text::SOME), region);
    fields.field("endpoint_url", &Maybe(Text::URL), endpoint_url);
}

fn openai_section(fields: &mut impl Fields, openai: &mut OpenAi) {
    let OpenAi { base_url, api_key } = openai;
    fields.section("openai");
    fields.field("base_url", &Text::URL, base_url);
    fields.field("api_key", &Maybe(Clear), api_key);
}

fn codewhisperer_section(fields: &mut impl Fields, codewhisperer: &mut CodeWhisperer) {
    let CodeWhisperer { direct, opt_out, directory, kept_in: _, older: _ } = codewhisperer;
    fields.section("codewhisperer");
    fields.field("direct", &Flag, direct);
    fields.field("opt_out", &Flag, opt_out);
    fields.field("directory", &Maybe(Text::SOME), directory);
}

fn log_section(fields: &mut impl Fields, log: &mut Log) {
    let Log { level, format } = log;
    fields.section("log");
    fields.field("level", &Level, level);
    fields.field("format", &Named(LogFormat::NAMES), format);
}

fn routing_section(fields: &mut impl Fields, routing: &mut Routing) {
    let Routing { default, allow_direct, debug_traces } = routing;
    fields.section("routing");
    fields.field("default", &Maybe(Id::<ModelName>::new()), default);
    fields.field("allow_direct", &Maybe(Flag), allow_direct);
    fields.field("debug_traces", &Flag, debug_traces);
}

fn discovery_section(fields: &mut impl Fields, discovery: &mut Discovery) {
    let Discovery { agents, models, idle_ttl, refresh, max_agents } = discovery;
    fields.section("discovery");
    fields.field("agents", &Flag, agents);
    fields.field("models", &Flag, models);
    fields.field("idle_ttl", &Flag, idle_ttl);
    fields.field("refresh_seconds", &Seconds::SOME, refresh);
    fields.field("max_agents", &Count::SOME, max_agents);
}

fn emulator_section(fields: &mut impl Fields, emulator: &mut Emulator) {
    let Emulator {
        listen,
        idle_session_ttl,
        first_token_delay,
        chunk_delay,
        fault,
        account,
        token_lifetime,
    } = emulator;
    fields.section("emulator");
    fields.field("listen", &Address, listen);
    fields.field("idle_session_ttl_seconds", &Seconds::SOME, idle_session_ttl);
    fields.field("first_token_delay_seconds", &Seconds::ANY, first_token_delay);
    fields.field("chunk_delay_seconds", &Seconds::ANY, chunk_delay);
    fields.field("fault", &Maybe(Text::SOME), fault);
    fields.field("account", &Text::ACCOUNT, account);
    fields.field("token_lifetime_seconds", &Seconds::SOME, token_lifetime);
}

/// One `[[keys]]` table.
pub(super) fn key(fields: &mut impl Fields, table: &mut KeyTable) {
    let KeyTable { key, hash, clear } = table;
    let Key {
        tenant,
        hash: _,
        requests_per_minute,
        tokens_per_minute,
        concurrent_turns,
        models,
        disconnect_policy,
        admin,
    } = key;
    fields.required("tenant", &Id::<TenantId>::new(), tenant);
    fields.field("hash", &Maybe(KeyHash), hash);
    fields.field("key", &Maybe(Clear), clear);
    fields.field("requests_per_minute", &Maybe(Positive), requests_per_minute);
    fields.field("tokens_per_minute", &Maybe(Positive), tokens_per_minute);
    fields.field("concurrent_turns", &Maybe(Positive), concurrent_turns);
    fields.field("models", &Maybe(List(Id::<ModelName>::new())), models);
    fields.field("disconnect_policy", &Maybe(Id::<DisconnectPolicy>::new()), disconnect_policy);
    fields.field("admin", &Flag, admin);
}
