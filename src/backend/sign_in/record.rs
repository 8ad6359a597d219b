//! How a sign-in is written down: the members that AWS's own tools and earlier proxies use.
//!
//! Written in snake case; read in camel case too, and with times as text (RFC 3339), seconds or
//! milliseconds.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::Secret;

use super::token::Token;
use super::{BUILDER_ID, BUILDER_ID_REGION};

/// What a sign-in is good for.
pub(super) const SCOPES: [&str; 3] =
    ["codewhisperer:completions", "codewhisperer:analysis", "codewhisperer:conversations"];
/// How it came about, as AWS's own tools write it.
const FLOW: &str = "DeviceCode";
/// Numbers above this are milliseconds: as seconds they would be in the year 5138.
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// A client that the service knows: tokens are renewed with the one that they were made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Registration {
    pub(super) id: String,
    pub(super) secret: Secret,
    /// Until when the service takes it, where it told.
    pub(super) expires_at: Option<OffsetDateTime>,
    pub(super) region: String,
}

#[derive(Serialize, Deserialize)]
struct TokenRecord {
    #[serde(alias = "accessToken")]
    access_token: String,
    #[serde(alias = "refreshToken")]
    refresh_token: Option<String>,
    #[serde(alias = "expiresAt", with = "instant")]
    expires_at: OffsetDateTime,
    #[serde(default, alias = "issuedAt", with = "maybe_instant")]
    issued_at: Option<OffsetDateTime>,
    region: Option<String>,
    #[serde(alias = "startUrl")]
    start_url: Option<String>,
    #[serde(default, alias = "oauthFlow")]
    oauth_flow: Option<String>,
    #[serde(default)]
    scopes: Option<Vec<String>>,
    #[serde(default, alias = "profileArn")]
    profile_arn: Option<String>,
    /// Ours alone: the service has refused to renew it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_ended: bool,
}

#[derive(Serialize, Deserialize)]
struct RegistrationRecord {
    #[serde(alias = "clientId")]
    client_id: String,
    #[serde(alias = "clientSecret")]
    client_secret: String,
    #[serde(
        default,
        alias = "clientSecretExpiresAt",
        alias = "expires_at",
        alias = "expiresAt",
        with = "maybe_instant"
    )]
    client_secret_expires_at: Option<OffsetDateTime>,
    region: Option<String>,
    #[serde(default, alias = "oauthFlow")]
    oauth_flow: Option<String>,
    #[serde(default)]
    scopes: Option<Vec<String>>,
}

/// What is kept in a file.
pub(super) trait Kept: Sized {
    /// Reads it.
    fn read(json: &[u8]) -> serde_json::Result<Self>;
    /// Writes it.
    fn write(&self) -> serde_json::Result<Vec<u8>>;
}

impl Kept for Token {
    fn read(json: &[u8]) -> serde_json::Result<Self> {
        let record: TokenRecord = serde_json::from_slice(json)?;
        Ok(Self {
            access: Secret::new(record.access_token),
            renews_with: record.refresh_token.map(Secret::new),
            expires_at: record.expires_at,
            issued_at: record.issued_at,
            region: record.region.unwrap_or_else(|| BUILDER_ID_REGION.to_owned()),
            start_url: record.start_url.unwrap_or_else(|| BUILDER_ID.to_owned()),
            profile_arn: record.profile_arn,
            has_ended: record.has_ended,
        })
    }

    fn write(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec_pretty(&TokenRecord {
            access_token: self.access.expose().to_owned(),
            refresh_token: self.renews_with.as_ref().map(|token| token.expose().to_owned()),
            expires_at: self.expires_at,
            issued_at: self.issued_at,
            region: Some(self.region.clone()),
            start_url: Some(self.start_url.clone()),
            oauth_flow: Some(FLOW.to_owned()),
            scopes: Some(SCOPES.map(str::to_owned).to_vec()),
            profile_arn: self.profile_arn.clone(),
            has_ended: self.has_ended,
        })
    }
}

