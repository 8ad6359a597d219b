//! A person's sign-in to AWS: AWS Builder ID, or the IAM Identity Center of an organisation.
//!
//! `outcrop login` makes it by the device flow (`device.rs`): the person opens a link on any
//! machine and confirms a code. What comes of it is a token for an hour or so and one to renew it
//! with, kept in files that only their owner may read. `SignIn::token` gives the one that is
//! good now; `renewal.rs` has it renewed early, once at a time: tasks of this process wait for one
//! another, other processes at a lock, and whoever comes second finds it done. A renewal outlives
//! the turn that asked for it, since the service may take each renewing token once only.
//! (SSO OIDC API model, 2019-06-10.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::task::TaskTracker;

use crate::config::CodeWhisperer as Settings;

use super::AwsClients;

mod device;
mod files;
mod problem;
mod record;
mod renewal;
mod service;
mod token;

pub use device::{Device, Wanted};
pub use problem::SignInProblem;

use files::Files;
use problem::SignInProblem as Problem;
use renewal::{Holder, Need};
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
    holder: Holder,
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
    /// Whether it can be renewed, as far as is known.
    pub is_renewable: bool,
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
                holder: Holder::new(files, Service::new(aws)),
                renewals: TaskTracker::new(),
                was_warned: AtomicBool::new(false),
            }),
        }
    }

    /// Whether somebody has signed in, whatever has become of it.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.shared.holder.exists()
    }

    /// A token that is good now. One that is due is renewed behind whoever asks.
    ///
    /// # Errors
    /// Why there is none.
    pub(in crate::backend) async fn token(&self) -> Result<Arc<Token>, Problem> {
        let held = self.shared.holder.held();
        let token = match held.filter(|held| held.standing(now()) != Standing::Expired) {
            Some(held) => held,
            None => self.look(Need::Usable).await?,
        };
        if token.standing(now()) == Standing::Due && self.shared.holder.begins_behind() {
            let shared = Arc::clone(&self.shared);
            self.shared.renewals.spawn(async move { shared.holder.renew_behind().await });
        }
        Ok(token)
    }

    /// A token other than this one, which the service has refused; `None` where any would be
    /// refused, since one that was just given was.
    ///
    /// # Errors
    /// Why there is none.
    pub(in crate::backend) async fn other_than(
        &self,
        refused: Arc<Token>,
    ) -> Result<Option<Arc<Token>>, Problem> {
        if self.shared.holder.is_refused_like_any(&refused) {
            return Ok(None);
        }
        self.look(Need::Other(refused)).await.map(Some)
    }

    /// Remembers that the service refused a token that [`other_than`](Self::other_than) gave, if
    /// that was not an old one of another process.
    pub(in crate::backend) fn was_refused_anew(&self, token: Arc<Token>) {
        self.shared.holder.was_refused_anew(token);
    }

    /// Whether somebody has signed in by `outcrop login`: another program's sign-in is not used
    /// unless a turn asks for it.
    pub(in crate::backend) fn is_ours(&self) -> bool {
        self.shared.holder.is_ours()
    }

    /// Keeps the token good while nobody speaks, as long as it is wanted, and notices what other
    /// processes do; until dropped.
    pub(in crate::backend) async fn watch(&self, is_wanted: impl Fn() -> bool) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if !self.exists() || !is_wanted() {
                continue;
            }
            self.shared.holder.keep_unkept().await;
            let looked = self.look(Need::Lasting).await;
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
        let is_valid = token.standing(now()) != Standing::Expired;
        let is_renewable = is_registered && token.renews_with.is_some() && !token.has_ended;
        if !is_valid && !is_renewable {
            return Err(Problem::Ended);
        }
        Ok(Some(SignInStatus {
            start_url: token.start_url,
            region: token.region,
            expires_at: token.expires_at,
            is_valid,
            is_renewable,
            profile_arn: token.profile_arn,
        }))
    }

    /// Forgets the sign-in: removes its files, and names them.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub async fn log_out(&self) -> Result<Vec<std::path::PathBuf>, Problem> {
        let holder = &self.shared.holder;
        let _turn = holder.turnstile.lock().await;
        let files = holder.files()?.clone();
        // A renewal that is underway elsewhere would bring it back.
        let _lock = if files.has_any() { Some(files.lock().await?) } else { None };
        let removed = blocking(move || files.remove()).await?;
        holder.hold(None);
        Ok(removed)
    }

    /// Keeps with the sign-in which profile it is used with.
    ///
    /// # Errors
    /// When there is no sign-in, or it cannot be written.
    pub async fn use_profile(&self, arn: String) -> Result<(), Problem> {
        let holder = &self.shared.holder;
        let _turn = holder.turnstile.lock().await;
        let files = holder.files()?;
        let _lock = files.lock().await?;
        let files = files.clone();
        let kept = blocking(move || {
            let token = files.token()?.ok_or(Problem::SignedOut)?;
            let token = Token { profile_arn: Some(arn), ..token };
            files.keep_token(&token)?;
            Ok(token)
        });
        holder.hold(Some(Arc::new(kept.await?)));
        Ok(())
    }

    fn files(&self) -> Result<&Files, Problem> {
        self.shared.holder.files()
    }

    /// Looks at the files, and renews what is due. Runs on when the caller is dropped.
    async fn look(&self, need: Need) -> Result<Arc<Token>, Problem> {
        let shared = Arc::clone(&self.shared);
        let looking = self.shared.renewals.spawn(async move { shared.holder.look(&need).await });
        looking.await.unwrap_or(Err(Problem::Interrupted))
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
