//! Long-term memory: what an agent keeps of the sessions of a `memoryId` after they end.
//!
//! A session that was given a `memoryId` and is ended by its caller leaves a summary; later ones
//! with the same `memoryId` at the same alias know it. `GetAgentMemory` lists the summaries, the
//! latest first, `DeleteAgentMemory` forgets them. Unlike the service, a session that merely
//! expires leaves none.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, Uri};
use http_body_util::Full;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::demo_agent::Memory;
use super::facts;
use super::invoke_agent::authorise;
use super::refusal::Refusal;
use super::request::{check_alias, is_session_id};
use super::routes::{json_reply, percent_decoded, request_id};

/// Memories kept at once; beyond that the one that was written to first is forgotten.
const MAX_MEMORIES: usize = 10_000;
/// Summaries kept in one memory, the latest.
const MAX_SUMMARIES: usize = 20;
/// Summaries in one page unless told, and at most, by the service's model.
const MAX_ITEMS: usize = 1_000;
/// How long a summary is said to be kept, in days.
const STORAGE_DAYS: i64 = 30;

/// Whose memory: agent, alias, and the caller's id for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct MemoryKey {
    /// The agent.
    pub(super) agent: String,
    /// Its alias.
    pub(super) alias: String,
    /// `memoryId`
    pub(super) memory: String,
}

/// What is kept of a session.
#[derive(Debug, Clone)]
pub(super) struct Summary {
    /// The session.
    pub(super) session: String,
    /// When it began.
    pub(super) began: OffsetDateTime,
    /// What happened in it.
    pub(super) text: String,
}

/// All memories.
#[derive(Debug, Default)]
pub(super) struct Memories {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_key: HashMap<MemoryKey, VecDeque<Summary>>,
    /// In the order in which they were first written to.
    order: VecDeque<MemoryKey>,
}

impl Memories {
    /// Keeps a summary.
    pub(super) fn keep(&self, key: &MemoryKey, summary: Summary) {
        let mut kept = self.lock();
        if !kept.by_key.contains_key(key) {
            kept.order.push_back(key.clone());
        }
        let summaries = kept.by_key.entry(key.clone()).or_default();
        summaries.push_front(summary);
        summaries.truncate(MAX_SUMMARIES);
        if kept.by_key.len() > MAX_MEMORIES
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.by_key.remove(&oldest);
        }
    }

    /// The summaries of a memory, the latest first.
    pub(super) fn of(&self, key: &MemoryKey) -> Vec<Summary> {
        self.lock().by_key.get(key).map(|kept| kept.iter().cloned().collect()).unwrap_or_default()
    }

    /// Forgets everything.
    pub(super) fn reset(&self) {
        *self.lock() = Kept::default();
    }

    /// Forgets the memories of an alias: one of them or all, and of those one session or all.
    fn forget(&self, alias: (&str, &str), memory: Option<&str>, session: Option<&str>) {
        let kept = &mut *self.lock();
        for (key, summaries) in &mut kept.by_key {
            let is_meant = (key.agent.as_str(), key.alias.as_str()) == alias
                && memory.is_none_or(|memory| memory == key.memory);
            if is_meant {
                summaries.retain(|kept| session.is_some_and(|session| session != kept.session));
            }
        }
        kept.by_key.retain(|_, summaries| !summaries.is_empty());
        kept.order.retain(|key| kept.by_key.contains_key(key));
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an agent keeps of a session; `None` when nothing was said in it.
pub(super) fn summarised(memory: &Memory) -> Option<String> {
    if memory.turns == 0 {
        return None;
    }
    let mut text = match &memory.name {
        Some(name) => format!("{name} called."),
        None => "Somebody called.".to_owned(),
    };
    if let Some(cents) = memory.amount_cents {
        text += &format!(" They want to borrow {}.", facts::dollars(cents));
    }
    if !memory.topics.is_empty() {
        text += &format!(" We talked about {}.", memory.topics.join(", "));
    }
    if let Some(last) = &memory.last_message {
        text += &format!(" Their last message was: \"{last}\"");
    }
    Some(text)
}

/// The agent and the alias that a path of the operations names.
pub(super) fn alias_in(path: &str) -> Option<(String, String)> {
    let segments: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let ["", "agents", agent, "agentAliases", alias, "memories"] = segments[..] else {
        return None;
    };
    Some((percent_decoded(agent)?.into_owned(), percent_decoded(alias)?.into_owned()))
}

/// Answers `GetAgentMemory` or `DeleteAgentMemory`.
pub(super) fn answer(
    memories: &Memories,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Response<Full<Bytes>> {
    let answered = authorise(headers).and_then(|()| {
        let (agent, alias) = alias_in(uri.path()).ok_or_else(Refusal::unknown_operation)?;
        check_alias(&agent, &alias)?;
        let query = Query::read(uri.query().unwrap_or_default())?;
        if method == Method::DELETE {
            let (memory, session) = (query.memory.as_deref(), query.session.as_deref());
            memories.forget((&agent, &alias), memory, session);
            return Ok((StatusCode::ACCEPTED, json!({})));
        }
        Ok((StatusCode::OK, page(memories, agent, alias, query)?))
    });
    match answered {
        Ok((status, body)) => {
            let mut response = json_reply(&body);
            *response.status_mut() = status;
            response
        }
        Err(refusal) => refusal.response(request_id()),
    }
}

/// What the query of a request says.
#[derive(Debug, Default)]
struct Query {
    memory: Option<String>,
    memory_type: Option<String>,
    session: Option<String>,
    max_items: Option<usize>,
    /// Summaries that were on the pages before.
    skipped: usize,
}

impl Query {
    fn read(text: &str) -> Result<Self, Refusal> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decoded(value)
                .ok_or_else(|| Refusal::validation("the query cannot be decoded"))?
                .into_owned();
            match name {
                "memoryId" if is_session_id(&value) => query.memory = Some(value),
                "sessionId" if is_session_id(&value) => query.session = Some(value),
                "memoryType" if value == "SESSION_SUMMARY" => query.memory_type = Some(value),
                "maxItems" => query.max_items = Some(max_items(&value)?),
                "nextToken" => query.skipped = value.parse().map_err(|_| bad_token())?,
                "memoryId" | "sessionId" | "memoryType" => {
                    return Err(Refusal::validation(format!("{name} is not valid: {value}")));
                }
                _ => {}
            }
        }
        Ok(query)
    }
}

