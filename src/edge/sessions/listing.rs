//! The list of sessions: filters, order, pages.

use std::time::SystemTime;

use http::StatusCode;
use serde_json::{Value, json};
use warp::reply::Response;

use crate::edge::{Edge, reply};
use crate::session::{Listed, Page, SessionState};
use crate::store::Query;
use crate::turn::ids::BadId;
use crate::turn::request::named;
use crate::turn::{Failure, FailureKind, SessionId, SessionKey, TenantId};

use super::{Call, cursor, written};

/// Sessions listed at once, unless the request says otherwise.
const LISTED: usize = 100;
/// Sessions listed at once, whatever the request says.
const MOST_LISTED: usize = 1_000;
/// The orders, by when a session was active last, and whether the oldest comes first.
const ORDERS: &[(&str, bool)] = &[("desc", false), ("asc", true)];

impl Edge {
    /// `GET /v1/sessions`: the tenant's own, the last active first; all tenants' with an admin
    /// key.
    pub(super) async fn list_sessions(&self, call: &Call<'_>) -> Result<Response, Failure> {
        let incoming = call.incoming;
        let tenant = call.listed_tenant()?;
        let state = incoming.query("state").map(|name| one_of("state", SessionState::NAMES, &name));
        let order = incoming.query("order").map(|name| one_of("order", ORDERS, &name));
        let model = incoming.query("model").map(|name| {
            name.parse().map_err(|bad: BadId| Failure::bad_field("model", format!("model: {bad}")))
        });
        let query = Query {
            model: model.transpose()?,
            after: None,
            limit: incoming.limit(LISTED, MOST_LISTED)?,
            is_oldest_first: order.transpose()?.unwrap_or(false),
            tenant,
        };
        let state = state.transpose()?;
        let after = match incoming.query("after") {
            Some(text) => Some(self.place(&text, query.tenant.as_ref()).await?),
            None => None,
        };
        let page = self.sessions.list(Query { after, ..query }, state).await?;
        Ok(reply::json(StatusCode::OK, &written_page(&page, call.caller.is_admin)))
    }

    /// The place that a cursor, or a session of this tenant, stands for.
    async fn place(
        &self,
        text: &str,
        tenant: Option<&TenantId>,
    ) -> Result<(SystemTime, SessionId), Failure> {
        if let Some(place) = cursor::read(text) {
            return Ok(place);
        }
        let (Some(tenant), Ok(id)) = (tenant, text.parse::<SessionId>()) else {
            return Err(bad_cursor());
        };
        let key = SessionKey { tenant: tenant.clone(), id };
        match self.sessions.read(&key).await {
            Ok(held) => Ok((held.record.last_active, key.id)),
            Err(failure) if failure.kind == FailureKind::SessionNotFound => Err(bad_cursor()),
            Err(failure) => Err(failure),
        }
    }
}

impl Call<'_> {
    /// Whose sessions are listed; everybody's where it is none.
    fn listed_tenant(&self) -> Result<Option<TenantId>, Failure> {
        match self.other_tenant()? {
            Some(_) if !self.caller.is_admin => {
                let message = "only an admin key may list the sessions of other tenants";
                Err(Failure::new(FailureKind::NotAllowed, message).at("tenant"))
            }
            Some(other) => Ok(Some(other)),
            None if self.caller.is_admin && self.incoming.query("tenant").is_none() => Ok(None),
            None => Ok(Some(self.caller.tenant.clone())),
        }
    }
}

fn written_page(page: &Page, tells_tenant: bool) -> Value {
    let id = |listed: Option<&Listed>| listed.map(|it| it.summary.key.id.as_str().to_owned());
    let data = page.sessions.iter().map(|session| written::listed(session, tells_tenant));
    json!({
        "object": "list",
        "data": data.collect::<Value>(),
        "first_id": id(page.sessions.first()),
        "last_id": id(page.sessions.last()),
        "has_more": page.next.is_some(),
        "next": page.next.as_ref().map(cursor::write),
    })
}

fn one_of<T: Copy>(
    param: &'static str,
    names: &'static [(&'static str, T)],
    name: &str,
) -> Result<T, Failure> {
    named(names, name).ok_or_else(|| {
        let known: Vec<_> = names.iter().map(|(known, _)| *known).collect();
        Failure::bad_field(param, format!("{param} must be one of {}", known.join(", ")))
    })
}

fn bad_cursor() -> Failure {
    let message = "after must be the \"next\" of the page before, or the id of a session that is \
                   still there";
    Failure::bad_field("after", message)
}
