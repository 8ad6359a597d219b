//! The configured keys, and who is calling with one.
//!
//! Only hashes are kept. A presented key is hashed and compared with every one of them in
//! constant time, without stopping at a match: how long it takes tells neither how much of a key
//! is right nor which entry it is.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use crate::config;
use crate::turn::{DisconnectPolicy, Failure, FailureKind, ModelName, TenantId};

/// Where a key may stand besides `Authorization: Bearer`: the header of Anthropic's SDKs, that of
/// Azure's, and the one in which Vapi sends the secret of a server.
const KEY_HEADERS: [&str; 3] = ["x-api-key", "api-key", "x-vapi-secret"];

/// Two entries of the configuration that have the same key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "[[keys]] entries {first} (tenant {first_tenant}) and {second} (tenant {second_tenant}) have \
     the same key; give each its own"
)]
pub struct DuplicateKey {
    first: usize,
    first_tenant: TenantId,
    second: usize,
    second_tenant: TenantId,
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose sessions the caller sees.
    pub tenant: TenantId,
    /// Which of the configured keys it is, from 0; none on a broker without keys.
    pub key: Option<usize>,
    /// Whether it may see the sessions of all tenants, and stop and end them.
    pub is_admin: bool,
    /// Names the key in logs without giving it away: the tenant, and which of its keys.
    pub label: Arc<str>,
    /// What happens to its turns when it leaves, where a request does not say; else it is the
    /// model's.
    pub disconnect_policy: Option<DisconnectPolicy>,
    /// The only models the key may use; none for all.
    models: Option<Arc<[ModelName]>>,
}

impl Caller {
    /// The one caller of a broker without keys.
    pub(super) fn open() -> Self {
        static OPEN: LazyLock<Caller> = LazyLock::new(|| {
            let tenant = TenantId::open();
            let label = tenant.as_str().into();
            Caller {
                label,
                tenant,
                key: None,
                is_admin: false,
                disconnect_policy: None,
                models: None,
            }
        });
        // Shared: every session holds the name of its tenant.
        OPEN.clone()
    }

    /// Whether the caller may use this model.
    ///
    /// # Errors
    /// [`FailureKind::ModelNotAllowed`] when the key is bound to other models.
    pub fn may_use(&self, model: &ModelName) -> Result<(), Failure> {
        match &self.models {
            Some(models) if !models.contains(model) => Err(Failure::new(
                FailureKind::ModelNotAllowed,
                format!("this API key may not use the model \"{model}\""),
            )
            .at("model")),
            _ => Ok(()),
        }
    }
}

/// The configured keys.
#[derive(Debug)]
pub(super) struct Keys(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    hash: [u8; 32],
    caller: Caller,
}

impl Keys {
    pub(super) fn new(keys: &[config::Key]) -> Result<Self, DuplicateKey> {
        let mut by_hash = HashMap::new();
        let mut of_tenant: HashMap<&TenantId, usize> = HashMap::new();
        let mut entries = Vec::with_capacity(keys.len());
        for (index, key) in keys.iter().enumerate() {
            if let Some(first) = by_hash.insert(key.hash, index) {
                return Err(DuplicateKey {
                    first: first + 1,
                    first_tenant: keys[first].tenant.clone(),
                    second: index + 1,
                    second_tenant: key.tenant.clone(),
                });
            }
            let ordinal = of_tenant.entry(&key.tenant).or_default();
            *ordinal += 1;
            let caller = Caller {
                tenant: key.tenant.clone(),
                key: Some(index),
                is_admin: key.admin,
                label: format!("{}#{ordinal}", key.tenant).into(),
                disconnect_policy: key.disconnect_policy,
                models: key.models.as_deref().map(Arc::from),
            };
            entries.push(Entry { hash: key.hash, caller });
        }
        Ok(Self(entries))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose key this is.
    pub(super) fn find(&self, presented: &[u8]) -> Option<Caller> {
        let hash = Sha256::digest(presented);
        // One past the end means nobody's.
        let mut found = self.0.len() as u64;
        for (index, entry) in (0..).zip(&self.0) {
            found.conditional_assign(&index, entry.hash.ct_eq(hash.as_slice()));
        }
        let entry = self.0.get(usize::try_from(found).ok()?)?;
        Some(entry.caller.clone())
    }
}

/// The keys that came along, in the order in which they are tried: a gateway in front may have
/// taken `Authorization` for itself.
pub(super) fn presented(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    let plain = KEY_HEADERS.into_iter().filter_map(|name| headers.get(name));
    bearer
        .into_iter()
        .chain(plain.map(|value| value.as_bytes().trim_ascii()))
        .filter(|key| !key.is_empty())
}

/// Whether a request is signed as requests to AWS are (Signature Version 4), which proves nothing
/// here.
pub(super) fn is_signed(headers: &HeaderMap) -> bool {
    let credential = headers.get(AUTHORIZATION).map(|value| value.as_bytes().trim_ascii_start());
    credential.is_some_and(|credential| credential.starts_with(b"AWS4-"))
}

/// The token of a bearer credential; the scheme is in any case (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::Config;
    use crate::gate::Gate;

