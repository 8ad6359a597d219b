//! Ids as types, checked once at the door.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

/// Why a text is not an id of the wanted kind; the message is fit for a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {min} to {max} characters of {alphabet}")]
pub struct BadId {
    what: &'static str,
    alphabet: &'static str,
    min: usize,
    max: usize,
}

/// What a text must look like to be an id.
struct Shape {
    what: &'static str,
    alphabet: &'static str,
    min: usize,
    max: usize,
    allows: fn(u8) -> bool,
}

impl Shape {
    fn check(&self, text: &str) -> Result<Arc<str>, BadId> {
        let length = text.len();
        let fits = (self.min..=self.max).contains(&length) && text.bytes().all(self.allows);
        if fits {
            return Ok(Arc::from(text));
        }
        Err(BadId { what: self.what, alphabet: self.alphabet, min: self.min, max: self.max })
    }
}

fn is_visible_ascii(byte: u8) -> bool {
    byte.is_ascii_graphic()
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn is_upstream_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-')
}

const SESSION: Shape = Shape {
    what: "a session id",
    alphabet: "visible ASCII without spaces",
    min: 1,
    max: 200,
    allows: is_visible_ascii,
};
const TENANT: Shape =
    Shape { what: "a tenant", alphabet: "[0-9a-zA-Z._-]", min: 1, max: 64, allows: is_name_byte };
const MODEL: Shape = Shape {
    what: "a model name",
    alphabet: "visible ASCII without spaces",
    min: 1,
    max: 2048,
    allows: is_visible_ascii,
};
/// The service takes 2 to 100; AgentCore wants at least 33, so one rule serves both
/// (`InvokeAgent` and `InvokeAgentRuntime` in the AWS API models).
const UPSTREAM: Shape = Shape {
    what: "an upstream session id",
    alphabet: "[0-9a-zA-Z._:-]",
    min: 33,
    max: 100,
    allows: is_upstream_byte,
};
const REQUEST: Shape = Shape {
    what: "a request id",
    alphabet: "visible ASCII without spaces",
    min: 1,
    max: 128,
    allows: is_visible_ascii,
};

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $shape:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                $shape.check(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

id_type! {
    /// Names one conversation inside its tenant: what the client chose, or ours.
    /// 1 to 200 visible ASCII characters.
    SessionId, SESSION
}
id_type! {
    /// The owner of an API key. 1 to 64 characters of `[0-9a-zA-Z._-]`.
    TenantId, TENANT
}
id_type! {
    /// The name a client asks for. 1 to 2048 visible ASCII characters (an ARN fits).
    ModelName, MODEL
}
id_type! {
    /// The session id we give to an upstream, never the client's own: 33 to 100 characters.
    UpstreamSessionId, UPSTREAM
}
id_type! {
    /// Names one HTTP request in replies and logs. 1 to 128 visible ASCII characters.
    RequestId, REQUEST
}
id_type! {
    /// Names one turn across the whole broker: `turn_` and 32 hexadecimal digits when ours.
    TurnId, REQUEST
}

id_type! {
    /// Names a file that came with an answer: `file-` and 32 hexadecimal digits when ours.
    FileId, REQUEST
}

/// A session's id within its tenant: what sessions are found by. Nobody else's key leads there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// Whose session it is.
    pub tenant: TenantId,
    /// Its id.
    pub id: SessionId,
}

impl SessionId {
    /// A fresh id of our own making: `sess_` and 32 hexadecimal digits.
    #[must_use]
    pub fn generate() -> Self {
        Self(format!("sess_{}", Uuid::new_v4().simple()).into())
    }

    /// A fresh id of our own making for a conversation: `conv_` and 32 hexadecimal digits.
    #[must_use]
    pub fn generate_conversation() -> Self {
        Self(format!("conv_{}", Uuid::new_v4().simple()).into())
    }

    /// Whether it looks like an id that [`generate`](Self::generate) made: nobody named the
    /// session, or asked for one.
    #[must_use]
    pub fn is_nobodys_choice(&self) -> bool {
        self.0.starts_with("sess_")
    }

    /// The id under which a fork of this session keeps the branch it left, the `number`th one.
    #[must_use]
    pub fn branch(&self, number: u32) -> Self {
        let mut base = self.as_str();
        while base.len() > SESSION.max - 12 {
            base = &base[..base.len() - 1];
        }
        Self(format!("{base}~{number}").into())
    }
}

impl TenantId {
    /// The one tenant of a broker that has no keys configured.
    #[must_use]
    pub fn open() -> Self {
        Self("local".into())
    }
}

impl ModelName {
    /// Stands where a model is wanted and none is known.
    #[must_use]
    pub fn none() -> Self {
        Self("-".into())
    }
}

impl UpstreamSessionId {
    /// A fresh id that no client can guess: `oc-` and 32 hexadecimal digits.
    #[must_use]
    pub fn generate() -> Self {
        Self(format!("oc-{}", Uuid::new_v4().simple()).into())
    }
}

impl RequestId {
    /// A fresh id: `req_` and 32 hexadecimal digits.
    #[must_use]
    pub fn generate() -> Self {
        Self(format!("req_{}", Uuid::new_v4().simple()).into())
    }
}

impl FileId {
    /// A fresh id: `file-` and 32 hexadecimal digits.
    #[must_use]
    pub fn generate() -> Self {
        Self(format!("file-{}", Uuid::new_v4().simple()).into())
    }
}

impl TurnId {
    /// A fresh id: `turn_` and 32 hexadecimal digits.
    #[must_use]
    pub fn generate() -> Self {
        Self(format!("turn_{}", Uuid::new_v4().simple()).into())
    }

    /// The turn whose [`suffix`](Self::suffix) this is, if it is one of ours: 32 hexadecimal
    /// digits in lower case.
    #[must_use]
    pub fn from_suffix(suffix: &str) -> Option<Self> {
        let is_ours = suffix.len() == 32
            && suffix.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        is_ours.then(|| Self(format!("turn_{suffix}").into()))
    }

    /// The part after `turn_`, for ids of a wire format that are derived from the turn's.
    #[must_use]
    pub fn suffix(&self) -> &str {
        self.0.strip_prefix("turn_").unwrap_or(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_our_own_have_their_own_shape() {
        assert!(SessionId::generate().as_str().parse::<SessionId>().is_ok());
        assert!(SessionId::generate().is_nobodys_choice());
        assert!(!SessionId::generate_conversation().is_nobodys_choice());
        assert!(UpstreamSessionId::generate().as_str().parse::<UpstreamSessionId>().is_ok());
        assert!(TurnId::generate().as_str().parse::<TurnId>().is_ok());
    }

    #[test]
    fn a_session_id_with_a_space_or_a_control_character_is_refused() {
        assert!("two words".parse::<SessionId>().is_err());
        assert!("line\nbreak".parse::<SessionId>().is_err());
        assert!("".parse::<SessionId>().is_err());
        assert!("x".repeat(201).parse::<SessionId>().is_err());
    }

    #[test]
    fn a_branch_of_the_longest_id_is_still_an_id() {
        let longest: SessionId = "x".repeat(200).parse().unwrap();
        assert!(longest.branch(u32::MAX).as_str().parse::<SessionId>().is_ok());
    }
}
