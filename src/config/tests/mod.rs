//! Loading from the outside: a file's text, an environment and flags in, a configuration or a
//! report out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    Config, Environment, Flag, Hashes, Loaded, LogFormat, Problem, Report, SourceFile, Sources,
    load, secret,
};
use crate::turn::{DisconnectPolicy, TurnPolicy};

mod chance;
mod page;
mod store;

const EXAMPLE: &str = include_str!("../../../outcrop.example.toml");

fn sources(text: &str, environment: Environment) -> Sources {
    let file = SourceFile { path: "outcrop.toml".into(), text: text.to_owned() };
    Sources { file: Some(file), environment, flags: Vec::new() }
}

fn loaded(text: &str) -> Loaded {
    load(&sources(text, Environment::default())).unwrap()
}

fn loaded_with(text: &str, environment: Environment) -> Loaded {
    load(&sources(text, environment)).unwrap()
}

fn report(text: &str) -> String {
    load(&sources(text, Environment::default())).unwrap_err().to_string()
}

fn report_with(text: &str, environment: Environment) -> String {
    load(&sources(text, environment)).unwrap_err().to_string()
}

fn listen(value: &str) -> Flag {
    Flag { name: "--listen", key: "server.listen", value: value.to_owned() }
}

/// Everything but where it stood, for comparison.
fn without_lines(mut config: Config) -> String {
    for model in &mut config.models {
        model.lines.clear();
    }
    format!("{config:#?}")
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(without_lines(loaded("").config), without_lines(Config::default()));
    assert_eq!(
        without_lines(load(&Sources::default()).unwrap().config),
        format!("{:#?}", Config::default())
    );
}

/// One mistake of every sort.
const WRONG: &str = r#"[server]
listn = "127.0.0.1:8000"
body_limit_bytes = 0
body_timeout_seconds = "soon"
allowed_origins = ["https://a.example", "https://b.example/"]

[turn]
queue = -1
stall_timeout_seconds = 0
resident_seconds = 3

[sesion]
[log]
level = "inof"
format = "xml"

[routing]
default = "lone-advisor"

[aws]
endpoint_url = "localhost:4566"

[[models]]
name = "loan-advisor"
backend = "bedrock-agent"
turn_policy = "barge-in"
session_attributes = { channel = 3 }

[[models]]
name = "loan-advisor"
colour = "red"

[[keys]]
tenant = "two words"
hash = "sha256:12"

[[keys]]
tenant = "acme"
key = "short"
models = ["claude"]

[[keys]]
tenant = "acme"
key = "${NO_SUCH_KEY}"
hash = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

[[keys]]
tenant = "acme"
admin = "yes"
"#;
/// What is said of it, each line after the file's name.
const WRONG_REPORT: &str = r#"
2: server.listn: unknown key; did you mean listen?
3: server.body_limit_bytes: must be an integer from 1 to 1073741824, not 0
4: server.body_timeout_seconds: must be a number of seconds from 0.001 to 315360000, not "soon"
5: server.allowed_origins: entry 2: must be "*" or an origin such as "https://example.com", without path or final slash, not "https://b.example/"
8: turn.queue: must be an integer from 0 to 1000000000, not -1
9: turn.stall_timeout_seconds: must be a number of seconds from 0.001 to 315360000, not 0
10: turn.resident_seconds: unknown key here; it belongs in [session]
12: sesion: unknown key; did you mean session?
14: log.level: must be off, error, warn, info, debug, trace or a filter such as "info,outcrop=debug", not "inof"
15: log.format: must be one of auto, human, json, not "xml"
18: routing.default: names no configured model; did you mean loan-advisor?
21: aws.endpoint_url: must be an http or https URL without credentials, such as "http://127.0.0.1:4566", not "localhost:4566"
26: models[loan-advisor].turn_policy: must be one of queue, reject, interrupt, not "barge-in"
27: models[loan-advisor].session_attributes: channel must be a string, not 3
29: models[loan-advisor].backend: is missing
30: models[loan-advisor].name: is the name of the model on line 24 too
31: models[loan-advisor].colour: unknown key; known here: action_groups, agent_alias_id, agent_id, api_key, apology, backend, base_url, caller_attribute, caller_fields, disconnect_policy, empty_answer, endpoint_url, exclude_thinking, expose_traces, fallbacks, fetch_urls, file_use, filler, filler_after_ms, first_event_timeout_seconds, first_token_deadline_ms, foundation_model, guardrail_id, guardrail_interval, guardrail_version, harness_arn, hedge_agents, hedge_seconds, idle_session_ttl_seconds, instruction, keep_alive_seconds, knowledge_bases, latency, max_tokens, memory_id, metadata_attributes, model_id, name, payload, previous_turns, profile, profile_arn, prompt_cache, prompt_session_attributes, qualifier, reasoning, region, regions, runtime_arn, runtime_user, service_tier, session_attributes, session_per_key, spoken_errors, stall_timeout_seconds, stream, system_prompt_attribute, tool_errors, traces, turn_policy, upstreams
34: keys[0].tenant: a tenant must be 1 to 64 characters of [0-9a-zA-Z._-], not "two words"
35: keys[0].hash: must be sha256: and 64 hexadecimal digits
39: keys[1].key: is shorter than 16 characters; make one with `outcrop config set key`
40: keys[1].models: names no configured model: claude
44: keys[2].key: stands beside hash; remove one of them
47: keys[3].hash: is missing; make one with `outcrop config set key`
49: keys[3].admin: must be true or false, not "yes""#;

