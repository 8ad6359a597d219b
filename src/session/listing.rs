//! Sessions in a list, page by page: what the store keeps, and what only their actors know.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::SystemTime;

use futures_util::{StreamExt as _, stream};

use crate::metrics::StoreOp;
use crate::store::{Query, Summary};
use crate::turn::{Failure, SessionId, SessionKey};

use super::Sessions;
use super::actor::SessionState;
use super::manage::store_failed;

/// Actors that are asked at once.
const AT_ONCE: usize = 64;
/// Sessions with an actor that one page by their state is chosen from, the last active first.
const LOOKED_AT: usize = 10_000;
/// Sessions that one page of passivated ones is looked for in, at least.
const SCANNED: usize = 1_000;
/// Looks into the store for one such page; what is not found by then is on the next page.
const SCANS: usize = 20;

/// Where a session stands in a list.
type Place = (SystemTime, SessionId);

/// A session in a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The session.
    pub summary: Summary,
    /// What it is doing.
    pub state: SessionState,
    /// Turns that wait.
    pub queued: usize,
}

/// A piece of a list.
#[derive(Debug, Clone)]
pub struct Page {
    /// The sessions, in the order that was asked for.
    pub sessions: Vec<Listed>,
    /// Where the next page begins, for [`Query::after`]; none where this is the last.
    pub next: Option<Place>,
}

impl Listed {
    /// Where it stands in a list.
    #[must_use]
    pub fn place(&self) -> Place {
        (self.summary.last_active, self.summary.key.id.clone())
    }

    fn passivated(summary: Summary) -> Self {
        Self { summary, state: SessionState::Passivated, queued: 0 }
    }
}

impl Sessions {
    /// The sessions that are wanted; in one state, where that is given.
    ///
    /// Of more than 10,000 sessions that have an actor only those that were active last are found
    /// by their state.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, query: Query, state: Option<SessionState>) -> Result<Page, Failure> {
        match state {
            None => self.list_all(query).await,
            Some(SessionState::Passivated) => self.list_passivated(query).await,
            Some(state) => {
                let tenant = query.tenant.as_ref();
                let keys = self.env.directory.of_tenant(tenant, Some(state), LOOKED_AT);
                let mut listed = self.ask_residents(keys, &query).await;
                listed.retain(|it| it.state == state);
                Ok(page(listed, &query, None))
            }
        }
    }

    async fn list_all(&self, query: Query) -> Result<Page, Failure> {
        let one_more = query.limit.saturating_add(1);
        let kept = self.list_kept(Query { limit: one_more, ..query.clone() }).await?;
        let is_more = kept.len() == one_more;
        let end = kept.last().map(|last| (last.last_active, last.key.id.clone()));
        // Those with an actor may know more than the store, and some are not in it yet.
        let is_resident = |key: &&SessionKey| self.env.directory.holds(key);
        let mut residents: HashSet<_> =
            kept.iter().map(|kept| &kept.key).filter(is_resident).cloned().collect();
        // What the store does not have yet was active just now.
        let has_newest = if query.is_oldest_first { !is_more } else { query.after.is_none() };
        if has_newest {
            let tenant = query.tenant.as_ref();
            residents.extend(self.env.directory.of_tenant(tenant, None, one_more));
        }
        let rest = kept.into_iter().filter(|kept| !residents.contains(&kept.key));
        let mut listed: Vec<_> = rest.map(Listed::passivated).collect();
        listed.extend(self.ask_residents(residents, &query).await);
        Ok(page(listed, &query, end.filter(|_| is_more)))
    }

    async fn list_passivated(&self, query: Query) -> Result<Page, Failure> {
        let mut wanted = Query { limit: query.limit.max(SCANNED), ..query.clone() };
        let mut listed = Vec::new();
        for _ in 0..SCANS {
            let kept = self.list_kept(wanted.clone()).await?;
            let is_last = kept.len() < wanted.limit;
            wanted.after = kept.last().map(|last| (last.last_active, last.key.id.clone()));
            let resting = kept.into_iter().filter(|kept| !self.env.directory.holds(&kept.key));
            listed.extend(resting.map(Listed::passivated));
            if is_last {
                return Ok(page(listed, &query, None));
            }
            if listed.len() > query.limit {
                break;
            }
        }
        Ok(page(listed, &query, wanted.after))
    }

    async fn list_kept(&self, query: Query) -> Result<Vec<Summary>, Failure> {
        let timer = self.env.metrics.store_op(StoreOp::List);
        let kept = self.env.store.list(query).await;
        drop(timer);
        kept.map_err(|error| store_failed(&error))
    }

    /// What the actors of these sessions say, as far as it is wanted.
    async fn ask_residents(
        &self,
        keys: impl IntoIterator<Item = SessionKey>,
        query: &Query,
    ) -> Vec<Listed> {
        let asked = stream::iter(keys).map(|key| async move {
            // One that ended meanwhile is not listed.
            let held = self.read(&key).await.ok()?;
            let (summary, state) = (held.record.summary(), held.state);
            Some(Listed { summary, state, queued: held.queued })
        });
        let told = asked.buffer_unordered(AT_ONCE).filter_map(std::future::ready);
        let wanted = told.filter(|it| {
            let is_model = query.model.as_ref().is_none_or(|model| *model == it.summary.model);
            std::future::ready(is_model)
        });
        wanted.collect().await
    }
}

/// A page of these, which may be more than fit, or stand before it; `end` is how far was looked,
/// where there is more behind.
fn page(mut listed: Vec<Listed>, query: &Query, end: Option<Place>) -> Page {
    // One that was active since stands elsewhere now.
    let is_behind = |it: &Listed, place: &Place| match query.is_oldest_first {
        true => it.place() > *place,
        false => it.place() < *place,
    };
    listed.retain(|it| {
        query.after.as_ref().is_none_or(|after| is_behind(it, after))
            && end.as_ref().is_none_or(|end| !is_behind(it, end))
    });
    if query.is_oldest_first {
        listed.sort_by_cached_key(Listed::place);
    } else {
        listed.sort_by_cached_key(|it| Reverse(it.place()));
    }
    if listed.len() <= query.limit {
        return Page { sessions: listed, next: end };
    }
    listed.truncate(query.limit);
    let next = listed.last().map(Listed::place);
    Page { sessions: listed, next }
}
