//! Where sessions are kept.

use super::super::{Config, Environment, StoreKind, Synchronous};
use super::{loaded, loaded_with, report};

#[test]
fn a_configuration_by_itself_names_no_file() {
    let store = Config::default().store;
    assert_eq!((store.kind.unwrap_or_default(), store.path), (StoreKind::Memory, None));
}

#[test]
fn the_file_is_where_the_system_or_the_user_keeps_such_things() {
    let path = |variables: &[(&str, &str)]| {
        let variables = variables.iter().map(|(name, text)| ((*name).into(), (*text).into()));
        loaded_with("", variables.collect::<Environment>()).config.store.path
    };
    assert_eq!(path(&[]), None);
    let home = ("HOME", "/home/ann");
    assert_eq!(path(&[home]).unwrap(), "/home/ann/.local/state/outcrop/sessions.db");
    let state = ("XDG_STATE_HOME", "/state");
    assert_eq!(path(&[home, state]).unwrap(), "/state/outcrop/sessions.db");
    // What is not absolute does not count.
    let lost = ("XDG_STATE_HOME", "state");
    assert_eq!(path(&[home, lost]).unwrap(), "/home/ann/.local/state/outcrop/sessions.db");
    let service = ("STATE_DIRECTORY", "/var/lib/outcrop:/var/lib/other");
    assert_eq!(path(&[home, state, service]).unwrap(), "/var/lib/outcrop/sessions.db");
    let said = ("OUTCROP_STORE__PATH", "here.db");
    assert_eq!(path(&[home, service, said]).unwrap(), "here.db");
}

#[test]
fn a_store_is_read_from_its_table() {
    let text = "[store]\nkind = \"sqlite\"\npath = \"/x/s.db\"\ndurable = false\n\
                synchronous = \"normal\"\nflush_seconds = 0.1\nreaders = 4\n\
                tenant_bytes = 1_000_000\n";
    let store = loaded(text).config.store;
    assert_eq!((store.kind, store.path.as_deref()), (Some(StoreKind::Sqlite), Some("/x/s.db")));
    assert_eq!((store.durable, store.synchronous), (false, Synchronous::Normal));
    assert_eq!((store.flush.as_millis(), store.readers), (100, 4));
    assert_eq!(store.tenant_bytes, Some(1_000_000));
    let said = report("[store]\nkind = \"redis\"\npath = \"~/s.db\"\nreaders = 0\n");
    let expected = "outcrop.toml:2: store.kind: must be one of memory, sqlite, not \"redis\"\n\
                    outcrop.toml:3: store.path: must be a path that does not begin with ~, not \
                    \"~/s.db\"\n\
                    outcrop.toml:4: store.readers: must be an integer from 1 to 64, not 0";
    assert_eq!(said, expected);
}