    /// An entry without limits.
    pub(in crate::gate) fn key(tenant: &str, key: &str) -> config::Key {
        config::Key {
            tokens_per_minute: None,
            tenant: tenant.parse().unwrap(),
            hash: Sha256::digest(key).into(),
            requests_per_minute: None,
            concurrent_turns: None,
            models: None,
            disconnect_policy: None,
            admin: false,
        }
    }

    fn gate(keys: Vec<config::Key>) -> Gate {
        Gate::new(&Config { keys, ..Config::default() }).unwrap()
    }

    fn caller_of(gate: &Gate, sent: &[(&'static str, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, value.parse().unwrap());
        }
        gate.identify(&headers).ok().map(|caller| caller.label.to_string())
    }

    #[test]
    fn a_key_counts_in_any_of_its_headers() {
        let gate = gate(vec![key("acme", "sk-acme"), key("beta", "sk-beta")]);
        let accepted: [&[(&str, &str)]; 6] = [
            &[("authorization", "Bearer sk-acme")],
            &[("authorization", "bearer   sk-acme ")],
            &[("x-api-key", "sk-acme")],
            &[("api-key", "sk-acme")],
            &[("authorization", "Basic dTpw"), ("x-api-key", "sk-acme")],
            &[("authorization", "Bearer other"), ("api-key", "sk-acme")],
        ];
        for sent in accepted {
            assert_eq!(caller_of(&gate, sent).as_deref(), Some("acme#1"), "{sent:?}");
        }
    }

    #[test]
    fn nothing_but_a_whole_key_in_its_place_counts() {
        let gate = gate(vec![key("acme", "sk-acme"), key("beta", "sk-beta")]);
        let refused = [
            ("authorization", ""),
            ("authorization", "Bearer"),
            ("authorization", "Bearer "),
            ("authorization", "sk-acme"),
            ("authorization", "Basic sk-acme"),
            ("authorization", "Bearer sk-acm"),
            ("authorization", "Bearer sk-acme1"),
            ("authorization", "Bearer SK-ACME"),
            ("authorization", "Bearer sk-acme, sk-beta"),
            ("x-api-key", ""),
            ("cookie", "sk-acme"),
        ];
        for sent in refused {
            assert_eq!(caller_of(&gate, &[sent]), None, "{sent:?}");
        }
        assert_eq!(caller_of(&gate, &[]), None);
    }

    #[test]
    fn two_keys_of_one_tenant_are_two_callers() {
        let gate = gate(vec![key("acme", "one"), key("beta", "two"), key("acme", "three")]);
        assert_eq!(caller_of(&gate, &[("x-api-key", "one")]).unwrap(), "acme#1");
        assert_eq!(caller_of(&gate, &[("x-api-key", "two")]).unwrap(), "beta#1");
        assert_eq!(caller_of(&gate, &[("x-api-key", "three")]).unwrap(), "acme#2");
    }

    #[test]
    fn keys_that_share_a_prefix_are_told_apart() {
        let shared = "sk-".to_owned() + &"a".repeat(200);
        let longer = shared.clone() + "b";
        let gate = gate(vec![key("acme", &shared), key("beta", &longer)]);
        assert_eq!(caller_of(&gate, &[("x-api-key", &shared)]).unwrap(), "acme#1");
        assert_eq!(caller_of(&gate, &[("x-api-key", &longer)]).unwrap(), "beta#1");
        assert_eq!(caller_of(&gate, &[("x-api-key", &(shared + "c"))]), None);
    }

    #[test]
    fn a_key_that_is_not_text_is_only_a_wrong_one() {
        let gate = gate(vec![key("acme", "sk")]);
        let mut headers = HeaderMap::new();
        let bytes = http::HeaderValue::from_bytes(b"Bearer \xff\xfe'; DROP TABLE").unwrap();
        headers.insert(AUTHORIZATION, bytes);
        assert_eq!(gate.identify(&headers).unwrap_err().kind, FailureKind::InvalidApiKey);
    }

    #[test]
    fn the_same_key_twice_is_refused_with_both_places() {
        let keys = [key("acme", "sk"), key("beta", "other"), key("gamma", "sk")];
        let refusal = Keys::new(&keys).unwrap_err().to_string();
        assert!(refusal.contains("entries 1 (tenant acme) and 3 (tenant gamma)"), "{refusal}");
    }

    #[test]
    fn a_key_bound_to_models_may_use_no_other() {
        let sonnet: ModelName = "sonnet".parse().unwrap();
        let haiku: ModelName = "haiku".parse().unwrap();
        let mut bound = key("acme", "sk");
        bound.models = Some(vec![sonnet.clone()]);
        let caller = Keys::new(&[bound]).unwrap().find(b"sk").unwrap();
        assert_eq!(caller.may_use(&sonnet), Ok(()));
        let refusal = caller.may_use(&haiku).unwrap_err();
        assert_eq!(refusal.kind, FailureKind::ModelNotAllowed);
        assert_eq!(refusal.param.as_deref(), Some("model"));
        assert_eq!(Caller::open().may_use(&haiku), Ok(()));
    }
}
