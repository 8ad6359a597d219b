//! Why a server did not answer as it should: what happened, and what to do.

use http::StatusCode;

use crate::backend::http::HttpError;

/// Why a server did not answer as it should: what happened, and what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// There was no reply.
    #[error("{}", no_reply(.url, .error))]
    NoReply {
        /// Who was asked.
        url: String,
        /// What the client says.
        error: HttpError,
    },
    /// The reply broke off.
    #[error("the answer broke off: {0}; what came before is not the whole")]
    CutShort(String),
    /// The server said no.
    #[error("{}", refused(*.status, .message, .url))]
    Refused {
        /// Who was asked.
        url: String,
        /// The HTTP status, or the one before an error within a stream.
        status: StatusCode,
        /// `error.code`, empty when there is none.
        code: String,
        /// What it said.
        message: String,
    },
    /// It lists no model, and nobody named one.
    #[error("{url} lists no models; name one with --model, or configure one there")]
    NoModels {
        /// Who was asked.
        url: String,
    },
    /// Nothing came for too long.
    #[error(
        "{url} has said nothing for {seconds} s; see whether it is overloaded, or allow it more \
         with --timeout"
    )]
    Silent {
        /// Who was asked.
        url: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The reply is no answer of such a server.
    #[error("{url} does not answer like an OpenAI-compatible server: {what}; check the URL")]
    Strange {
        /// Who was asked.
        url: String,
        /// What is strange.
        what: String,
    },
}

impl Trouble {
    /// In one or two words, to count by.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::NoReply { .. } => "no reply".to_owned(),
            Self::CutShort(_) => "cut short".to_owned(),
            Self::NoModels { .. } => "no models".to_owned(),
            Self::Silent { .. } => "too slow".to_owned(),
            Self::Refused { status, .. } if status.is_success() => "error in the stream".to_owned(),
            Self::Refused { status, .. } => format!("status {}", status.as_u16()),
            Self::Strange { .. } => "not OpenAI-compatible".to_owned(),
        }
    }

    /// Whether the server says that there is no such thing.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }
}

fn no_reply(url: &str, error: &HttpError) -> String {
    let told = error.to_string();
    let advice = if told.contains("UnknownIssuer") {
        "nobody whom this machine trusts has signed its certificate: name the authority's file in \
         SSL_CERT_FILE, or install it on this machine"
    } else if told.contains("certificate") {
        "its certificate is not trusted here: install its authority's certificate on this machine, \
         or name the server as its certificate does"
    } else if told.contains("InvalidContentType") || told.contains("corrupt message") {
        "it does not speak TLS there: try http:// in the URL"
    } else if told.contains("dns error") {
        "its name is not known: check the URL and the network"
    } else if told.contains("refused") {
        "nothing listens there: is the server running, and is the port right?"
    } else {
        "check the URL, and whether the server is running"
    };
    format!("{url} cannot be reached: {told}; {advice}")
}

fn refused(status: StatusCode, message: &str, url: &str) -> String {
    let number = status.as_u16();
    match number {
        401 => format!(
            "{url} wants another API key (401): {message}; give one with --api-key or in \
             OUTCROP_API_KEY"
        ),
        403 => format!("{url} does not allow this (403): {message}; ask for a key that may"),
        404 => format!(
            "{url} does not have this (404): {message}; check the URL, and what it is asked for"
        ),
        429 => format!("{url} is asked too often (429): {message}; wait, and try again"),
        200..=299 => format!("{url} failed in the middle of its answer: {message}"),
        _ => format!("{url} answered {number}: {message}"),
    }
}
