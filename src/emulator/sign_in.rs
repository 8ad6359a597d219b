//! SSO OIDC: the service that signs people in, by the device flow.
//!
//! `POST /client/register`, `POST /device_authorization` and `POST /token`, without
//! authorization. Nobody has to open a browser: the first question after a code is answered
//! `authorization_pending` and the second with a token. `POST /_emulator/sign-in` sets it up
//! otherwise, for codes that are given from then on:
//!
//! | member | what |
//! |---|---|
//! | `polls` | what questions are answered with before the token: `authorization_pending`, `slow_down`, `expired_token`, `access_denied`, `invalid_client` |
//! | `interval` | seconds between two questions, as clients are told |
//! | `token_lifetime_seconds` | how long tokens are good for |
//! | `renewal_ms` | how long a renewal takes |
//! | `down` | `true`: every call is answered with `server_error` |
//! | `expire` | `true`: every token is expired now |
//! | `end` | `true`: no token can be renewed any more |
//! | `forget_clients` | `true`: no registration is known any more |
//!
//! As on AWS, a token that renews another does so once: the answer brings the next.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::invoke_agent::read;
use super::refusal::Refusal;
use super::routes::{json_reply, request_id};
use super::{Emulated, REQUEST_ID};

/// How long a registration is good for, in seconds: ninety days.
const REGISTRATION_LASTS: u64 = 90 * 86_400;
/// How long a code can be confirmed, in seconds.
const CODE_LASTS: u32 = 600;
/// Codes, clients and tokens that are kept, at most; then all are forgotten.
const MOST: usize = 10_000;

/// An error of the service: HTTP status, exception, and the name in the body.
type Known = (StatusCode, &'static str, &'static str);