#[test]
fn every_mistake_is_reported_at_once_with_its_line() {
    let expected = WRONG_REPORT.replace('\n', "\noutcrop.toml:");
    assert_eq!(report(WRONG), expected.trim_start());
}

#[test]
fn what_is_no_toml_is_reported_by_its_line() {
    assert_eq!(
        report("[server]\nlisten = \n\n[turn]\nqueue = 1\nqueue = 2\n").lines().count(),
        2,
        "one problem for each of the two lines"
    );
    assert!(report("[server]\n\nlisten = \"x\n").starts_with("outcrop.toml:3: not valid TOML: "));
}

#[test]
fn sections_of_the_wrong_shape_are_reported() {
    let expected = "outcrop.toml:1: server: must be a table, [server], not 3\n\
                    outcrop.toml:2: keys: must be an array of tables, not \"none\"\n\
                    outcrop.toml:3: models: must be an array of tables\n\
                    outcrop.toml:4: turn: must be a table, [turn], not an array";
    assert_eq!(report("server = 3\nkeys = \"none\"\nmodels = [1]\n[[turn]]\n"), expected);
}

#[test]
fn environment_goes_over_file_and_flags_over_both() {
    let text = "[server]\nlisten = \"127.0.0.2:1\"\n[turn]\nqueue = 1\nretries = 1\n";
    let environment = || {
        Environment::from([
            ("OUTCROP_SERVER__LISTEN", "127.0.0.3:2"),
            ("OUTCROP_TURN__QUEUE", "2"),
            ("OUTCROP_SERVER__ALLOWED_ORIGINS", "https://a.example, https://b.example"),
            ("OUTCROP_TURN__RETRY_DELAY_SECONDS", "0.5"),
            ("OUTCROP_SESSION__MATCH_TRANSCRIPTS", "no"),
            ("OUTCROP_LIMITS__REQUESTS_PER_MINUTE", ""),
        ])
    };
    assert_eq!(loaded(text).config.server.listen.to_string(), "127.0.0.2:1");
    let config = loaded_with(text, environment()).config;
    assert_eq!(config.server.listen.to_string(), "127.0.0.3:2");
    assert_eq!((config.turn.queue, config.turn.retries), (2, 1));
    assert_eq!(config.server.allowed_origins, ["https://a.example", "https://b.example"]);
    assert_eq!(config.turn.retry_delay, Duration::from_millis(500));
    assert!(!config.session.match_transcripts);
    let flags = vec![listen("127.0.0.4:3")];
    let config = load(&Sources { flags, ..sources(text, environment()) }).unwrap().config;
    assert_eq!(config.server.listen.to_string(), "127.0.0.4:3");
}

