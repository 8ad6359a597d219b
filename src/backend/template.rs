//! Settings with placeholders: what a request says of itself, put into attributes and ids.
//!
//! `{user}` is who speaks, `{tenant}` whose key it is, `{session}` the session's id, `{model}` the
//! model asked, `{caller}` the caller's phone number, `{metadata.NAME}` a member of the request's
//! `metadata`. Any other text in braces stays as it is.

use std::borrow::Cow;

use super::Ask;

/// The template with every placeholder filled; nothing where one of them is not known.
pub(super) fn fill(template: &str, ask: &Ask) -> Option<String> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let (before, from) = rest.split_at(open);
        filled.push_str(before);
        rest = from;
        let Some((name, after)) = from.strip_prefix('{').and_then(|name| name.split_once('}'))
        else {
            break;
        };
        match value(name, ask) {
            Placeholder::Value(value) => filled.push_str(&value),
            Placeholder::Missing => return None,
            Placeholder::Unknown => filled.extend(["{", name, "}"]),
        }
        rest = after;
    }
    filled.push_str(rest);
    Some(filled)
}

enum Placeholder<'a> {
    Value(Cow<'a, str>),
    /// A placeholder for which this request has no value.
    Missing,
    /// No placeholder at all.
    Unknown,
}

fn value<'a>(name: &str, ask: &'a Ask) -> Placeholder<'a> {
    let request = &ask.request;
    let found = match name {
        "tenant" => Some(ask.key.tenant.as_str()),
        "session" => Some(ask.key.id.as_str()),
        "model" => request.model.as_ref().map(|model| model.as_str()),
        "user" => request.hints.speaker.as_deref(),
        "caller" => request.caller.as_deref(),
        _ => match name.strip_prefix("metadata.") {
            Some(member) => request.metadata.get(member).map(String::as_str),
            None => return Placeholder::Unknown,
        },
    };
    found.map_or(Placeholder::Missing, |found| Placeholder::Value(Cow::Borrowed(found)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::turn::{SessionKey, TurnRequest, UpstreamSessionId};

    use super::*;

    fn ask() -> Ask {
        let mut request = TurnRequest::default();
        request.hints.speaker = Some("ann".to_owned());
        request.metadata.insert("plan".to_owned(), "{user}".to_owned());
        Ask {
            key: SessionKey { tenant: "acme".parse().unwrap(), id: "s1".parse().unwrap() },
            upstream: UpstreamSessionId::generate(),
            system: Arc::default(),
            history: Vec::new(),
            input: Vec::new(),
            pending: None,
            request: Arc::new(request),
        }
    }

    #[test]
    fn placeholders_are_filled_once() {
        let filled = fill("{tenant}/{user} ({metadata.plan}) {session}", &ask());
        assert_eq!(filled.as_deref(), Some("acme/ann ({user}) s1"));
    }

    #[test]
    fn a_placeholder_without_a_value_leaves_nothing() {
        assert_eq!(fill("call {caller}", &ask()), None);
        assert_eq!(fill("{metadata.colour}", &ask()), None);
    }

    #[test]
    fn other_braces_stay() {
        assert_eq!(fill("{\"a\": {colour}} {", &ask()).as_deref(), Some("{\"a\": {colour}} {"));
    }
}
