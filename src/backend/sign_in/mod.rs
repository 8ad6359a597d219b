//! A person's sign-in to AWS: AWS Builder ID, or the IAM Identity Center of an organisation.
//!
//! `outcrop login` makes it by the device flow ([`device`]): the person opens a link on any
//! machine and confirms a code. What comes of it is a token for an hour or so and one to renew it
//! with, kept in [`files`] that only their owner may read. [`SignIn::token`] gives the one that is
//! good now. It renews it early, once at a time: tasks of this process wait for one another, other
//! processes at a lock, and whoever comes second finds it done. A renewal outlives the turn that
//! asked for it, since the service may take each renewing token once only.
//! (SSO OIDC API model, 2019-06-10.)

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::task::TaskTracker;

use crate::config::CodeWhisperer as Settings;

use super::{AwsClients, lock};

mod device;
mod files;
mod problem;
mod record;
mod service;
mod token;

pub use device::{Device, Wanted};
pub use problem::SignInProblem;

use files::Files;
use problem::SignInProblem as Problem;
use service::Service;
use token::Standing;
pub(in crate::backend) use token::Token;

/// AWS Builder ID's own start URL; any other is of an IAM Identity Center.
pub const BUILDER_ID: &str = "https://view.awsapps.com/start";
/// Where AWS Builder ID is.
pub const BUILDER_ID_REGION: &str = "us-east-1";

/// How often [`SignIn::watch`] looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The sign-in of this machine's user. Clones share it.
#[derive(Debug, Clone)]
pub struct SignIn {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// None where nobody knows a place to keep it.
    files: Option<Files>,
    service: Service,
    /// The token that was good when it was last looked at.
    held: Mutex<Option<Arc<Token>>>,
    /// Who may look at the files and renew; one task at a time.
    turnstile: tokio::sync::Mutex<()>,
    /// Renewals go on when the turn that asked is dropped.
    renewals: TaskTracker,
    was_warned: AtomicBool,
}

/// How it stands with a sign-in, as far as the files tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInStatus {
    /// `https://view.awsapps.com/start` for AWS Builder ID, else that of an organisation.
    pub start_url: String,
    /// Where it was made.
    pub region: String,
    /// Until when the token is good; it may be renewed then.
    pub expires_at: OffsetDateTime,
    /// Whether the token is good now.
    pub is_valid: bool,
    /// The profile that it is used with.
    pub profile_arn: Option<String>,
}

impl SignIn {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(settings: &Settings, aws: &AwsClients) -> Self {
        let files = settings.kept_in.as_ref();
        let files = files.map(|kept_in| Files::new(kept_in.clone(), settings.older.clone()));
        Self {
            shared: Arc::new(Shared {
                files,
                service: Service::new(aws),
                held: Mutex::default(),
                turnstile: tokio::sync::Mutex::default(),
                renewals: TaskTracker::new(),
                was_warned: AtomicBool::new(false),
            }),
        }
    }

    /// Whether somebody has signed in, whatever has become of it.
    #[must_use]
    pub fn exists(&self) -> bool {
        let files = self.shared.files.as_ref();
        lock(&self.shared.held).is_some() || files.is_some_and(Files::has_token)
    }

    /// A token that is good now.
    ///
    /// # Errors
    /// Why there is none.
    pub(in crate::backend) async fn token(&self) -> Result<Arc<Token>, Problem> {
        let held = lock(&self.shared.held).clone();
        match held.filter(|held| held.standing(now()) == Standing::Good) {
            Some(held) => Ok(held),
            None => self.look(None).await,
        }
    }

    /// A token other than this one, which the service has refused.
    ///
    /// # Errors
    /// Why there is none.
    pub(in crate::backend) async fn other_than(
        &self,
        refused: Arc<Token>,
    ) -> Result<Arc<Token>, Problem> {
        self.look(Some(refused)).await
    }