#[test]
fn a_mistake_in_the_file_is_one_even_where_it_is_overridden() {
    let environment = Environment::from([("OUTCROP_TURN__QUEUE", "2")]);
    let expected = "outcrop.toml:2: turn.queue: must be an integer from 0 to 1000000000, not 1.5";
    assert_eq!(report_with("[turn]\nqueue = 1.5\n", environment), expected);
}

#[test]
fn mistakes_outside_of_the_file_name_the_variable_or_the_flag() {
    let environment = Environment::from([
        ("OUTCROP_TURN__QUEUE", "many"),
        ("OUTCROP_ROUTING__DEBUG_TRACES", "perhaps"),
        ("PORT", "http"),
        ("OUTCROP_MODELS__DEFAULT", "a"),
        ("OUTCROP_ROUTING__DEFAULT", "b"),
    ]);
    let flags = vec![listen("localhost")];
    let report = load(&Sources { environment, flags, file: None }).unwrap_err().to_string();
    let expected = "environment: OUTCROP_ROUTING__DEBUG_TRACES: must be true or false, not \"perhaps\"\n\
        environment: OUTCROP_ROUTING__DEFAULT: names no configured model: b\n\
        environment: OUTCROP_ROUTING__DEFAULT: stands for the same setting as OUTCROP_MODELS__DEFAULT; set one of them\n\
        environment: OUTCROP_TURN__QUEUE: must be an integer from 0 to 1000000000, not \"many\"\n\
        environment: PORT: must be a port from 0 to 65535, not \"http\"\n\
        arguments: --listen: must be an IP address and a port, such as \"127.0.0.1:8000\", not \"localhost\"";
    assert_eq!(sorted(&report), sorted(expected));
}

