//! The device flow: a code that a person confirms in a browser, wherever that is (RFC 8628).

use std::sync::Arc;
use std::time::Duration;

use crate::config::Secret;

use super::problem::SignInProblem as Problem;
use super::record::Registration;
use super::token::{Granted, Token};
use super::{SignIn, blocking, now};

/// How often to ask where the service does not say.
const USUAL_INTERVAL: Duration = Duration::from_secs(5);
/// What is added to that when the service wants to be asked less.
const SLOWER: Duration = Duration::from_secs(5);
/// How long a code is good where the service does not say.
const USUAL_LIFETIME: Duration = Duration::from_secs(600);
/// A registration that ends within this is not used any more: it has to last for the renewals.
const REGISTRATION_LASTS: time::Duration = time::Duration::DAY;

/// What to sign in to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// [`BUILDER_ID`](super::BUILDER_ID), or that of an IAM Identity Center.
    pub start_url: String,
    /// Where that is.
    pub region: String,
    /// The profile to use it with, where that is known.
    pub profile_arn: Option<String>,
}

/// A code that waits to be confirmed.
#[derive(Debug)]
pub struct Device {
    /// The page to open; it knows the code already.
    pub link: String,
    /// The code that it must show.
    pub user_code: String,
    /// How long the code can be confirmed; 0 where the service does not say.
    pub lifetime: Duration,
    pub(super) interval: Duration,
    pub(super) code: Secret,
    pub(super) registration: Registration,
    pub(super) wanted: Wanted,
}

/// What the service says to one question.
#[derive(Debug)]
pub(super) enum Answer {
    /// It was confirmed.
    Granted(Granted),
    /// Not yet.
    Pending,
    /// Not yet, and ask less.
    SlowDown,
    /// Nothing; the next question may get through.
    Silent,
}

impl SignIn {
    /// Begins: there is a code to be shown.
    ///
    /// # Errors
    /// When the service cannot be asked or refuses.
    pub async fn begin(&self, wanted: &Wanted) -> Result<Device, Problem> {
        let service = &self.shared.holder.service;
        if let Some(known) = self.known_registration(wanted).await
            && let Some(device) = service.authorize(&known, wanted).await?
        {
            return Ok(device);
        }
        let fresh = service.register(&wanted.region).await?;
        let refused = || Problem::Refused("give a code", "it knows no registration".to_owned());
        service.authorize(&fresh, wanted).await?.ok_or_else(refused)
    }

    /// A registration of before that will last.
    async fn known_registration(&self, wanted: &Wanted) -> Option<Registration> {
        let files = self.files().ok()?.clone();
        // One that cannot be read is replaced.
        let known = blocking(move || files.registration()).await.ok()??;
        let lasts = known.expires_at.is_some_and(|end| end - now() > REGISTRATION_LASTS);
        (known.region == wanted.region && lasts).then_some(known)
    }

    /// Waits for the person to confirm, and keeps what comes of it.
    ///
    /// # Errors
    /// When they refuse or take too long, or the sign-in cannot be kept.
    pub async fn finish(&self, device: Device) -> Result<(), Problem> {
        // That it can be kept is found out before anybody takes the trouble.
        let files = self.files()?;
        drop(files.lock().await?);
        let mut patience = Patience::new(&device);
        let granted = loop {
            tokio::time::sleep(patience.interval).await;
            match self.shared.holder.service.poll(&device).await? {
                Answer::Granted(granted) => break granted,
                answer => patience.after(&answer)?,
            }
        };
        let given_at = now();
        let token = Token {
            expires_at: given_at + granted.lifetime,
            issued_at: Some(given_at),
            access: granted.access,
            renews_with: granted.renews_with,
            region: device.wanted.region,
            start_url: device.wanted.start_url,
            profile_arn: device.wanted.profile_arn,
            has_ended: false,
        };
        let (kept, held, registration) = (files.clone(), files.lock().await?, device.registration);
        let token = blocking(move || {
            kept.keep_registration(&registration)?;
            kept.keep_token(&token)?;
            Ok(token)
        });
        let token = token.await?;
        drop(held);
        self.shared.holder.hold(Some(Arc::new(token)));
        Ok(())
    }
}

/// How long to wait for the person, and how often to ask. Pure.
#[derive(Debug, PartialEq, Eq)]
struct Patience {
    interval: Duration,
    left: Duration,
}

impl Patience {
    fn new(device: &Device) -> Self {
        let or = |told: Duration, usual| if told.is_zero() { usual } else { told };
        Self {
            interval: or(device.interval, USUAL_INTERVAL),
            left: or(device.lifetime, USUAL_LIFETIME),
        }
    }

    /// Takes in an answer that brought nothing.
    fn after(&mut self, answer: &Answer) -> Result<(), Problem> {
        self.left = self.left.saturating_sub(self.interval);
        if self.left.is_zero() {
            return Err(Problem::TimedOut);
        }
        match answer {
            // A question that got no answer is a reason to ask less too (RFC 8628, section 3.5).
            Answer::SlowDown | Answer::Silent => self.interval += SLOWER,
            Answer::Pending | Answer::Granted(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_service_is_asked_less_once_it_says_so() {
        let mut patience = Patience { interval: SECOND, left: 60 * SECOND };
        patience.after(&Answer::Pending).unwrap();
        assert_eq!(patience.interval, SECOND);
        patience.after(&Answer::SlowDown).unwrap();
        patience.after(&Answer::Pending).unwrap();
        assert_eq!(patience, Patience { interval: 6 * SECOND, left: 52 * SECOND });
    }

    #[test]
    fn nobody_waits_for_longer_than_the_code_is_good() {
        let mut patience = Patience { interval: 5 * SECOND, left: 10 * SECOND };
        patience.after(&Answer::Pending).unwrap();
        assert!(matches!(patience.after(&Answer::Pending), Err(Problem::TimedOut)));
    }
}
