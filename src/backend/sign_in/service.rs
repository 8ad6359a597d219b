//! SSO OIDC, the service that signs people in.

use std::time::Duration;

use aws_sdk_ssooidc::Client;
use aws_sdk_ssooidc::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssooidc::operation::create_token::{CreateTokenError, CreateTokenOutput};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use time::OffsetDateTime;

use crate::backend::AwsClients;
use crate::backend::aws::{SsoClients, aws_error};
use crate::config::Secret;

use super::device::{Answer, Device, Wanted};
use super::problem::SignInProblem as Problem;
use super::record::{Registration, SCOPES};
use super::token::{Granted, Token};

/// What one question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a question is asked that got no answer.
const ATTEMPTS: usize = 2;
/// How HTTP says that there are too many questions.
const THROTTLED: u16 = 429;
/// What this program is called in the person's list of sign-ins.
const CLIENT_NAME: &str = "outcrop";
/// Seconds that a token is taken to be good for where the service does not say.
const LEAST_LIFETIME: i32 = 60;
/// The grants that the service knows (RFC 8628 and RFC 6749).
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
const REFRESH_TOKEN: &str = "refresh_token";

/// The service, in whichever region it is asked.
#[derive(Debug)]
pub(super) struct Service {
    clients: SsoClients,
}

impl Service {
    pub(super) fn new(aws: &AwsClients) -> Self {
        Self { clients: aws.sso() }
    }

    fn client(&self, region: &str) -> Client {
        self.clients.at(region)
    }

    /// Introduces this program.
    pub(super) async fn register(&self, region: &str) -> Result<Registration, Problem> {
        let call = self.client(region).register_client();
        let call = call.client_name(CLIENT_NAME).client_type("public");
        let call = call.set_scopes(Some(SCOPES.map(str::to_owned).to_vec()));
        let told = asked(|| call.clone().send()).await;
        let told = told.map_err(|error| problem("register this program", &error))?;
        let (Some(id), Some(secret)) = (told.client_id, told.client_secret) else {
            return Err(incomplete("register this program"));
        };
        let expires = told.client_secret_expires_at;
        Ok(Registration {
            id,
            secret: Secret::new(secret),
            expires_at: OffsetDateTime::from_unix_timestamp(expires).ok().filter(|_| expires > 0),
            region: region.to_owned(),
        })
    }

    /// Asks for a code that a person is to confirm; `None` where the service does not know the
    /// registration any more.
    pub(super) async fn authorize(
        &self,
        registration: &Registration,
        wanted: &Wanted,
    ) -> Result<Option<Device>, Problem> {
        const WHAT: &str = "give a code";
        let call = self.client(&registration.region).start_device_authorization();
        let call = call.client_id(&registration.id).client_secret(registration.secret.expose());
        let call = call.start_url(&wanted.start_url);
        let told = match asked(|| call.clone().send()).await {
            Ok(told) => told,
            Err(error) if error.code() == Some("InvalidClientException") => return Ok(None),
            Err(error) => return Err(problem(WHAT, &error)),
        };
        let (Some(code), Some(user_code), Some(uri)) =
            (told.device_code, told.user_code, told.verification_uri)
        else {
            return Err(incomplete(WHAT));
        };
        Ok(Some(Device {
            link: told.verification_uri_complete.unwrap_or(uri),
            user_code,
            code: Secret::new(code),
            lifetime: seconds(told.expires_in),
            interval: seconds(told.interval),
            registration: registration.clone(),
            wanted: wanted.clone(),
        }))
    }

    /// Asks once whether the code was confirmed.
    pub(super) async fn poll(&self, device: &Device) -> Result<Answer, Problem> {
        let registration = &device.registration;
        let call = self.client(&registration.region).create_token();
        let call = call.client_id(&registration.id).client_secret(registration.secret.expose());
        let call = call.grant_type(DEVICE_CODE).device_code(device.code.expose()).send();
        let told = match tokio::time::timeout(PATIENCE, call).await {
            Ok(told) => told,
            // The next one may get through.
            Err(_) => return Ok(Answer::Silent),
        };
        match told {
            Ok(told) => granted(told).map(Answer::Granted),
            Err(error) => match error.code() {
                Some("AuthorizationPendingException") => Ok(Answer::Pending),
                Some("SlowDownException") => Ok(Answer::SlowDown),
                Some("ExpiredTokenException") => Err(Problem::TimedOut),
                Some("AccessDeniedException") => Err(Problem::Denied),
                _ if is_passing(&error) => Ok(Answer::Silent),
                _ => Err(problem("sign in", &error)),
            },
        }
    }

