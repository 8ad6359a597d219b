//! A token and how it stands.

use time::{Duration, OffsetDateTime};

use crate::config::Secret;

/// A token whose lifetime nobody knows is taken for one of an hour, as the service's are.
const USUAL_LIFETIME: Duration = Duration::HOUR;
/// So long before its end a token is renewed, and no longer than this share of its lifetime.
const EARLY: Duration = Duration::minutes(5);
const EARLY_SHARE: i32 = 4;
/// So long before its end it counts as expired: a request takes time to arrive.
const LATE: Duration = Duration::minutes(1);
const LATE_SHARE: i32 = 10;
/// A clock may be set back by so much before it is held against a token.
const CLOCK_SLACK: Duration = Duration::minutes(1);

/// What a person's sign-in gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend) struct Token {
    /// Goes along with each request.
    pub(in crate::backend) access: Secret,
    /// Renews the other.
    pub(super) renews_with: Option<Secret>,
    pub(super) expires_at: OffsetDateTime,
    /// When it was given, where that is known.
    pub(super) issued_at: Option<OffsetDateTime>,
    pub(super) region: String,
    pub(super) start_url: String,
    pub(in crate::backend) profile_arn: Option<String>,
    /// Whether the service has refused to renew it: then somebody has to sign in again.
    pub(super) has_ended: bool,
}

/// How a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It can be used.
    Good,
    /// It can be used, but should be renewed.
    Due,
    /// It cannot be used.
    Expired,
}

/// What the service gave.
#[derive(Debug, Clone)]
pub(super) struct Granted {
    pub(super) access: Secret,
    /// None where the one before stays.
    pub(super) renews_with: Option<Secret>,
    pub(super) lifetime: Duration,
}

impl Token {
    pub(super) fn standing(&self, now: OffsetDateTime) -> Standing {
        let lifetime = self.issued_at.map_or(USUAL_LIFETIME, |issued| self.expires_at - issued);
        let left = self.expires_at - now;
        // The clock was set back: nobody knows how old it is.
        let is_from_the_future = self.issued_at.is_some_and(|issued| issued - now > CLOCK_SLACK);
        if left <= LATE.min(lifetime / LATE_SHARE) {
            Standing::Expired
        } else if left <= EARLY.min(lifetime / EARLY_SHARE) || is_from_the_future {
            Standing::Due
        } else {
            Standing::Good
        }
    }

    /// One that is good for as long as any test takes.
    #[cfg(test)]
    pub(in crate::backend) fn for_tests(access: &str) -> Self {
        Self {
            access: Secret::new(access),
            renews_with: None,
            expires_at: OffsetDateTime::now_utc() + USUAL_LIFETIME,
            issued_at: None,
            region: super::BUILDER_ID_REGION.to_owned(),
            start_url: super::BUILDER_ID.to_owned(),
            profile_arn: None,
            has_ended: false,
        }
    }

    /// Whether another is this one, as far as the service sees.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.access == other.access
    }

    /// The token that takes this one's place.
    pub(super) fn renewed(&self, granted: Granted, now: OffsetDateTime) -> Self {
        Self {
            access: granted.access,
            renews_with: granted.renews_with.or_else(|| self.renews_with.clone()),
            expires_at: now + granted.lifetime,
            issued_at: Some(now),
            has_ended: false,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(issued: i64, expires: i64) -> Token {
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        Token {
            access: Secret::new("a"),
            renews_with: Some(Secret::new("r")),
            expires_at: at(expires),
            issued_at: Some(at(issued)),
            region: "us-east-1".to_owned(),
            start_url: super::super::BUILDER_ID.to_owned(),
            profile_arn: None,
            has_ended: false,
        }
    }

    fn standing(token: &Token, now: i64) -> Standing {
        token.standing(OffsetDateTime::from_unix_timestamp(now).unwrap())
    }

    #[test]
    fn a_token_is_renewed_minutes_before_its_end() {
        let hour = token(10_000, 13_600);
        assert_eq!(standing(&hour, 10_000), Standing::Good);
        assert_eq!(standing(&hour, 13_299), Standing::Good);
        assert_eq!(standing(&hour, 13_300), Standing::Due);
        assert_eq!(standing(&hour, 13_540), Standing::Expired);
        assert_eq!(standing(&hour, 99_999), Standing::Expired);
    }

    #[test]
    fn a_token_of_seconds_is_not_due_from_the_start() {
        let short = token(10_000, 10_010);
        assert_eq!(standing(&short, 10_000), Standing::Good);
        assert_eq!(standing(&short, 10_008), Standing::Due);
        assert_eq!(standing(&short, 10_009), Standing::Expired);
    }

    #[test]
    fn a_token_of_which_only_the_end_is_known_is_taken_for_one_of_an_hour() {
        let older = Token { issued_at: None, ..token(0, 13_600) };
        assert_eq!(standing(&older, 13_299), Standing::Good);
        assert_eq!(standing(&older, 13_300), Standing::Due);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_a_token_due() {
        let hour = token(10_000, 13_600);
        assert_eq!(standing(&hour, 9_950), Standing::Good);
        assert_eq!(standing(&hour, 5_000), Standing::Due);
    }

    #[test]
    fn a_token_without_a_new_one_to_renew_with_keeps_the_old_one() {
        let now = OffsetDateTime::from_unix_timestamp(20_000).unwrap();
        let granted =
            Granted { access: Secret::new("b"), renews_with: None, lifetime: Duration::seconds(8) };
        let renewed = token(10_000, 13_600).renewed(granted, now);
        assert_eq!(renewed.renews_with, Some(Secret::new("r")));
        assert_eq!(renewed.expires_at.unix_timestamp(), 20_008);
        assert!(!renewed.is_same(&token(10_000, 13_600)));
    }
}