const ERRORS: &[Known] = &[
    (StatusCode::BAD_REQUEST, "AuthorizationPendingException", "authorization_pending"),
    (StatusCode::BAD_REQUEST, "SlowDownException", "slow_down"),
    (StatusCode::BAD_REQUEST, "ExpiredTokenException", "expired_token"),
    (StatusCode::BAD_REQUEST, "AccessDeniedException", "access_denied"),
    (StatusCode::BAD_REQUEST, "InvalidGrantException", "invalid_grant"),
    (StatusCode::BAD_REQUEST, "InvalidRequestException", "invalid_request"),
    (StatusCode::BAD_REQUEST, "UnsupportedGrantTypeException", "unsupported_grant_type"),
    (StatusCode::UNAUTHORIZED, "InvalidClientException", "invalid_client"),
    (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerException", "server_error"),
];

/// Who is signed in, and who is about to be.
#[derive(Debug)]
pub(super) struct SignIns {
    lifetime: Duration,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    set: Settings,
    /// Secrets by client.
    clients: HashMap<String, String>,
    /// What questions about a code are answered with, by code.
    codes: HashMap<String, VecDeque<&'static Known>>,
    /// When tokens expire.
    tokens: HashMap<String, Instant>,
    /// What renews them, by the client that it was given to.
    renewing: HashMap<String, String>,
    /// Calls by operation.
    calls: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    polls: Option<Vec<String>>,
    interval: Option<u32>,
    token_lifetime_seconds: Option<f64>,
    renewal_ms: Option<u64>,
    #[serde(default)]
    down: bool,
    #[serde(default)]
    expire: bool,
    #[serde(default)]
    end: bool,
    #[serde(default)]
    forget_clients: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Asked {
    client_name: Option<String>,
    client_id: String,
    client_secret: String,
    start_url: Option<String>,
    grant_type: String,
    device_code: String,
    refresh_token: String,
}

impl SignIns {
    pub(super) fn new(lifetime: Duration) -> Self {
        Self { lifetime, now: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a token is good.
    pub(super) fn knows(&self, token: &str) -> bool {
        self.lock().tokens.get(token).is_some_and(|until| *until > Instant::now())
    }

    /// What tests are shown.
    pub(super) fn shown(&self) -> Value {
        let now = self.lock();
        json!({
            "calls": now.calls,
            "tokens": now.tokens.values().filter(|until| **until > Instant::now()).count(),
        })
    }

    /// Forgets how often it was asked, and how it was set up; nobody is signed out.
    pub(super) fn reset(&self) {
        let mut now = self.lock();
        now.set = Settings::default();
        now.calls.clear();
    }

    fn set(&self, body: &[u8]) -> Result<(), Refusal> {
        let set: Settings = serde_json::from_slice(body)
            .map_err(|error| Refusal::serialization(format!("the body cannot be read: {error}")))?;
        let wrong = set.polls.iter().flatten().find(|name| error_named(name).is_none());
        if let Some(name) = wrong {
            return Err(Refusal::validation(format!("there is no answer {name:?}")));
        }
        let lifetime = set.token_lifetime_seconds.map(Duration::try_from_secs_f64);
        if lifetime.is_some_and(|lifetime| lifetime.is_err()) {
            return Err(Refusal::validation("token_lifetime_seconds must be a number of seconds"));
        }
        let mut now = self.lock();
        if set.expire {
            now.tokens.clear();
        }
        if set.end {
            now.renewing.clear();
        }
        if set.forget_clients {
            now.clients.clear();
        }
        now.set = set;
        Ok(())
    }

    fn answer(&self, operation: &'static str, asked: &Asked) -> Result<Value, &'static Known> {
        let mut now = self.lock();
        *now.calls.entry(operation).or_default() += 1;
        now.bound();
        if now.set.down {
            return Err(known("server_error"));
        }
        match operation {
            "RegisterClient" if asked.client_name.is_none() => Err(known("invalid_request")),
            "RegisterClient" => Ok(now.register()),
            _ if now.clients.get(&asked.client_id) != Some(&asked.client_secret) => {
                Err(known("invalid_client"))
            }
            "StartDeviceAuthorization" if asked.start_url.is_none() => {
                Err(known("invalid_request"))
            }
            "StartDeviceAuthorization" => Ok(now.authorize()),
            _ => match asked.grant_type.as_str() {
                "urn:ietf:params:oauth:grant-type:device_code" => {
                    let answers = now.codes.get_mut(&asked.device_code);
                    let answers = answers.ok_or_else(|| known("invalid_grant"))?;
                    if let Some(answer) = answers.pop_front() {
                        return Err(answer);
                    }
                    now.codes.remove(&asked.device_code);
                    Ok(now.grant(self.lifetime, &asked.client_id))
                }
                "refresh_token" => {
                    *now.calls.entry("Renewals").or_default() += 1;
                    let owner = now.renewing.remove(&asked.refresh_token);
                    if owner.as_ref() != Some(&asked.client_id) {
                        return Err(known("invalid_grant"));
                    }
                    Ok(now.grant(self.lifetime, &asked.client_id))
                }
                _ => Err(known("unsupported_grant_type")),
            },
        }
    }
}

impl Now {
    fn bound(&mut self) {
        let sizes = [self.clients.len(), self.codes.len(), self.tokens.len(), self.renewing.len()];
        if sizes.into_iter().any(|size| size >= MOST) {
            (self.clients, self.codes) = (HashMap::new(), HashMap::new());
            (self.tokens, self.renewing) = (HashMap::new(), HashMap::new());
        }
    }

    fn register(&mut self) -> Value {
        let (id, secret) = (fresh("client"), fresh("secret"));
        self.clients.insert(id.clone(), secret.clone());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        json!({
            "clientId": id,
            "clientSecret": secret,
            "clientIdIssuedAt": now,
            "clientSecretExpiresAt": now + REGISTRATION_LASTS,
        })
    }

    fn authorize(&mut self) -> Value {
        let polls = self.set.polls.as_deref();
        let polls = polls.map(|polls| polls.iter().filter_map(|name| error_named(name)).collect());
        let polls = polls.unwrap_or_else(|| VecDeque::from([known("authorization_pending")]));
        let code = fresh("device");
        self.codes.insert(code.clone(), polls);
        let letters = Uuid::new_v4().simple().to_string().to_uppercase();
        let user_code = format!("{}-{}", &letters[..4], &letters[4..8]);
        let page = "https://device.sso.us-east-1.amazonaws.com/";
        json!({
            "deviceCode": code,
            "userCode": user_code,
            "verificationUri": page,
            "verificationUriComplete": format!("{page}?user_code={user_code}"),
            "expiresIn": CODE_LASTS,
            "interval": self.set.interval.unwrap_or(1),
        })
    }

    fn grant(&mut self, usual: Duration, client: &str) -> Value {
        let set = self.set.token_lifetime_seconds.map(Duration::try_from_secs_f64);
        let lifetime = set.and_then(Result::ok).unwrap_or(usual);
        let (token, renews_with) = (fresh("token"), fresh("renewing"));
        self.tokens.insert(token.clone(), Instant::now() + lifetime);
        self.renewing.insert(renews_with.clone(), client.to_owned());
        json!({
            "accessToken": token,
            "tokenType": "Bearer",
            "expiresIn": lifetime.as_secs(),
            "refreshToken": renews_with,
        })
    }
}

fn fresh(what: &str) -> String {
    format!("emulated-{what}-{}", Uuid::new_v4().simple())
}

fn error_named(name: &str) -> Option<&'static Known> {
    ERRORS.iter().find(|(.., known)| *known == name)
}

fn known(name: &str) -> &'static Known {
    error_named(name).expect("every error that is named here is in the list")
}

/// The operation of a path.
pub(super) fn operation(method: &Method, path: &str) -> Option<&'static str> {
    match (method, path) {
        (&Method::POST, "/client/register") => Some("RegisterClient"),
        (&Method::POST, "/device_authorization") => Some("StartDeviceAuthorization"),
        (&Method::POST, "/token") => Some("CreateToken"),
        _ => None,
    }
}

/// Answers one call.
pub(super) async fn answer(
    emulated: &Emulated,
    operation: &'static str,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let body = match read(request.into_body()).await {
        Ok(body) => body,
        Err(refusal) => return refusal.response(request_id()),
    };
    let Ok(asked) = serde_json::from_slice::<Asked>(&body) else {
        return refused(known("invalid_request"));
    };
    let answer = emulated.sign_ins.answer(operation, &asked);
    let pause = emulated.sign_ins.lock().set.renewal_ms;
    if let Some(pause) = pause.filter(|_| asked.grant_type == "refresh_token") {
        tokio::time::sleep(Duration::from_millis(pause.min(MAX_PAUSE_MS))).await;
    }
    match answer {
        Ok(body) => {
            let mut response = json_reply(&body);
            response.headers_mut().insert(REQUEST_ID, request_id());
            response
        }
        Err(error) => refused(error),
    }
}

/// The longest renewal, in milliseconds.
const MAX_PAUSE_MS: u64 = 60_000;

fn refused((status, kind, name): &Known) -> Response<Full<Bytes>> {
    let body = json!({ "error": name, "error_description": format!("emulated {name}") });
    let mut response = json_reply(&body);
    *response.status_mut() = *status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("x-amzn-errortype", HeaderValue::from_static(kind));
    headers.insert(REQUEST_ID, request_id());
    response
}

/// Sets it up as a test wants it.
pub(super) async fn set_up(
    emulated: &Emulated,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let set = match read(request.into_body()).await {
        Ok(body) => emulated.sign_ins.set(&body),
        Err(refusal) => Err(refusal),
    };
    match set {
        Ok(()) => json_reply(&json!({})),
        Err(refusal) => refusal.response(request_id()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registered(sign_ins: &SignIns) -> Asked {
        let asked = Asked { client_name: Some("x".to_owned()), ..Asked::default() };
        let told = sign_ins.answer("RegisterClient", &asked).unwrap();
        let text = |name: &str| told[name].as_str().unwrap().to_owned();
        Asked {
            client_id: text("clientId"),
            client_secret: text("clientSecret"),
            start_url: Some("https://x".to_owned()),
            grant_type: "urn:ietf:params:oauth:grant-type:device_code".to_owned(),
            ..Asked::default()
        }
    }

    fn error(answer: Result<Value, &'static Known>) -> &'static str {
        answer.unwrap_err().2
    }

    #[test]
    fn a_code_is_confirmed_in_its_time_and_a_token_renewed_once() {
        let sign_ins = SignIns::new(Duration::from_secs(60));
        sign_ins.set(br#"{"polls": ["authorization_pending", "slow_down"]}"#).unwrap();
        let asked = registered(&sign_ins);
        let told = sign_ins.answer("StartDeviceAuthorization", &asked).unwrap();
        let device_code = told["deviceCode"].as_str().unwrap().to_owned();
        let asked = Asked { device_code, ..asked };
        let poll = || sign_ins.answer("CreateToken", &asked);
        assert_eq!(error(poll()), "authorization_pending");
        assert_eq!(error(poll()), "slow_down");
        let granted = poll().unwrap();
        assert!(sign_ins.knows(granted["accessToken"].as_str().unwrap()));
        assert_eq!(error(poll()), "invalid_grant");
        let refresh_token = granted["refreshToken"].as_str().unwrap().to_owned();
        let grant_type = "refresh_token".to_owned();
        let renew = Asked { grant_type, refresh_token, ..asked };
        assert!(sign_ins.answer("CreateToken", &renew).is_ok());
        assert_eq!(error(sign_ins.answer("CreateToken", &renew)), "invalid_grant");
    }

    #[test]
    fn another_client_and_one_that_is_not_known_get_nothing() {
        let sign_ins = SignIns::new(Duration::from_secs(60));
        let asked = registered(&sign_ins);
        let wrong = Asked { client_secret: "guess".to_owned(), ..asked };
        assert_eq!(error(sign_ins.answer("StartDeviceAuthorization", &wrong)), "invalid_client");
    }

    #[test]
    fn a_setting_that_cannot_be_is_refused() {
        let sign_ins = SignIns::new(Duration::from_secs(60));
        for wrong in
            [r#"{"polls": ["maybe"]}"#, r#"{"token_lifetime_seconds": -1}"#, "{", r#"{"x":1}"#]
        {
            assert!(sign_ins.set(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