fn max_items(value: &str) -> Result<usize, Refusal> {
    let items = value.parse().ok().filter(|items| (1..=MAX_ITEMS).contains(items));
    items.ok_or_else(|| Refusal::constraint("maxItems", "1 to 1000"))
}

fn bad_token() -> Refusal {
    Refusal::validation("nextToken is none that was given")
}

/// A page of summaries.
fn page(memories: &Memories, agent: String, alias: String, query: Query) -> Result<Value, Refusal> {
    let Query { memory: Some(memory), memory_type: Some(_), max_items, skipped, .. } = query else {
        return Err(Refusal::validation("memoryId and memoryType are required"));
    };
    let key = MemoryKey { agent, alias, memory };
    let summaries = memories.of(&key);
    let end = skipped.saturating_add(max_items.unwrap_or(MAX_ITEMS)).min(summaries.len());
    let shown = summaries.get(skipped..end).unwrap_or_default();
    let contents: Vec<_> = shown.iter().map(|summary| content(&key.memory, summary)).collect();
    let mut page = json!({"memoryContents": contents});
    if end < summaries.len() {
        page["nextToken"] = end.to_string().into();
    }
    Ok(page)
}

fn content(memory: &str, summary: &Summary) -> Value {
    let written = |moment: OffsetDateTime| moment.format(&Rfc3339).unwrap_or_default();
    json!({"sessionSummary": {
        "memoryId": memory,
        "sessionId": summary.session,
        "sessionStartTime": written(summary.began),
        "sessionExpiryTime": written(summary.began + Duration::days(STORAGE_DAYS)),
        "summaryText": summary.text,
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(memory: &str) -> MemoryKey {
        MemoryKey { agent: "A".to_owned(), alias: "B".to_owned(), memory: memory.to_owned() }
    }

    fn summary(session: &str) -> Summary {
        let began = OffsetDateTime::UNIX_EPOCH;
        Summary { session: session.to_owned(), began, text: String::new() }
    }

    fn sessions(memories: &Memories, memory: &str) -> Vec<String> {
        memories.of(&key(memory)).into_iter().map(|summary| summary.session).collect()
    }

    #[test]
    fn the_latest_summaries_are_kept_and_come_first() {
        let memories = Memories::default();
        for number in 0..=MAX_SUMMARIES {
            memories.keep(&key("ann"), summary(&number.to_string()));
        }
        let kept = sessions(&memories, "ann");
        assert_eq!((kept.len(), &*kept[0]), (MAX_SUMMARIES, "20"));
    }

    #[test]
    fn the_memory_written_to_first_makes_room() {
        let memories = Memories::default();
        for number in 0..=MAX_MEMORIES {
            memories.keep(&key(&number.to_string()), summary("one"));
        }
        assert_eq!((sessions(&memories, "0").len(), sessions(&memories, "1").len()), (0, 1));
    }

    #[test]
    fn one_session_one_memory_or_all_can_be_forgotten() {
        let memories = Memories::default();
        for (memory, session) in [("ann", "one"), ("ann", "two"), ("bob", "one"), ("cy", "one")] {
            memories.keep(&key(memory), summary(session));
        }
        memories.forget(("A", "OTHER"), None, None);
        memories.forget(("A", "B"), Some("ann"), Some("one"));
        assert_eq!(sessions(&memories, "ann"), ["two"]);
        memories.forget(("A", "B"), Some("bob"), None);
        assert_eq!((sessions(&memories, "bob").len(), sessions(&memories, "cy").len()), (0, 1));
        memories.forget(("A", "B"), None, None);
        assert!(sessions(&memories, "ann").is_empty() && sessions(&memories, "cy").is_empty());
    }
}
