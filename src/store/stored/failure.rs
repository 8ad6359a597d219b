//! Failures as they are written.

use std::borrow::Cow;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::turn::{Failure, FailureKind};

use super::is_no;

/// A kind, by its code.
struct StoredKind(FailureKind);

impl Serialize for StoredKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.code())
    }
}

impl<'de> Deserialize<'de> for StoredKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = Cow::<str>::deserialize(deserializer)?;
        let kind = FailureKind::ALL.iter().find(|kind| kind.code() == code);
        let kind = kind.ok_or_else(|| D::Error::unknown_variant(&code, &["a failure's code"]))?;
        Ok(Self(*kind))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredFailure<'a> {
    kind: StoredKind,
    message: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    param: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after: Option<Duration>,
    #[serde(default, skip_serializing_if = "is_no")]
    may_have_run: bool,
}

impl<'a> From<&'a Failure> for StoredFailure<'a> {
    fn from(failure: &'a Failure) -> Self {
        let Failure { kind, message, param, retry_after, may_have_run } = failure;
        Self {
            kind: StoredKind(*kind),
            message: Cow::Borrowed(message),
            param: param.as_deref().map(Cow::Borrowed),
            retry_after: *retry_after,
            may_have_run: *may_have_run,
        }
    }
}

impl From<StoredFailure<'_>> for Failure {
    fn from(stored: StoredFailure<'_>) -> Self {
        let StoredFailure { kind, message, param, retry_after, may_have_run } = stored;
        Self {
            kind: kind.0,
            message: message.into_owned().into(),
            param: param.map(|param| param.into_owned().into()),
            retry_after,
            may_have_run,
        }
    }
}
