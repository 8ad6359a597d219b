//! The token in use: read from the files, held, and renewed in time.
//!
//! A turn takes whatever token is good and never waits for a renewal while it is: one that is due
//! is renewed behind it. Only where no token is good does a turn wait. Whoever wants to renew
//! passes the turnstile, then takes the lock of the files, and looks once more at what is there:
//! whoever was here before may have done it.
//!
//! The service is believed before the clock. A token that it refuses is renewed, whatever the
//! clock says; one that only the clock finds too old is used where it cannot be renewed now.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::lock;

use super::files::Files;
use super::problem::SignInProblem as Problem;
use super::record::Registration;
use super::service::Service;
use super::token::{Standing, Token};
use super::{blocking, now};

/// A renewal behind the turns that failed is tried again after this.
const REST: Duration = Duration::from_secs(15);
/// So long another token is not tried in the place of one that was refused as soon as it was
/// given: then it is not the token that the service minds.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// What somebody wants of a token.
#[derive(Debug, Clone)]
pub(super) enum Need {
    /// That it can be used now.
    Usable,
    /// That it can be used for a while: one that is due is renewed.
    Lasting,
    /// That it is not this one, which the service has refused.
    Other(Arc<Token>),
}

impl Need {
    fn is_met_by(&self, token: &Token) -> bool {
        match token.standing(now()) {
            Standing::Good => !self.refuses(token),
            Standing::Due => !self.refuses(token) && !matches!(self, Self::Lasting),
            Standing::Expired => false,
        }
    }

    fn refuses(&self, token: &Token) -> bool {
        matches!(self, Self::Other(refused) if refused.is_same(token))
    }
}

/// Holds the token.
#[derive(Debug)]
pub(super) struct Holder {
    /// None where nobody knows a place to keep it.
    files: Option<Files>,
    pub(super) service: Service,
    /// The token that was good when it was last looked at.
    held: Mutex<Option<Arc<Token>>>,
    /// Who may look at the files and renew; one task at a time.
    pub(super) turnstile: tokio::sync::Mutex<()>,
    behind: Mutex<Behind>,
    /// A renewed token that could not be written down.
    unkept: Mutex<Option<Unkept>>,
    /// A token that was refused as soon as it was given, and when.
    refused: Mutex<Option<(Arc<Token>, Instant)>>,
}

/// The renewal behind the turns.
#[derive(Debug, Default)]
struct Behind {
    is_underway: bool,
    rests_until: Option<Instant>,
}

/// What should stand in the files.
#[derive(Debug, Clone)]
struct Unkept {
    /// What stands there: what renews it is spent.
    instead_of: Token,
    token: Token,
    registration: Registration,
}