    /// Renews a token.
    pub(super) async fn renew(
        &self,
        registration: &Registration,
        token: &Token,
    ) -> Result<Granted, Problem> {
        let Some(renews_with) = &token.renews_with else { return Err(Problem::Ended) };
        let call = self.client(&registration.region).create_token();
        let call = call.client_id(&registration.id).client_secret(registration.secret.expose());
        let call = call.grant_type(REFRESH_TOKEN).refresh_token(renews_with.expose());
        match asked(|| call.clone().send()).await {
            Ok(told) => granted(told),
            Err(error) if has_ended(&error) => {
                tracing::warn!(error = error.code(), "the service does not renew the token");
                Err(Problem::Ended)
            }
            Err(error) => Err(problem("renew the token", &error)),
        }
    }
}

/// The service knows the token, the client or the grant no more.
fn has_ended(error: &SdkError<CreateTokenError, HttpResponse>) -> bool {
    const ENDED: &[&str] = &[
        "InvalidGrantException",
        "InvalidClientException",
        "ExpiredTokenException",
        "AccessDeniedException",
        "UnauthorizedClientException",
    ];
    error.code().is_some_and(|code| ENDED.contains(&code))
}

fn granted(told: CreateTokenOutput) -> Result<Granted, Problem> {
    let access = told.access_token.ok_or_else(|| incomplete("give a token"))?;
    let lifetime = if told.expires_in > 0 { told.expires_in } else { LEAST_LIFETIME };
    Ok(Granted {
        access: Secret::new(access),
        renews_with: told.refresh_token.map(Secret::new),
        lifetime: time::Duration::seconds(lifetime.into()),
    })
}

fn seconds(told: i32) -> Duration {
    Duration::from_secs(told.max(0).unsigned_abs().into())
}

/// Asks, and once more where no answer came.
async fn asked<T, E, F>(ask: impl Fn() -> F) -> Result<T, SdkError<E, HttpResponse>>
where
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        let told = match tokio::time::timeout(PATIENCE, ask()).await {
            Ok(told) => told,
            Err(elapsed) => Err(SdkError::timeout_error(elapsed)),
        };
        match told {
            Err(error) if left > 0 && is_passing(&error) => {}
            told => return told,
        }
    }
}

/// Whether another question may get through.
fn is_passing<E>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) => true,
        SdkError::ServiceError(_) | SdkError::ResponseError(_) => {
            let status = error.raw_response().map(HttpResponse::status);
            status.is_some_and(|status| status.is_server_error() || status.as_u16() == THROTTLED)
        }
        _ => false,
    }
}

fn problem<E>(what: &'static str, error: &SdkError<E, HttpResponse>) -> Problem
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let Some(code) = error.code() else {
        let Some(reply) = error.raw_response() else { return no_reply(aws_error(error)) };
        let status = reply.status().as_u16();
        let kind = reply.headers().get("content-type").unwrap_or("no content type");
        let told = format!("it answered {status}, {kind}");
        return if is_passing(error) {
            Problem::Unreachable(told)
        } else {
            Problem::AnotherService(told)
        };
    };
    let detail = match error.message() {
        Some(message) => format!("{code}: {message}"),
        None => code.to_owned(),
    };
    if is_passing(error) { Problem::Unreachable(detail) } else { Problem::Refused(what, detail) }
}

/// Why nothing came back. The client's errors have no kind of their own for TLS.
fn no_reply(told: String) -> Problem {
    if told.contains("TLS") || told.contains("certificate") {
        return Problem::Untrusted(told);
    }
    Problem::Unreachable(told)
}

fn incomplete(what: &'static str) -> Problem {
    Problem::Refused(what, "its answer is incomplete".to_owned())
}
