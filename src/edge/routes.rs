//! Which path leads where: one table, and what the formats say of their own paths.

use http::Method;

use crate::wire::Asks;

use super::conversations::OfConversation;
use super::request::percent_decode;
use super::responses::OfResponse;
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
    /// A response that is kept.
    Response(OfResponse),
    /// Conversations, as OpenAI's API knows sessions.
    Conversation(OfConversation),
    /// What Vapi tells of its calls.
    Vapi,
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
    /// What can be asked, for programs.
    OpenApi,
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
    /// `{}` stands for one segment, at most twice, `{*}` at the end for all that follow.
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
    Route {
        name: "/v1/responses/{id}",
        paths: &["/v1/responses/{}", "/responses/{}"],
        methods: &[
            (Method::GET, Target::Response(OfResponse::Read)),
            (Method::DELETE, Target::Response(OfResponse::Delete)),
        ],
    },
    Route {
        name: "/v1/responses/{id}/cancel",
        paths: &["/v1/responses/{}/cancel", "/responses/{}/cancel"],
        methods: &[(Method::POST, Target::Response(OfResponse::Cancel))],
    },
    Route {
        name: "/v1/responses/{id}/input_items",
        paths: &["/v1/responses/{}/input_items", "/responses/{}/input_items"],
        methods: &[(Method::GET, Target::Response(OfResponse::InputItems))],
    },
    Route {
        name: "/v1/conversations",
        paths: &["/v1/conversations", "/conversations"],
        methods: &[(Method::POST, Target::Conversation(OfConversation::Create))],
    },
    Route {
        name: "/v1/conversations/{id}",
        paths: &["/v1/conversations/{}", "/conversations/{}"],
        methods: &[
            (Method::GET, Target::Conversation(OfConversation::Read)),
            (Method::POST, Target::Conversation(OfConversation::Update)),
            (Method::DELETE, Target::Conversation(OfConversation::Delete)),
        ],
    },
    Route {
        name: "/v1/conversations/{id}/items",
        paths: &["/v1/conversations/{}/items", "/conversations/{}/items"],
        methods: &[
            (Method::GET, Target::Conversation(OfConversation::Items)),
            (Method::POST, Target::Conversation(OfConversation::AddItems)),
        ],
    },
    Route {
        name: "/v1/conversations/{id}/items/{item}",
        paths: &["/v1/conversations/{}/items/{}", "/conversations/{}/items/{}"],
        methods: &[
            (Method::GET, Target::Conversation(OfConversation::Item)),
            (Method::DELETE, Target::Conversation(OfConversation::DeleteItem)),
        ],
    },
    Route {
        name: "/v1/voice/vapi",
        paths: &["/v1/voice/vapi"],
        methods: &[(Method::POST, Target::Vapi)],
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
    Route {
        name: "/openapi.json",
        paths: &["/openapi.json"],
        methods: &[(Method::GET, Target::OpenApi)],
    },
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

/// What stands in a path where its pattern leaves room, percent-decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Captured {
    pub(super) first: Option<String>,
    pub(super) second: Option<String>,
}

/// Where a path leads, with what stands where it leaves room. A trailing slash does not count.
pub(super) fn find(path: &str) -> Option<(Place, Captured)> {
    let trimmed = path.trim_end_matches('/');
    let path = if trimmed.is_empty() { "/" } else { trimmed };
    let mut places = SURFACES.iter().map(Place::Spoken).chain(ROUTES.iter().map(Place::Fixed));
    places.find_map(|place| {
        let [first, second] = place.paths().iter().find_map(|pattern| matches(pattern, path))?;
        let decoded = |captured: Option<&str>| {
            captured.map(percent_decode).map_or(Some(None), |decoded| decoded.map(Some))
        };
        Some((place, Captured { first: decoded(first)?, second: decoded(second)? }))
    })
}

/// What stands in the path where the pattern leaves room.
fn matches<'p>(pattern: &str, path: &'p str) -> Option<[Option<&'p str>; 2]> {
    let mut captured = [None; 2];
    let (mut pattern, mut rest) = (pattern, path);
    for place in &mut captured {
        let Some((before, after)) = pattern.split_once('{') else { break };
        rest = rest.strip_prefix(before)?;
        let end = match after {
            "*}" => rest.len(),
            _ => rest.find('/').unwrap_or(rest.len()),
        };
        let (held, behind) = rest.split_at(end);
        if held.is_empty() {
            return None;
        }
        *place = Some(held);
        rest = behind;
        pattern = after.split_once('}')?.1;
    }
    (pattern == rest).then_some(captured)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use serde_json::Value;

    use crate::edge::probes::OPENAPI;

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
            assert_eq!(captured.second, None);
            (place.name(), captured.first.unwrap())
        };
        let model = ("/v1/models/{id}", "bedrock/agent/A/B".to_owned());
        assert_eq!(captured("/v1/models/bedrock%2Fagent%2FA%2FB"), model);
        assert_eq!(captured("/v1/models/bedrock/agent/A/B"), model);
        let session = ("/v1/sessions/{id}/interrupt", "call-7".to_owned());
        assert_eq!(captured("/v1/sessions/call-7/interrupt"), session);
    }

    #[test]
    fn a_path_may_hold_two_things() {
        let (place, captured) = find("/v1/conversations/conv%5F1/items/msg_2/").unwrap();
        assert_eq!(place.name(), "/v1/conversations/{id}/items/{item}");
        let held = [captured.first, captured.second].map(Option::unwrap);
        assert_eq!(held, ["conv_1", "msg_2"]);
        assert!(find("/v1/conversations/conv_1/items/msg_2/more").is_none());
        assert!(find("/v1/conversations//items/msg_2").is_none());
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

    #[test]
    fn the_openapi_document_has_every_route_with_its_methods_and_no_other() {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let paths = document["paths"].as_object().unwrap();
        let told: BTreeSet<String> = paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap();
                methods.keys().map(move |method| format!("{} {path}", method.to_uppercase()))
            })
            .collect();
        let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        let there: BTreeSet<String> = SURFACES
            .iter()
            .map(Place::Spoken)
            .chain(ROUTES.iter().map(Place::Fixed))
            .flat_map(|place| {
                let known = methods.iter().filter(move |method| place.target(method).is_some());
                known.map(move |method| format!("{method} {}", place.name()))
            })
            .collect();
        assert_eq!(told, there);
    }
}
