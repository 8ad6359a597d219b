//! Why a sign-in cannot be used: what happened and what to do, for whoever runs the broker.

use std::io;
use std::path::PathBuf;

/// Why a sign-in cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum SignInProblem {
    /// Nobody has signed in.
    #[error("nobody has signed in; run `outcrop login`")]
    SignedOut,
    /// The service does not renew the token any more.
    #[error("the sign-in has ended and cannot be renewed; run `outcrop login`")]
    Ended,
    /// The registration is gone that a token can only be renewed with.
    #[error("the token has expired, and {file} is gone that it is renewed with; run `outcrop login`",
        file = super::files::REGISTRATION)]
    Unregistered,
    /// There is no place for the files.
    #[error(
        "there is no place to keep a sign-in: neither HOME nor XDG_STATE_HOME is set; set \
             codewhisperer.directory"
    )]
    Nowhere,
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}; run the broker as its owner, or run `outcrop login`",
        path = .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others may read a file.
    #[error("{path} may be read by others (mode {mode:03o}): whoever did can use the sign-in; \
             run `outcrop logout` and `outcrop login`, or chmod 600 it if nobody did",
        path = .path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file is not whole, or is something else.
    #[error("{path} is damaged (line {line}): {reason}; run `outcrop login` again",
        path = .path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where it stops making sense.
        line: usize,
        /// What is wrong, without what it holds.
        reason: &'static str,
    },
    /// A file cannot be written.
    #[error("{path} cannot be written: {source}; make the directory writable, or set \
             codewhisperer.directory", path = .path.display())]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process does not let go of the lock.
    #[error("another process has held {path} for too long; end it, or try again",
        path = .path.display())]
    Locked {
        /// Which.
        path: PathBuf,
    },
    /// The person refused.
    #[error("the sign-in was denied; run `outcrop login` to try again")]
    Denied,
    /// The person did not confirm in time.
    #[error("the code was not confirmed in time; run `outcrop login` to get another")]
    TimedOut,
    /// The service could not be asked.
    #[error("the sign-in service cannot be reached: {0}; check the network and the region")]
    Unreachable(String),
    /// What answers cannot prove that it is the service.
    #[error(
        "the sign-in service could not be reached safely: {0}; check this machine's clock and \
             aws.endpoint_url, and where a proxy of the network opens TLS, add its certificate to \
             the system's"
    )]
    Untrusted(String),
    /// What answers is something else.
    #[error(
        "what answers in place of the sign-in service is not it ({0}): a login page or a proxy \
             of the network may be in between; check the network and aws.endpoint_url"
    )]
    AnotherService(String),
    /// The service refused.
    #[error("the sign-in service refused to {0}: {1}")]
    Refused(&'static str, String),
    /// A task of ours was ended.
    #[error("looking after the sign-in was interrupted; try again")]
    Interrupted,
}

impl SignInProblem {
    /// Whether it may be over a little later, without anybody doing anything.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::Untrusted(_)
            | Self::AnotherService(_)
            | Self::Locked { .. }
            | Self::Interrupted => true,
            Self::SignedOut
            | Self::Ended
            | Self::Unregistered
            | Self::Nowhere
            | Self::Unreadable { .. }
            | Self::Exposed { .. }
            | Self::Damaged { .. }
            | Self::Unwritable { .. }
            | Self::Denied
            | Self::TimedOut
            | Self::Refused(..) => false,
        }
    }
}
