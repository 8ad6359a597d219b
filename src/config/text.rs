//! Kinds of settings that are written as a string: addresses, URLs, filters, ids, keys.

use std::net::SocketAddr;

use http::Uri;
use toml::Value;
use tracing_subscriber::EnvFilter;

use super::kind::{Kind, Raw, must_be};
use super::{Secret, secret};

/// An address to listen on.
pub(super) struct Address;

impl Kind for Address {
    type Value = SocketAddr;

    fn read(&self, raw: &Raw<'_>) -> Result<SocketAddr, String> {
        match raw.text().and_then(|text| text.trim().parse().ok()) {
            Some(address) => Ok(address),
            None => must_be("an IP address and a port, such as \"127.0.0.1:8000\"", raw),
        }
    }

    fn write(&self, value: &SocketAddr) -> Option<Value> {
        Some(Value::String(value.to_string()))
    }
}

/// A text that is checked, but stays a text.
pub(super) struct Text {
    wanted: &'static str,
    allows: fn(&str) -> bool,
}

impl Text {
    /// Anything, even nothing.
    pub(super) const ANY: Self = Self { wanted: "a string", allows: |_| true };
    /// Anything but nothing.
    pub(super) const SOME: Self =
        Self { wanted: "a string that is not empty", allows: |text| !text.trim().is_empty() };
    /// The base of an HTTP service.
    pub(super) const URL: Self = Self {
        wanted: "an http or https URL without credentials, such as \"http://127.0.0.1:4566\"",
        allows: is_url,
    };
    /// An origin as browsers send it, or `*`.
    pub(super) const ORIGIN: Self = Self {
        wanted: "\"*\" or an origin such as \"https://example.com\", without path or final slash",
        allows: |text| text == "*" || is_origin(text),
    };
    /// A way through a JSON document.
    pub(super) const DOTTED_PATH: Self = Self {
        wanted: "a dotted path such as \"metadata.phone\"",
        allows: |text| text.split('.').all(|step| !step.is_empty()),
    };
    /// A path to a file; nobody puts a home in the place of `~` here.
    pub(super) const PATH: Self = Self {
        wanted: "a path that does not begin with ~",
        allows: |text| !text.trim().is_empty() && !text.starts_with('~') && !text.contains('\0'),
    };
    /// A profile of CodeWhisperer, whose region says where it is asked.
    pub(super) const PROFILE_ARN: Self = Self {
        wanted: "an ARN such as \"arn:aws:codewhisperer:us-east-1:123456789012:profile/ABCDEFGHIJKL\"",
        allows: |text| {
            text.split(':').nth(2) == Some("codewhisperer") && text.contains(":profile/")
        },
    };
    /// What AWS numbers its accounts with.
    pub(super) const ACCOUNT: Self = Self {
        wanted: "twelve digits",
        allows: |text| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()),
    };
}

impl Kind for Text {
    type Value = String;

    fn read(&self, raw: &Raw<'_>) -> Result<String, String> {
        match raw.text().filter(|text| (self.allows)(text)) {
            Some(text) => Ok(text.to_owned()),
            None => must_be(self.wanted, raw),
        }
    }

    fn write(&self, value: &String) -> Option<Value> {
        Some(Value::String(value.clone()))
    }
}

fn is_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    is_http && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
}

fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let is_scheme = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_host = |byte: u8| byte.is_ascii_graphic() && !b"/?#@*".contains(&byte);
    !scheme.is_empty() && is_scheme && !host.is_empty() && host.bytes().all(is_host)
}

/// A log level or filter. Python's names are understood in any case, as in `LOG_LEVEL=WARNING`.
pub(super) struct Level;

impl Kind for Level {
    type Value = String;

    fn read(&self, raw: &Raw<'_>) -> Result<String, String> {
        let wanted = "off, error, warn, info, debug, trace or a filter such as \
                      \"info,outcrop=debug\"";
        let Some(text) = raw.text() else { return must_be(wanted, raw) };
        let directives: Option<Vec<String>> = text.split(',').map(directive).collect();
        match directives.map(|directives| directives.join(",")) {
            Some(filter) if EnvFilter::try_new(&filter).is_ok() => Ok(filter),
            _ => must_be(wanted, raw),
        }
    }

    fn write(&self, value: &String) -> Option<Value> {
        Some(Value::String(value.clone()))
    }
}

/// A single word must be a level: the filter itself would take `inof` for the name of a module.
fn directive(text: &str) -> Option<String> {
    let text = text.trim();
    if text.contains(['=', '[', ':']) {
        return Some(text.to_owned());
    }
    let level = match text.to_ascii_lowercase().as_str() {
        "off" => "off",
        "error" | "critical" | "fatal" => "error",
        "warn" | "warning" => "warn",
        "info" | "notice" => "info",
        "debug" => "debug",
        "trace" | "notset" => "trace",
        _ => return None,
    };
    Some(level.to_owned())
}

/// The SHA-256 of a key.
pub(super) struct KeyHash;

impl Kind for KeyHash {
    type Value = [u8; 32];

    fn read(&self, raw: &Raw<'_>) -> Result<[u8; 32], String> {
        let wanted = "sha256: and 64 hexadecimal digits";
        let Some(text) = raw.text() else {
            return Err(format!("must be {wanted}, not {}", raw.sort()));
        };
        if text.starts_with("sha256:") && text.ends_with('…') {
            return Err("is masked, as `config show` prints it; put the whole hash here".to_owned());
        }
        secret::hash_from_text(text).ok_or_else(|| format!("must be {wanted}"))
    }

    fn write(&self, value: &[u8; 32]) -> Option<Value> {
        Some(Value::String(secret::hash_text(value)))
    }

    fn show(&self, value: &[u8; 32]) -> Option<Value> {
        let text = secret::hash_text(value);
        Some(Value::String(format!("{}…", &text[.."sha256:".len() + 8])))
    }
}

/// A secret, in the clear or as a reference; never written, and never part of a message.
pub(super) struct Clear;

impl Kind for Clear {
    type Value = Secret;

    fn read(&self, raw: &Raw<'_>) -> Result<Secret, String> {
        match raw.text() {
            Some(text) => Ok(Secret::new(text)),
            None => Err(format!("must be a string, not {}", raw.sort())),
        }
    }

    fn write(&self, _value: &Secret) -> Option<Value> {
        None
    }
}
