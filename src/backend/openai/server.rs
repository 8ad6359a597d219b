//! The servers that are asked: one client for all, and what is learnt of each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::backend::http::Client;
use crate::backend::lock;
use crate::backend::retry::Budget;

use super::failure::Said;

/// OpenAI's own host, whose newer models know only the newer name of the limit, and which
/// refuses members that it does not know.
const OPENAI_HOST: &str = "api.openai.com";

/// All OpenAI-compatible servers, for as long as the process lives.
#[derive(Debug)]
pub struct OpenAiServers {
    client: Client,
    known: Mutex<HashMap<String, Arc<Server>>>,
}

impl OpenAiServers {
    /// None is known yet; a connection to one must be there by this time.
    #[must_use]
    pub fn new(connect_timeout: Duration) -> Self {
        Self { client: Client::new(connect_timeout), known: Mutex::default() }
    }

    /// The server at a base URL. There are as many as the configuration names.
    pub(super) fn at(&self, base_url: &str) -> Arc<Server> {
        let mut known = lock(&self.known);
        let server = known.entry(base_url.to_owned());
        Arc::clone(server.or_insert_with(|| Arc::new(Server::new(base_url, self.client.clone()))))
    }
}

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) client: Client,
    /// Where turns are posted.
    pub(super) url: String,
    /// Where embeddings are asked for.
    pub(super) embeddings_url: String,
    /// What all turns through it may spend on retries.
    pub(super) budget: Budget,
    is_openai: bool,
    /// What it was found not to know.
    no_usage: AtomicBool,
    other_limit: AtomicBool,
    no_base64: AtomicBool,
}

/// How a request is spelled for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spelling {
    /// Whether usage is asked for in `stream_options`.
    pub(super) include_usage: bool,
    /// Whether the limit is called `max_completion_tokens`, rather than `max_tokens`.
    pub(super) newer_limit: bool,
    /// Whether thinking goes back within a turn of tool calls, as `reasoning_content`: some
    /// models go on from it, and servers that know nothing of it pass over it.
    pub(super) thoughts: bool,
}

impl Spelling {
    fn limit(self) -> &'static str {
        if self.newer_limit { "max_completion_tokens" } else { "max_tokens" }
    }
}

impl Server {
    fn new(base_url: &str, client: Client) -> Self {
        let is_openai =
            base_url.parse::<http::Uri>().is_ok_and(|url| url.host() == Some(OPENAI_HOST));
        Self {
            client,
            url: url(base_url, "chat/completions"),
            embeddings_url: url(base_url, "embeddings"),
            budget: Budget::default(),
            is_openai,
            no_usage: AtomicBool::new(false),
            other_limit: AtomicBool::new(false),
            no_base64: AtomicBool::new(false),
        }
    }

    /// How requests are spelled, as far as is known.
    pub(super) fn spelling(&self) -> Spelling {
        Spelling {
            include_usage: !self.no_usage.load(Ordering::Relaxed),
            newer_limit: self.is_openai != self.other_limit.load(Ordering::Relaxed),
            thoughts: !self.is_openai,
        }
    }

    /// Takes from a refusal what the server does not know; says whether a request of this
    /// spelling is worth another try in the one that [`spelling`](Self::spelling) gives now.
    pub(super) fn learn(&self, said: &Said, spelling: Spelling) -> bool {
        if spelling.include_usage && said.refuses_member("stream_options") {
            self.no_usage.store(true, Ordering::Relaxed);
            return true;
        }
        if said.refuses_member(spelling.limit()) {
            let is_other = spelling.newer_limit == self.is_openai;
            self.other_limit.store(is_other, Ordering::Relaxed);
            return true;
        }
        false
    }

    /// Whether vectors may be asked for in base64, as far as is known.
    pub(super) fn takes_base64(&self) -> bool {
        !self.no_base64.load(Ordering::Relaxed)
    }

    /// Takes from a refusal that they may not, if it says so.
    pub(super) fn learn_of_base64(&self, said: &Said) -> bool {
        let is_refused = said.refuses_member("encoding_format");
        if is_refused {
            self.no_base64.store(true, Ordering::Relaxed);
        }
        is_refused
    }
}

/// The path goes before the query that some servers (Azure's) want in the base URL.
fn url(base: &str, resource: &str) -> String {
    let (path, query) = match base.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (base, String::new()),
    };
    format!("{}/{resource}{query}", path.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn server(base: &str) -> Arc<Server> {
        OpenAiServers::new(Duration::from_secs(1)).at(base)
    }

    fn said(message: &str) -> Said {
        Said::of(&json!({ "error": { "message": message } }))
    }

    #[test]
    fn turns_are_posted_below_the_base() {
        let turns = |base| url(base, "chat/completions");
        assert_eq!(turns("http://x/v1"), "http://x/v1/chat/completions");
        assert_eq!(turns("http://x/v1/"), "http://x/v1/chat/completions");
        assert_eq!(url("http://x/v1", "embeddings"), "http://x/v1/embeddings");
        let versioned = "https://x/openai/deployments/d?api-version=1";
        assert_eq!(
            turns(versioned),
            "https://x/openai/deployments/d/chat/completions?api-version=1"
        );
    }

    #[test]
    fn a_server_is_told_its_own_name_of_the_limit_once_it_said_so() {
        let server = server("http://127.0.0.1:1/v1");
        let before = server.spelling();
        assert!(!before.newer_limit && before.include_usage && before.thoughts);
        assert!(!server.learn(&said("max_tokens is too large"), before));
        assert!(server.learn(&said("Unsupported parameter: max_tokens"), before));
        assert!(server.spelling().newer_limit);
        assert!(server.learn(&said("unknown field stream_options"), before));
        assert!(!server.spelling().include_usage);
    }

    #[test]
    fn openai_itself_takes_the_newer_name() {
        let server = server("https://api.openai.com/v1");
        assert!(server.spelling().newer_limit && !server.spelling().thoughts);
        assert!(server.learn(&said("unrecognized: max_completion_tokens"), server.spelling()));
        assert!(!server.spelling().newer_limit);
    }

    #[test]
    fn a_server_is_one_whoever_asks() {
        let servers = OpenAiServers::new(Duration::from_secs(1));
        assert!(Arc::ptr_eq(&servers.at("http://x"), &servers.at("http://x")));
    }
}
