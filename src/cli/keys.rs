//! `outcrop keys`: make, list and revoke API keys in the configuration file.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};
use toml_edit::{Array, ArrayOfTables, Item, Table, Value};
use uuid::Uuid;

use crate::config::{Environment, Key, secret};
use crate::turn::{ModelName, TenantId};

use super::edit::{ConfigFile, NotChanged};
use super::terminal::{Paint, table};
use super::{EXIT_FAILED, EXIT_OK, EXIT_WRONG, complain, say};

/// Digits of a hash by which a key is known to people.
const SHOWN_DIGITS: usize = 8;
/// Digits of a hash that it takes to mean one.
const FEWEST_DIGITS: usize = 4;

/// Which file, and what to do.
#[derive(Debug, Args)]
pub(super) struct Keys {
    /// The configuration file; else the one in OUTCROP_CONFIG, else ./outcrop.toml
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: KeyVerb,
}

/// What can be done with keys.
#[derive(Debug, Subcommand)]
enum KeyVerb {
    /// Make a key: put its hash into the file, and print the key once
    Create(Create),
    /// List the keys by their hashes
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take keys out of the file; a broker that runs knows them until it is started anew
    Revoke(Revoke),
}

/// What a new key may.
#[derive(Debug, Args)]
struct Create {
    /// Whose key it is: 1 to 64 characters of [0-9a-zA-Z._-]
    #[arg(long)]
    tenant: TenantId,
    /// Requests a minute, at most
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<NonZeroU32>,
    /// Tokens a minute, at most, read and written
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<NonZeroU32>,
    /// Turns at once, at most
    #[arg(long, value_name = "N")]
    concurrent_turns: Option<NonZeroU32>,
    /// Whether it may also list, read, follow, interrupt and end other tenants' sessions
    #[arg(long)]
    admin: bool,
    /// A model that it may use; may be given again. All, unless told
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<ModelName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which keys.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Revoke {
    /// The beginning of its hash, at least 4 digits, as `outcrop keys list` shows it
    #[arg(value_name = "HASH")]
    prefix: Option<String>,
    /// All keys of this tenant
    #[arg(long)]
    tenant: Option<TenantId>,
}

pub(super) fn run(verb: Keys, environment: Environment) -> u8 {
    let paint = Paint::for_output(&environment);
    let done =
        ConfigFile::open(verb.config.as_deref(), environment).and_then(|file| match verb.verb {
            KeyVerb::Create(create) => make(file, &create),
            KeyVerb::List { json } => list(&file, json, paint),
            KeyVerb::Revoke(revoke) => take_out(file, &revoke),
        });
    match done {
        Ok(()) => EXIT_OK,
        Err(error) => {
            complain(&error);
            match error {
                NotChanged::Wrong(_) => EXIT_WRONG,
                NotChanged::Unwritable { .. } => EXIT_FAILED,
            }
        }
    }
}

/// A key that nobody can guess.
pub(super) fn new_key() -> String {
    format!("oc_{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

/// The key alone goes to standard output, so that a script can take it.
fn make(mut file: ConfigFile, create: &Create) -> Result<(), NotChanged> {
    let key = new_key();
    let hash = secret::hash_key(&key);
    tables(&mut file)?.push(create.table(&secret::hash_text(&hash)));
    file.save()?;
    let path = file.path().display();
    if create.json {
        let (tenant, hash) = (create.tenant.as_str(), secret::hash_text(&hash));
        say(&json!({ "key": key, "tenant": tenant, "hash": hash }));
        return Ok(());
    }
    complain(&format_args!(
        "the key for {} is in {path} by its hash {}; it is not shown again:",
        create.tenant,
        shown(&hash)
    ));
    say(&key);
    Ok(())
}

impl Create {
    fn table(&self, hash: &str) -> Table {
        let mut table = Table::new();
        table.decor_mut().set_prefix("\n");
        table.insert("tenant", Item::from(Value::from(self.tenant.as_str())));
        table.insert("hash", Item::from(Value::from(hash)));
        for (name, limit) in [
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
            ("concurrent_turns", self.concurrent_turns),
        ] {
            if let Some(limit) = limit {
                table.insert(name, Item::from(Value::from(i64::from(limit.get()))));
            }
        }
        if self.admin {
            table.insert("admin", Item::from(Value::from(true)));
        }
        if !self.models.is_empty() {
            let models: Array = self.models.iter().map(ModelName::as_str).collect();
            table.insert("models", Item::from(Value::from(models)));
        }
        table
    }
}

/// The `[[keys]]` of the file, which there are from now on.
fn tables(file: &mut ConfigFile) -> Result<&mut ArrayOfTables, NotChanged> {
    let path = file.path().display().to_string();
    let keys = file.document.entry("keys").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    // An empty list in its place is as good as none.
    if keys.as_array().is_some_and(Array::is_empty) {
        *keys = Item::ArrayOfTables(ArrayOfTables::new());
    }
    keys.as_array_of_tables_mut().ok_or_else(|| {
        NotChanged::Wrong(format!("keys in {path} are not written as [[keys]]; edit them by hand"))
    })
}

/// The beginning of a hash, by which people know a key.
fn shown(hash: &[u8; 32]) -> String {
    digits(hash).chars().take(SHOWN_DIGITS).collect()
}

fn digits(hash: &[u8; 32]) -> String {
    secret::hash_text(hash).trim_start_matches("sha256:").to_owned()
}

/// How many of the keys are the file's; those after them come from the environment.
fn in_file(file: &ConfigFile) -> usize {
    let keys = file.document.get("keys");
    let tables = keys.and_then(Item::as_array_of_tables).map(ArrayOfTables::len);
    tables.or(keys.and_then(Item::as_array).map(Array::len)).unwrap_or_default()
}

fn list(file: &ConfigFile, json: bool, paint: Paint) -> Result<(), NotChanged> {
    let keys = file.loaded()?.config.keys;
    let count = in_file(file);
    let from = |place: usize| if place < count { "file" } else { "API_KEY" };
    if json {
        let keys: Vec<_> = keys.iter().enumerate().map(|(n, key)| written(key, from(n))).collect();
        say(&json!(keys));
        return Ok(());
    }
    if keys.is_empty() {
        say(&"no keys; outcrop keys create --tenant NAME makes one");
        return Ok(());
    }
    let head = ["HASH", "TENANT", "FROM", "LIMITS", "MODELS"].map(str::to_owned).to_vec();
    let row = |(place, key): (usize, &Key)| {
        let models = key.models.iter().flatten().map(ModelName::as_str).collect::<Vec<_>>();
        let models = if key.models.is_some() { models.join(", ") } else { "all".to_owned() };
        let from = from(place).to_owned();
        let role = if key.admin { " (admin)" } else { "" };
        vec![shown(&key.hash), format!("{}{role}", key.tenant), from, limits(key), models]
    };
    let rows: Vec<_> = std::iter::once(head).chain(keys.iter().enumerate().map(row)).collect();
    for (place, line) in table(&rows).iter().enumerate() {
        if place == 0 { say(&paint.bold(line)) } else { say(line) }
    }
    Ok(())
}

fn limits(key: &Key) -> String {
    let told = [
        (key.requests_per_minute, "requests/min"),
        (key.tokens_per_minute, "tokens/min"),
        (key.concurrent_turns, "turns"),
    ];
    let told: Vec<_> = told
        .iter()
        .filter_map(|(limit, unit)| limit.map(|limit| format!("{limit} {unit}")))
        .collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

fn written(key: &Key, from: &str) -> Json {
    json!({
        "hash": secret::hash_text(&key.hash),
        "tenant": key.tenant.as_str(),
        "from": from,
        "requests_per_minute": key.requests_per_minute,
        "tokens_per_minute": key.tokens_per_minute,
        "concurrent_turns": key.concurrent_turns,
        "admin": key.admin,
        "models": key.models.as_ref().map(|models| {
            models.iter().map(ModelName::as_str).collect::<Vec<_>>()
        }),
    })
}

fn take_out(mut file: ConfigFile, revoke: &Revoke) -> Result<(), NotChanged> {
    let keys = file.loaded()?.config.keys;
    let fits = revoke.chosen(&keys).map_err(NotChanged::Wrong)?;
    let count = in_file(&file);
    if fits.iter().any(|place| *place >= count) {
        let message = "that key comes from the environment; take API_KEY out of it".to_owned();
        return Err(NotChanged::Wrong(message));
    }
    let tables = tables(&mut file)?;
    for place in fits.iter().rev() {
        tables.remove(*place);
    }
    if tables.is_empty() {
        file.document.remove("keys");
    }
    file.save()?;
    for key in fits.iter().filter_map(|place| keys.get(*place)) {
        say(&format_args!("{} of {} is revoked", shown(&key.hash), key.tenant));
    }
    if keys.len() == fits.len() {
        complain(
            &"no key is left: on loopback everybody may ask, beyond it outcrop will not serve",
        );
    }
    Ok(())
}

impl Revoke {
    /// The places of the keys that are meant, in order.
    fn chosen(&self, keys: &[Key]) -> Result<Vec<usize>, String> {
        let prefix = self
            .prefix
            .as_deref()
            .map(|prefix| prefix.trim_start_matches("sha256:").to_ascii_lowercase());
        if prefix.as_ref().is_some_and(|prefix| prefix.len() < FEWEST_DIGITS) {
            return Err(format!("the beginning of a hash has at least {FEWEST_DIGITS} digits"));
        }
        let fits = |key: &Key| {
            let by_hash =
                prefix.as_ref().is_some_and(|prefix| digits(&key.hash).starts_with(prefix));
            by_hash || self.tenant.as_ref() == Some(&key.tenant)
        };
        let places: Vec<usize> =
            (0..keys.len()).filter(|place| keys.get(*place).is_some_and(fits)).collect();
        match places.len() {
            0 => Err("no key fits; outcrop keys list shows those there are".to_owned()),
            2.. if prefix.is_some() => {
                Err(format!("{} keys begin so; give more digits", places.len()))
            }
            _ => Ok(places),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tenant: &str, first: u8) -> Key {
        Key::new(tenant.parse().unwrap(), [first; 32])
    }

    fn revoke(prefix: Option<&str>, tenant: Option<&str>) -> Revoke {
        let tenant = tenant.map(|tenant| tenant.parse().unwrap());
        Revoke { prefix: prefix.map(str::to_owned), tenant }
    }

    #[test]
    fn keys_are_chosen_by_the_beginning_of_a_hash_or_by_tenant() {
        let keys = [key("a", 0xab), key("b", 0xab), key("a", 0x12)];
        let chosen = |prefix, tenant| revoke(prefix, tenant).chosen(&keys);
        assert_eq!(chosen(Some("sha256:1212"), None), Ok(vec![2]));
        assert_eq!(chosen(None, Some("a")), Ok(vec![0, 2]));
        assert!(chosen(Some("ABAB"), None).unwrap_err().contains("2 keys begin so"));
        assert!(chosen(Some("12"), None).unwrap_err().contains("at least 4"));
        assert!(chosen(Some("ffff"), None).unwrap_err().contains("no key fits"));
        assert!(chosen(None, Some("c")).is_err());
    }

    #[test]
    fn a_keys_table_has_its_limits() {
        let create = Create {
            tenant: "acme".parse().unwrap(),
            requests_per_minute: NonZeroU32::new(60),
            tokens_per_minute: None,
            concurrent_turns: None,
            admin: true,
            models: vec!["m".parse().unwrap()],
            json: false,
        };
        let written = create.table("sha256:00").to_string();
        let expected = "tenant = \"acme\"\nhash = \"sha256:00\"\nrequests_per_minute = 60\nadmin = true\n\
                        models = [\"m\"]\n";
        assert_eq!(written, expected);
    }
}