fn sorted(lines: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn port_replaces_the_port_alone_and_yields_to_a_flag() {
    let port = || Environment::from([("PORT", "9000")]);
    assert_eq!(loaded_with("", port()).config.server.listen.to_string(), "127.0.0.1:9000");
    let text = "[server]\nlisten = \"[::]:8000\"\n";
    assert_eq!(loaded_with(text, port()).config.server.listen.to_string(), "[::]:9000");
    let flags = vec![listen("127.0.0.1:1")];
    let config = load(&Sources { flags, ..sources(text, port()) }).unwrap().config;
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:1");
}

#[test]
fn names_that_users_have_already_keep_working() {
    let environment = Environment::from([
        ("ALLOWED_ORIGINS", "https://a.example,http://localhost:3000"),
        ("DEBUG_MODE", "True"),
        ("LOG_LEVEL", "Warning"),
        ("API_KEY", "short"),
        ("AGENT_ID", "ABCDEF1234"),
        ("AGENT_ALIAS_ID", "LIVE"),
        ("DEFAULT_OPENAI_MODEL", "bedrock-agent"),
    ]);
    let Loaded { config, notes, .. } = loaded_with("", environment);
    assert_eq!(config.server.allowed_origins, ["https://a.example", "http://localhost:3000"]);
    assert!(config.routing.debug_traces);
    assert_eq!(config.log.level, "warn");
    assert_eq!(config.keys[0].tenant, "default".parse().unwrap());
    assert_eq!(config.keys[0].hash, secret::hash_key("short"));
    let model = &config.models[0];
    assert_eq!((model.name.as_str(), &*model.backend), ("bedrock-agent", "bedrock-agent"));
    assert_eq!(model.agent_id.as_deref(), Some("ABCDEF1234"));
    assert_eq!(model.agent_alias_id.as_deref(), Some("LIVE"));
    assert_eq!(config.routing.default, Some(model.name.clone()));
    assert_eq!(notes, [""; 0]);
}

#[test]
fn the_file_says_more_than_an_older_name() {
    let text = r#"
[routing]
default = "other"
[[models]]
name = "bedrock-agent"
backend = "bedrock-agent"
agent_id = "FROMFILE12"
[[models]]
name = "other"
backend = "bedrock-agent"
[[keys]]
tenant = "acme"
key = "${API_KEY}"
"#;
    let environment = Environment::from([
        ("AGENT_ID", "ABCDEF1234"),
        ("API_KEY", "short"),
        ("DEFAULT_OPENAI_MODEL", "bedrock-agent"),
        ("OUTCROP_LOG__LEVEL", "debug"),
        ("LOG_LEVEL", "ERROR"),
    ]);
    let config = loaded_with(text, environment).config;
    assert_eq!(config.models.len(), 2);
    assert_eq!(config.models[0].agent_id.as_deref(), Some("FROMFILE12"));
    assert_eq!(config.keys.len(), 1);
    assert_eq!(config.keys[0].tenant.as_str(), "acme");
    assert_eq!(config.routing.default.unwrap().as_str(), "other");
    assert_eq!(config.log.level, "debug");
}

#[test]
fn older_names_that_come_to_nothing_leave_a_note() {
    let environment =
        Environment::from([("DEFAULT_OPENAI_MODEL", "gpt-4o"), ("AGENT_ALIAS_ID", "LIVE")]);
    let Loaded { config, notes, .. } = loaded_with("", environment);
    assert_eq!(config.routing.default, None);
    assert_eq!(notes.len(), 2);
}

#[test]
fn models_may_stand_in_a_table_with_their_routing() {
    let text = "[models]\ndefault = \"a\"\nallow_direct = true\n[[models.list]]\nname = \"a\"\nbackend = \"x\"\n";
    let config = loaded(text).config;
    assert_eq!(config.routing.default.as_ref().unwrap().as_str(), "a");
    assert_eq!(config.routing.allow_direct, Some(true));
    assert_eq!(config.models.len(), 1);
    let twice = format!("{text}[routing]\ndefault = \"a\"\n");
    let expected =
        "outcrop.toml:2: models.default: stands in [routing] too, on line 8; remove one of them";
    assert_eq!(report(&twice), expected);
    let expected = "outcrop.toml:2: models.defualt: unknown key; did you mean default?";
    assert_eq!(report("[models]\ndefualt = \"a\"\n"), expected);
}

#[test]
fn a_model_knows_its_lines() {
    let text = "\n[[models]]\nname = \"a\"\nbackend = \"x\"\n\nagent_id = \"1\"\n";
    let model = loaded(text).config.models.remove(0);
    let lines = [("", 2), ("agent_id", 6), ("backend", 4), ("name", 3)];
    assert_eq!(model.lines, BTreeMap::from(lines.map(|(name, line)| (name.to_owned(), line))));
    let problem = Problem::in_model(&model, "agent_id", "must be ten characters");
    let missing = Problem::in_model(&model, "region", "is missing");
    let report = Report::new(Some("f".into()), vec![problem, missing]).to_string();
    let expected = "f:2: models[a].region: is missing\n\
                    f:6: models[a].agent_id: must be ten characters";
    assert_eq!(report, expected);
}

#[test]
fn direct_forms_are_open_only_while_nothing_is_configured_or_by_decision() {
    let direct = "[routing]\ndefault = \"bedrock/agent/A/B\"\n";
    let model = "[[models]]\nname = \"a\"\nbackend = \"x\"\n";
    assert!(loaded(direct).config.allows_direct());
    assert!(!loaded(model).config.allows_direct());
    assert!(report(&format!("{direct}{model}")).contains("routing.allow_direct does not allow"));
    let allowed = format!("{direct}allow_direct = true\n{model}");
    assert!(loaded(&allowed).config.allows_direct());
}

#[test]
fn a_key_is_no_part_of_any_message() {
    let text = "[[keys]]\ntenant = \"a\"\nkey = \"hunter2\"\n[[keys]]\ntenant = \"a\"\nhash = \"hunter2\"\n\
                [[keys]]\ntenant = \"a\"\nkey = 1234567\n[[keys]]\ntenant = \"a\"\nkey = \"hunter2 with more words\"\n";
    let report = report(text);
    assert_eq!(report.lines().count(), 4, "{report}");
    assert!(!report.contains("hunter2") && !report.contains("1234567"), "{report}");
}

#[test]
fn the_same_key_twice_is_one_too_many() {
    let key = "[[keys]]\ntenant = \"a\"\nkey = \"a-key-of-some-length\"\n";
    let expected = "outcrop.toml:4: keys[1]: is the same key as the one on line 1";
    assert_eq!(report(&format!("{key}{key}")), expected);
    let inline = "{ tenant = \"a\", key = \"a-key-of-some-length\" }";
    let expected = "outcrop.toml:1: keys[1]: is the same key as the one on line 1";
    assert_eq!(report(&format!("keys = [{inline}, {inline}]")), expected);
}

/// Every setting of every kind, none at its default.
const FULL: &str = r#"
[server]
listen = "[::1]:9000"
allowed_origins = []
write_timeout_seconds = 0.25
[limits]
requests_per_minute = 7
[log]
level = "warn,outcrop=trace"
format = "human"
[routing]
default = "bedrock/x"
allow_direct = true
[emulator]
fault = "a \"quoted\" fault\n"
[[models]]
name = "a"
backend = "x"
turn_policy = "reject"
disconnect_policy = "detach"
keep_alive_seconds = 1
guardrail_interval = 50
caller_attribute = ""
caller_fields = ["a.b"]
session_attributes = { "a key" = "a 'value'", b = "ü" }
[[models]]
name = "b"
backend = "x"
[[keys]]
tenant = "acme"
key = "a-key-of-some-length"
tokens_per_minute = 1_000
models = ["a", "bedrock/x"]
"#;

#[test]
fn what_is_shown_loads_again_and_means_the_same() {
    for text in ["", FULL, EXAMPLE] {
        let first = loaded(text);
        let second = loaded(&first.show(Hashes::Whole));
        assert_eq!(without_lines(first.config), without_lines(second.config));
    }
    let config = loaded(FULL).config;
    assert_eq!(config.log.format, LogFormat::Human);
    assert_eq!(config.models[0].turn_policy, TurnPolicy::Reject);
    assert_eq!(config.models[0].disconnect_policy, DisconnectPolicy::Detach { grace: None });
}

#[test]
fn what_is_shown_says_where_it_came_from_and_masks_hashes() {
    let environment = Environment::from([("OUTCROP_TURN__QUEUE", "2"), ("AGENT_ID", "ABCDEF1234")]);
    let shown = loaded_with(FULL, environment).show(Hashes::Masked);
    assert!(shown.contains("\nqueue = 2  # OUTCROP_TURN__QUEUE\n"), "{shown}");
    assert!(shown.contains("\nlisten = \"[::1]:9000\"  # line 3\n"), "{shown}");
    assert!(shown.contains("\n[[models]]  # AGENT_ID\n"), "{shown}");
    let hash = secret::hash_text(&secret::hash_key("a-key-of-some-length"));
    assert!(shown.contains(&format!("\nhash = \"{}…\"", &hash[..15])), "{shown}");
    assert!(!shown.contains(&hash) && !shown.contains("some-length"), "{shown}");
    assert!(report(&shown).contains("is masked, as `config show` prints it"));
}

#[test]
fn the_example_loads() {
    let config = loaded(EXAMPLE).config;
    assert_eq!((config.models.len(), config.keys.len()), (6, 1));
}

#[test]
fn the_key_of_an_upstream_may_be_a_reference_and_is_never_shown() {
    let file = |key: &str| {
        format!("[[models]]\nname = \"a\"\nbackend = \"openai\"\napi_key = \"{key}\"\n")
    };
    let environment = Environment::from([("UPSTREAM", "sk-of-the-upstream")]);
    let loaded = loaded_with(&file("${UPSTREAM}"), environment);
    let key = loaded.config.models[0].text.api_key.as_ref().unwrap();
    assert_eq!(key.expose(), "sk-of-the-upstream");
    assert!(!loaded.show(Hashes::Whole).contains("sk-of"));
    for (wrong, why) in [("${MISSING}", "not set"), ("two words", "visible ASCII")] {
        let file = SourceFile { path: "outcrop.toml".into(), text: file(wrong) };
        let sources = Sources { file: Some(file), ..Sources::default() };
        let report = load(&sources).unwrap_err().to_string();
        assert!(report.contains("4: models[a].api_key") && report.contains(why), "{report}");
    }
}