impl Kept for Registration {
    fn read(json: &[u8]) -> serde_json::Result<Self> {
        let record: RegistrationRecord = serde_json::from_slice(json)?;
        Ok(Self {
            id: record.client_id,
            secret: Secret::new(record.client_secret),
            expires_at: record.client_secret_expires_at,
            region: record.region.unwrap_or_else(|| BUILDER_ID_REGION.to_owned()),
        })
    }

    fn write(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec_pretty(&RegistrationRecord {
            client_id: self.id.clone(),
            client_secret: self.secret.expose().to_owned(),
            client_secret_expires_at: self.expires_at,
            region: Some(self.region.clone()),
            oauth_flow: Some(FLOW.to_owned()),
            scopes: Some(SCOPES.map(str::to_owned).to_vec()),
        })
    }
}

fn read_instant(value: &Value) -> Option<OffsetDateTime> {
    let seconds = |number: i64| OffsetDateTime::from_unix_timestamp(number).ok();
    match value {
        Value::String(text) => OffsetDateTime::parse(text, &Rfc3339).ok(),
        Value::Number(number) => {
            let number = number.as_i64().or_else(|| Some(number.as_f64()? as i64))?;
            if number >= MILLISECONDS_FROM { seconds(number / 1_000) } else { seconds(number) }
        }
        _ => None,
    }
}

mod instant {
    use super::{OffsetDateTime, Rfc3339, Value, bad_time, read_instant};
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<T: Serializer>(at: &OffsetDateTime, out: T) -> Result<T::Ok, T::Error> {
        let whole = at.replace_nanosecond(0).unwrap_or(*at);
        whole.format(&Rfc3339).map_err(serde::ser::Error::custom)?.serialize(out)
    }

    pub(super) fn deserialize<'de, T: Deserializer<'de>>(
        from: T,
    ) -> Result<OffsetDateTime, T::Error> {
        read_instant(&Value::deserialize(from)?).ok_or_else(bad_time)
    }
}

mod maybe_instant {
    use super::{OffsetDateTime, Value, bad_time, instant, read_instant};
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<T: Serializer>(
        at: &Option<OffsetDateTime>,
        out: T,
    ) -> Result<T::Ok, T::Error> {
        match at {
            Some(at) => instant::serialize(at, out),
            None => out.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, T: Deserializer<'de>>(
        from: T,
    ) -> Result<Option<OffsetDateTime>, T::Error> {
        match Value::deserialize(from)? {
            Value::Null => Ok(None),
            value => read_instant(&value).map(Some).ok_or_else(bad_time),
        }
    }
}

fn bad_time<E: serde::de::Error>() -> E {
    E::custom("no time")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(record: Value) -> serde_json::Result<Token> {
        Token::read(record.to_string().as_bytes())
    }

    #[test]
    fn a_token_is_read_in_either_case_and_with_times_of_any_kind() {
        let at = |time: Value| json!({"accessToken": "a", "refreshToken": "r", "expiresAt": time});
        let times =
            [json!("2026-01-01T12:00:00Z"), json!(1_767_268_800), json!(1_767_268_800_000_i64)];
        for time in times {
            let read = token(at(time)).unwrap();
            assert_eq!(read.expires_at.unix_timestamp(), 1_767_268_800);
            assert_eq!((read.access.expose(), read.issued_at), ("a", None));
            assert_eq!((&*read.region, &*read.start_url), (BUILDER_ID_REGION, BUILDER_ID));
        }
        assert!(token(at(json!("soon"))).is_err());
        assert!(token(json!({"accessToken": "a"})).is_err());
    }

    #[test]
    fn what_is_written_is_read_the_same() {
        let record = json!({"access_token": "a", "refresh_token": "r", "profile_arn": "arn:p",
            "expires_at": "2026-01-01T13:00:00Z", "issued_at": "2026-01-01T12:00:00Z",
            "region": "eu-central-1", "start_url": "https://x/start", "has_ended": true});
        let read = token(record).unwrap();
        assert_eq!(Token::read(&read.write().unwrap()).unwrap(), read);
        let client = json!({"clientId": "c", "clientSecret": "s", "expiresAt": 1_767_268_800});
        let read = Registration::read(client.to_string().as_bytes()).unwrap();
        assert_eq!(Registration::read(&read.write().unwrap()).unwrap(), read);
    }
}