impl Holder {
    pub(super) fn new(files: Option<Files>, service: Service) -> Self {
        Self {
            files,
            service,
            held: Mutex::default(),
            turnstile: tokio::sync::Mutex::default(),
            behind: Mutex::default(),
            unkept: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    pub(super) fn files(&self) -> Result<&Files, Problem> {
        self.files.as_ref().ok_or(Problem::Nowhere)
    }

    pub(super) fn held(&self) -> Option<Arc<Token>> {
        lock(&self.held).clone()
    }

    /// From now on this token is the one, or none is.
    pub(super) fn hold(&self, token: Option<Arc<Token>>) {
        *lock(&self.held) = token;
    }

    /// Whether somebody has signed in, whatever has become of it.
    pub(super) fn exists(&self) -> bool {
        self.held().is_some() || self.files.as_ref().is_some_and(Files::has_token)
    }

    /// Whether the files are where we keep ours.
    pub(super) fn is_ours(&self) -> bool {
        self.files.as_ref().is_some_and(Files::has_own_token)
    }

    /// Remembers that the service refused a token, if that was just given.
    pub(super) fn was_refused_anew(&self, token: Arc<Token>) {
        if token.issued_at.is_some_and(|issued| (now() - issued).abs() < REFUSED_FOR) {
            *lock(&self.refused) = Some((token, Instant::now()));
        }
    }

    /// Whether another token would be refused like this one.
    pub(super) fn is_refused_like_any(&self, token: &Token) -> bool {
        let refused = lock(&self.refused);
        refused
            .as_ref()
            .is_some_and(|(refused, at)| refused.is_same(token) && at.elapsed() < REFUSED_FOR)
    }

    /// Whether a renewal behind the turns may begin; then it has.
    pub(super) fn begins_behind(&self) -> bool {
        let mut behind = lock(&self.behind);
        let rests = behind.rests_until.is_some_and(|until| Instant::now() < until);
        !rests && !std::mem::replace(&mut behind.is_underway, true)
    }

    /// Renews what is due, behind the turns.
    pub(super) async fn renew_behind(&self) {
        let looked = self.look(&Need::Lasting).await;
        let is_done = looked.is_ok_and(|token| token.standing(now()) == Standing::Good);
        let rests_until = (!is_done).then(|| Instant::now() + REST);
        *lock(&self.behind) = Behind { is_underway: false, rests_until };
    }

    /// Looks at the files, and renews what has to be.
    ///
    /// # Errors
    /// Why there is no token that meets the need.
    pub(super) async fn look(&self, need: &Need) -> Result<Arc<Token>, Problem> {
        let _turn = self.turnstile.lock().await;
        let looked = self.look_alone(need).await;
        self.hold(looked.as_ref().ok().cloned());
        looked
    }

    async fn look_alone(&self, need: &Need) -> Result<Arc<Token>, Problem> {
        let files = self.files()?;
        let mut found = self.find(files).await?;
        if need.is_met_by(&found) {
            return Ok(found);
        }
        if !need.refuses(&found) && found.standing(now()) != Standing::Expired {
            // Whoever comes meanwhile need not wait.
            self.hold(Some(Arc::clone(&found)));
        }
        let problem = match files.lock().await {
            Ok(_lock) => {
                // Whoever held it before may have renewed it.
                found = self.find(files).await?;
                if need.is_met_by(&found) {
                    return Ok(found);
                }
                match self.renew(files, &found, need).await {
                    Ok(renewed) => return Ok(Arc::new(renewed)),
                    Err(problem) => problem,
                }
            }
            Err(problem) => problem,
        };
        if need.refuses(&found) { Err(problem) } else { used_on(found, problem) }
    }

    /// The token of the files, or the one that should stand there.
    async fn find(&self, files: &Files) -> Result<Arc<Token>, Problem> {
        let reader = files.clone();
        let found = blocking(move || reader.token()).await?.ok_or(Problem::SignedOut)?;
        let unkept = lock(&self.unkept).clone();
        let unkept = unkept.filter(|unkept| unkept.instead_of.is_same(&found));
        Ok(Arc::new(unkept.map_or(found, |unkept| unkept.token)))
    }

    /// Renews a token, and writes down what comes of it; the lock is held.
    async fn renew(&self, files: &Files, token: &Token, need: &Need) -> Result<Token, Problem> {
        let renewed = self.ask_for_another(files, token).await;
        if matches!(renewed, Err(Problem::Ended)) {
            end(files, token, need.refuses(token)).await;
        }
        renewed
    }

    async fn ask_for_another(&self, files: &Files, token: &Token) -> Result<Token, Problem> {
        if token.has_ended {
            return Err(Problem::Ended);
        }
        let reader = files.clone();
        let registration = blocking(move || reader.registration()).await?;
        let registration = registration.ok_or(Problem::Unregistered)?;
        let granted = self.service.renew(&registration, token).await?;
        let renewed = token.renewed(granted, now());
        tracing::info!(expires_at = %renewed.expires_at, "the token was renewed");
        let before = lock(&self.unkept).take();
        let before = before.filter(|unkept| unkept.token.is_same(token));
        let instead_of = before.map_or_else(|| token.clone(), |unkept| unkept.instead_of);
        let unkept = Unkept { instead_of, token: renewed.clone(), registration };
        self.keep(files, unkept).await;
        Ok(renewed)
    }

    /// Writes a renewed token down, with what renews it; the lock is held. One that cannot be
    /// kept is good all the same, as long as the process lives.
    async fn keep(&self, files: &Files, unkept: Unkept) {
        let (writer, written) = (files.clone(), unkept.clone());
        let kept = blocking(move || {
            writer.keep_token(&written.token)?;
            // It may have come from elsewhere, and must not be lost with that place.
            writer.adopt_registration(&written.registration)
        });
        *lock(&self.unkept) = match kept.await {
            Ok(()) => None,
            Err(problem) => {
                tracing::error!(%problem, "the renewed token could not be kept; it is lost when \
                     the broker stops");
                Some(unkept)
            }
        };
    }

    /// Tries once more to write down what could not be.
    pub(super) async fn keep_unkept(&self) {
        let Ok(files) = self.files() else { return };
        if lock(&self.unkept).is_none() {
            return;
        }
        let _turn = self.turnstile.lock().await;
        let Ok(_lock) = files.lock().await else { return };
        let found = self.find(files).await;
        let unkept = lock(&self.unkept).take();
        // Somebody may have signed in meanwhile, or out.
        let is_due = |unkept: &Unkept| found.is_ok_and(|found| found.is_same(&unkept.token));
        if let Some(unkept) = unkept.filter(is_due) {
            self.keep(files, unkept).await;
        }
    }
}

/// What becomes of a token that cannot be renewed, though the service has not refused it: as long
/// as it is good it is used, and where only the clock says that it is not, the service is asked.
fn used_on(found: Arc<Token>, problem: Problem) -> Result<Arc<Token>, Problem> {
    match found.standing(now()) {
        Standing::Good | Standing::Due => {
            let until = found.expires_at;
            tracing::warn!(%problem, %until, "the token is not renewed, and used on");
        }
        Standing::Expired if problem.is_passing() => {
            tracing::warn!(%problem, "the token is used, though by this clock it has expired");
        }
        Standing::Expired => return Err(problem),
    }
    Ok(found)
}

/// Writes down that a token is not renewed any more, so that nobody asks the service again and
/// again; one that was refused is over, too. The lock is held.
async fn end(files: &Files, token: &Token, is_refused: bool) {
    let until = if is_refused { token.expires_at.min(now()) } else { token.expires_at };
    let ended = Token { has_ended: true, expires_at: until, ..token.clone() };
    if ended == *token {
        return;
    }
    let files = files.clone();
    // Who cannot write asks again.
    let _ = blocking(move || files.keep_token(&ended)).await;
}