    /// Keeps the token good while nobody speaks, and notices what other processes do; until
    /// dropped.
    pub async fn watch(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if !self.exists() {
                continue;
            }
            let looked = self.look(None).await;
            match looked {
                Ok(_) => self.shared.was_warned.store(false, Ordering::Relaxed),
                Err(problem) if !self.shared.was_warned.swap(true, Ordering::Relaxed) => {
                    tracing::warn!(%problem, "the sign-in to CodeWhisperer cannot be used");
                }
                Err(_) => {}
            }
        }
    }

    /// How it stands; `None` where nobody has signed in.
    ///
    /// # Errors
    /// When the files cannot be used, or the service has ended the sign-in.
    pub async fn status(&self) -> Result<Option<SignInStatus>, Problem> {
        let files = self.files()?.clone();
        let found = blocking(move || {
            let token = files.token()?;
            let registration = files.registration()?;
            Ok(token.map(|token| (token, registration.is_some())))
        });
        let Some((token, is_registered)) = found.await? else { return Ok(None) };
        if token.has_ended {
            return Err(Problem::Ended);
        }
        let is_valid = token.standing(now()) != Standing::Expired;
        let is_renewable = is_registered && token.renews_with.is_some();
        if !is_valid && !is_renewable {
            return Err(Problem::Ended);
        }
        Ok(Some(SignInStatus {
            start_url: token.start_url,
            region: token.region,
            expires_at: token.expires_at,
            is_valid,
            profile_arn: token.profile_arn,
        }))
    }

    /// Forgets the sign-in: removes its files, and names them.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub async fn log_out(&self) -> Result<Vec<std::path::PathBuf>, Problem> {
        let _turn = self.shared.turnstile.lock().await;
        let files = self.files()?.clone();
        let removed = blocking(move || files.remove()).await?;
        *lock(&self.shared.held) = None;
        Ok(removed)
    }

    /// Keeps with the sign-in which profile it is used with.
    ///
    /// # Errors
    /// When there is no sign-in, or it cannot be written.
    pub async fn use_profile(&self, arn: String) -> Result<(), Problem> {
        let _turn = self.shared.turnstile.lock().await;
        let files = self.files()?;
        let _lock = files.lock().await?;
        let files = files.clone();
        let kept = blocking(move || {
            let token = files.token()?.ok_or(Problem::SignedOut)?;
            let token = Token { profile_arn: Some(arn), ..token };
            files.keep_token(&token)?;
            Ok(token)
        });
        *lock(&self.shared.held) = Some(Arc::new(kept.await?));
        Ok(())
    }

    fn files(&self) -> Result<&Files, Problem> {
        self.shared.files.as_ref().ok_or(Problem::Nowhere)
    }

    /// Looks at the files, and renews what is due. Runs on when the caller is dropped.
    async fn look(&self, refused: Option<Arc<Token>>) -> Result<Arc<Token>, Problem> {
        let shared = Arc::clone(&self.shared);
        let looking = self.shared.renewals.spawn(async move { shared.look(refused).await });
        looking.await.unwrap_or(Err(Problem::Interrupted))
    }
}

impl Shared {
    async fn look(&self, refused: Option<Arc<Token>>) -> Result<Arc<Token>, Problem> {
        let _turn = self.turnstile.lock().await;
        let looked = self.look_alone(refused.as_deref()).await;
        *lock(&self.held) = looked.as_ref().ok().cloned();
        looked
    }

    async fn look_alone(&self, refused: Option<&Token>) -> Result<Arc<Token>, Problem> {
        let files = self.files.as_ref().ok_or(Problem::Nowhere)?;
        let read = || {
            let files = files.clone();
            blocking(move || files.token())
        };
        let is_refused = |found: &Token| refused.is_some_and(|token| token.is_same(found));
        let is_good = |found: &Token| found.standing(now()) == Standing::Good && !is_refused(found);
        let found = read().await?.ok_or(Problem::SignedOut)?;
        if is_good(&found) {
            return Ok(Arc::new(found));
        }
        if found.has_ended {
            return Err(Problem::Ended);
        }
        let held = files.lock().await;
        // Whoever held the lock before may have renewed it.
        let found = read().await?.ok_or(Problem::SignedOut)?;
        if is_good(&found) {
            return Ok(Arc::new(found));
        }
        let is_still_good = found.standing(now()) != Standing::Expired && !is_refused(&found);
        let renewed = match held {
            Ok(_lock) => self.renew(files, &found).await,
            Err(problem) => Err(problem),
        };
        match renewed {
            Err(problem) if problem.is_passing() && is_still_good => {
                tracing::warn!(%problem, "the token could not be renewed yet and is used on");
                Ok(Arc::new(found))
            }
            renewed => renewed.map(Arc::new),
        }
    }

    /// Renews a token; the lock is held.
    async fn renew(&self, files: &Files, token: &Token) -> Result<Token, Problem> {
        let kept = files.clone();
        let registration = blocking(move || kept.registration()).await?;
        let registration = registration.ok_or(Problem::Unregistered)?;
        let keep = |token: Token| {
            let files = files.clone();
            blocking(move || files.keep_token(&token).map(|()| token))
        };
        match self.service.renew(&registration, token).await {
            Ok(granted) => {
                let renewed = token.renewed(granted, now());
                tracing::info!(expires_at = %renewed.expires_at, "the token was renewed");
                // One that cannot be kept is good all the same, until the process ends.
                match keep(renewed.clone()).await {
                    Ok(renewed) => Ok(renewed),
                    Err(problem) => {
                        tracing::error!(%problem, "the renewed token could not be kept");
                        Ok(renewed)
                    }
                }
            }
            Err(Problem::Ended) => {
                // So that nobody asks the service again and again.
                let _ = keep(Token { has_ended: true, ..token.clone() }).await;
                Err(Problem::Ended)
            }
            Err(problem) => Err(problem),
        }
    }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// Reads or writes files where nobody else waits for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Problem::Interrupted))
}
