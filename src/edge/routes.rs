//! Which path leads where: one table, and what the formats say of their own paths.

use http::Method;

use crate::wire::Asks;

use super::request::percent_decode;
use super::sessions::OfSession;
use super::surfaces::{SURFACES, Surface};

/// What answers a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    /// A turn, or how much it would read.
    Speak(&'static Surface),
    /// A stream that broke off: only with `Last-Event-ID`.
    Resume(&'static Surface),
    /// Vectors of texts.
    Embeddings,
    /// The models there are.
    Models,
    /// One model.
    Model,
    /// Sessions.
    Session(OfSession),
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

/// Where a path leads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// To what is in the table.
    Fixed(&'static Route),
    /// To a model.
    Spoken(&'static Surface),
}

/// A route: its name for metrics, its paths, and what its methods lead to.
#[derive(Debug)]
pub(super) struct Route {
    name: &'static str,
    /// `{}` stands for one segment, `{*}` at the end for all that follow.
    paths: &'static [&'static str],
    methods: &'static [(Method, Target)],
}

/// Every route but those to models.
const ROUTES: &[Route] = &[
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
        methods: &[
            (Method::GET, Target::Session(OfSession::List)),
            (Method::POST, Target::Session(OfSession::Open)),
        ],
    },
    Route {
        name: "/v1/sessions/{id}",
        paths: &["/v1/sessions/{}"],
        methods: &[
            (Method::GET, Target::Session(OfSession::Read)),
            (Method::POST, Target::Session(OfSession::Annotate)),
            (Method::DELETE, Target::Session(OfSession::End)),
        ],
    },
    Route {
        name: "/v1/sessions/{id}/interrupt",
        paths: &["/v1/sessions/{}/interrupt"],
        methods: &[(Method::POST, Target::Session(OfSession::Interrupt))],
    },
    Route {
        name: "/v1/sessions/{id}/move",
        paths: &["/v1/sessions/{}/move"],
        methods: &[(Method::POST, Target::Session(OfSession::Move))],
    },
    Route {
        name: "/v1/sessions/{id}/fork",
        paths: &["/v1/sessions/{}/fork"],
        methods: &[(Method::POST, Target::Session(OfSession::Fork))],
    },
    Route {
        name: "/v1/sessions/{id}/rewind",
        paths: &["/v1/sessions/{}/rewind"],
        methods: &[(Method::POST, Target::Session(OfSession::Rewind))],
    },
    Route {
        name: "/v1/sessions/{id}/messages",
        paths: &["/v1/sessions/{}/messages"],
        methods: &[(Method::POST, Target::Session(OfSession::Say))],
    },
    Route {
        name: "/v1/sessions/{id}/events",
        paths: &["/v1/sessions/{}/events"],
        methods: &[(Method::GET, Target::Session(OfSession::Follow))],
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

impl Place {
    /// Its name for metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fixed(route) => route.name,
            Self::Spoken(surface) => surface.endpoint.name,
        }
    }

    fn paths(self) -> &'static [&'static str] {
        match self {
            Self::Fixed(route) => route.paths,
            Self::Spoken(surface) => surface.endpoint.paths,
        }
    }

    /// What a method leads to; `HEAD` is `GET` without its body.
    pub(super) fn target(self, method: &Method) -> Option<Target> {
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        match self {
            Self::Fixed(route) => {
                route.methods.iter().find(|(known, _)| known == wanted).map(|(_, target)| *target)
            }
            Self::Spoken(surface) if *wanted == Method::POST => Some(Target::Speak(surface)),
            Self::Spoken(surface) => {
                let has_streams = matches!(surface.endpoint.asks, Asks::Turn);
                (*wanted == Method::GET && has_streams).then_some(Target::Resume(surface))
            }
        }
    }

    /// The methods, as an `allow` header names them.
    pub(super) fn allowed(self) -> String {
        match self {
            Self::Fixed(route) => {
                let names: Vec<_> = route.methods.iter().map(|(name, _)| name.as_str()).collect();
                names.join(", ")
            }
            Self::Spoken(_) => Method::POST.to_string(),
        }
    }
}

/// Where a path leads, with what stands where it leaves room. A trailing slash does not count.
pub(super) fn find(path: &str) -> Option<(Place, Option<String>)> {
    let trimmed = path.trim_end_matches('/');
    let path = if trimmed.is_empty() { "/" } else { trimmed };
    let mut places = SURFACES.iter().map(Place::Spoken).chain(ROUTES.iter().map(Place::Fixed));
    places.find_map(|place| {
        let captured = place.paths().iter().find_map(|pattern| matches(pattern, path))?;
        match captured {
            "" => Some((place, None)),
            captured => Some((place, Some(percent_decode(captured)?))),
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
    use std::collections::HashSet;

    use super::*;

    fn speaks(path: &str) -> Option<&'static Surface> {
        match find(path)?.0.target(&Method::POST)? {
            Target::Speak(surface) => Some(surface),
            _ => None,
        }
    }

    #[test]
    fn chat_is_at_all_its_paths_with_and_without_a_slash() {
        for path in ["/v1/chat/completions", "/chat/completions", "/v1/chat/completions/"] {
            assert_eq!(speaks(path).unwrap().endpoint.name, "/v1/chat/completions", "{path}");
        }
        for path in ["/api/chat/completions/", "/api/chat/completions/chat/completions"] {
            assert_eq!(speaks(path).unwrap().endpoint.name, "/api/chat/completions", "{path}");
        }
    }

    #[test]
    fn what_a_path_holds_is_decoded() {
        let captured = |path: &str| {
            let (place, captured) = find(path).unwrap();
            (place.name(), captured.unwrap())
        };
        let model = ("/v1/models/{id}", "bedrock/agent/A/B".to_owned());
        assert_eq!(captured("/v1/models/bedrock%2Fagent%2FA%2FB"), model);
        assert_eq!(captured("/v1/models/bedrock/agent/A/B"), model);
        let session = ("/v1/sessions/{id}/interrupt", "call-7".to_owned());
        assert_eq!(captured("/v1/sessions/call-7/interrupt"), session);
    }

    #[test]
    fn strange_paths_lead_nowhere_and_strange_methods_are_told_what_there_is() {
        assert!(find("/v1/nothing").is_none());
        assert!(find("/v1/sessions//interrupt").is_none());
        assert!(find("/v1/sessions/%ff").is_none());
        let (place, _) = find("/v1/sessions/s").unwrap();
        assert!(place.target(&Method::PUT).is_none());
        assert_eq!(place.allowed(), "GET, POST, DELETE");
    }

    #[test]
    fn no_path_leads_to_two_places() {
        let places = || SURFACES.iter().map(Place::Spoken).chain(ROUTES.iter().map(Place::Fixed));
        let paths: Vec<_> = places().flat_map(|place| place.paths().iter().copied()).collect();
        let different: HashSet<_> = paths.iter().copied().collect();
        assert_eq!(different.len(), paths.len());
    }
}
