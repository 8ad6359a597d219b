//! Which path leads where: one table.

use http::Method;

use super::request::percent_decode;

/// What answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// A turn, in OpenAI's chat format.
    Chat {
        /// Whether the answer streams where the body does not say.
        streams: bool,
    },
    /// A stream that broke off, in OpenAI's chat format: only with `Last-Event-ID`.
    ResumeChat,
    /// A turn, as NDJSON.
    AgentStream,
    /// Vectors of texts.
    Embeddings,
    /// The models there are.
    Models,
    /// One model.
    Model,
    /// The tenant's sessions.
    Sessions,
    /// One session.
    Session,
    /// The end of a session.
    EndSession,
    /// A stop to a session's running turn.
    Interrupt,
    /// Another model for a session.
    Move,
    /// A session's running turn, followed live.
    Events,
    /// The tenant's files.
    Files,
    /// What is known of a file.
    File,
    /// What a file holds.
    FileContent,
    /// The end of a file.
    DeleteFile,
    /// Whether all is well, with the AWS account.
    Health,
    /// Whether the process lives.
    Live,
    /// Whether new turns are taken.
    Ready,
    /// The metrics.
    Metrics,
    /// What this is.
    Info,
}

/// A route: its name for metrics, its paths, and what its methods lead to.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) name: &'static str,
    /// `{}` stands for one segment, `{*}` at the end for all that follow.
    paths: &'static [&'static str],
    pub(super) methods: &'static [(Method, Target)],
}

/// Every route, the ones that must be quick first.
pub(super) const ROUTES: &[Route] = &[
    Route {
        name: "/v1/chat/completions",
        paths: &[
            "/v1/chat/completions",
            "/chat/completions",
            "/v1/chat/completions/chat/completions",
            "/chat/completions/chat/completions",
        ],
        methods: &[
            (Method::POST, Target::Chat { streams: false }),
            (Method::GET, Target::ResumeChat),
        ],
    },
    Route {
        name: "/api/chat/completions",
        paths: &[
            "/api/chat/completions",
            "/api/chat/completions/chat/completions",
            "/api/agent/query/openai",
        ],
        methods: &[
            (Method::POST, Target::Chat { streams: true }),
            (Method::GET, Target::ResumeChat),
        ],
    },
    Route {
        name: "/api/agent/stream",
        paths: &["/api/agent/stream"],
        methods: &[(Method::POST, Target::AgentStream)],
    },
    Route {
        name: "/v1/embeddings",
        paths: &["/v1/embeddings", "/embeddings"],
        methods: &[(Method::POST, Target::Embeddings)],
    },
    Route {
        name: "/v1/models",
        paths: &["/v1/models", "/models", "/api/models"],
        methods: &[(Method::GET, Target::Models)],
    },
    Route {
        name: "/v1/models/{id}",
        paths: &["/v1/models/{*}", "/models/{*}"],
        methods: &[(Method::GET, Target::Model)],
    },
    Route {
        name: "/v1/sessions",
        paths: &["/v1/sessions"],
        methods: &[(Method::GET, Target::Sessions)],
    },
    Route {
        name: "/v1/sessions/{id}",
        paths: &["/v1/sessions/{}"],
        methods: &[(Method::GET, Target::Session), (Method::DELETE, Target::EndSession)],
    },
    Route {
        name: "/v1/sessions/{id}/interrupt",
        paths: &["/v1/sessions/{}/interrupt"],
        methods: &[(Method::POST, Target::Interrupt)],
    },
    Route {
        name: "/v1/sessions/{id}/move",
        paths: &["/v1/sessions/{}/move"],
        methods: &[(Method::POST, Target::Move)],
    },
    Route {
        name: "/v1/sessions/{id}/events",
        paths: &["/v1/sessions/{}/events"],
        methods: &[(Method::GET, Target::Events)],
    },
    Route { name: "/v1/files", paths: &["/v1/files"], methods: &[(Method::GET, Target::Files)] },
    Route {
        name: "/v1/files/{id}",
        paths: &["/v1/files/{}"],
        methods: &[(Method::GET, Target::File), (Method::DELETE, Target::DeleteFile)],
    },
    Route {
        name: "/v1/files/{id}/content",
        paths: &["/v1/files/{}/content"],
        methods: &[(Method::GET, Target::FileContent)],
    },
    Route { name: "/health", paths: &["/health"], methods: &[(Method::GET, Target::Health)] },
    Route { name: "/livez", paths: &["/livez"], methods: &[(Method::GET, Target::Live)] },
    Route { name: "/readyz", paths: &["/readyz"], methods: &[(Method::GET, Target::Ready)] },
    Route { name: "/metrics", paths: &["/metrics"], methods: &[(Method::GET, Target::Metrics)] },
    Route { name: "/", paths: &["/", "/v1"], methods: &[(Method::GET, Target::Info)] },
];

impl Route {
    /// What a method leads to; `HEAD` is `GET` without its body.
    pub(super) fn target(&self, method: &Method) -> Option<Target> {
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        self.methods.iter().find(|(known, _)| known == wanted).map(|(_, target)| *target)
    }

    /// The methods, as an `allow` header names them.
    pub(super) fn allowed(&self) -> String {
        let offered = self.methods.iter().filter(|(_, target)| *target != Target::ResumeChat);
        let names: Vec<_> = offered.map(|(method, _)| method.as_str()).collect();
        names.join(", ")
    }
}

/// The route of a path, with what stands where it leaves room. A trailing slash does not count.
pub(super) fn find(path: &str) -> Option<(&'static Route, Option<String>)> {
    let trimmed = path.trim_end_matches('/');
    let path = if trimmed.is_empty() { "/" } else { trimmed };
    ROUTES.iter().find_map(|route| {
        let captured = route.paths.iter().find_map(|pattern| matches(pattern, path))?;
        match captured {
            "" => Some((route, None)),
            captured => Some((route, Some(percent_decode(captured)?))),
        }
    })
}

/// What stands in the path where the pattern leaves room; empty where it leaves none.
fn matches<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    let Some((before, after)) = pattern.split_once('{') else {
        return (pattern == path).then_some("");
    };
    let rest = path.strip_prefix(before)?;
    let (captured, is_whole) = match after {
        "*}" => (rest, true),
        _ => (rest.strip_suffix(after.strip_prefix('}')?)?, false),
    };
    let fits = !captured.is_empty() && (is_whole || !captured.contains('/'));
    fits.then_some(captured)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(method: Method, path: &str) -> Option<Target> {
        find(path)?.0.target(&method)
    }

    #[test]
    fn chat_is_at_all_its_paths_with_and_without_a_slash() {
        for path in ["/v1/chat/completions", "/chat/completions", "/v1/chat/completions/"] {
            assert_eq!(target(Method::POST, path), Some(Target::Chat { streams: false }), "{path}");
        }
        for path in ["/api/chat/completions/", "/api/chat/completions/chat/completions"] {
            assert_eq!(target(Method::POST, path), Some(Target::Chat { streams: true }), "{path}");
        }
    }

    #[test]
    fn what_a_path_holds_is_decoded() {
        let (route, captured) = find("/v1/models/bedrock%2Fagent%2FA%2FB").unwrap();
        assert_eq!(
            (route.name, captured.as_deref()),
            ("/v1/models/{id}", Some("bedrock/agent/A/B"))
        );
        let (_, captured) = find("/v1/models/bedrock/agent/A/B").unwrap();
        assert_eq!(captured.as_deref(), Some("bedrock/agent/A/B"));
        let (route, captured) = find("/v1/sessions/call-7/interrupt").unwrap();
        assert_eq!(
            (route.name, captured.as_deref()),
            ("/v1/sessions/{id}/interrupt", Some("call-7"))
        );
    }

    #[test]
    fn strange_paths_lead_nowhere_and_strange_methods_are_told_what_there_is() {
        assert!(find("/v1/nothing").is_none());
        assert!(find("/v1/sessions//interrupt").is_none());
        assert!(find("/v1/sessions/%ff").is_none());
        let (route, _) = find("/v1/sessions/s").unwrap();
        assert_eq!(route.target(&Method::PUT), None);
        assert_eq!(route.allowed(), "GET, DELETE");
    }
}
