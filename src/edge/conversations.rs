//! Conversations over HTTP, as OpenAI's Conversations API has them. A conversation is a session
//! by another name: one that was begun in any dialect can be read here, and a response may go on
//! in it.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::StatusCode;
use serde_json::Value;
use tokio_stream::Stream;
use warp::reply::Response;

use crate::session::{Edit, Opening, Snapshot};
use crate::store::Record;
use crate::turn::{Failure, FailureKind, ItemId, Message, Role, SessionId, SessionKey, TurnId};
use crate::wire::openai_responses::{self, Brought, Wanted};

use super::references::items_of_session;
use super::request::{Incoming, read_body};
use super::responses::page;
use super::{Edge, reply};

/// What is wanted of conversations.
#[derive(Debug, Clone, Copy)]
pub(super) enum OfConversation {
    /// A new one.
    Create,
    /// What it is.
    Read,
    /// Other notes on it.
    Update,
    /// Its end.
    Delete,
    /// What was said in it.
    Items,
    /// Something put in, as if it had been said.
    AddItems,
    /// One thing that was said.
    Item,
    /// One thing that was said taken out.
    DeleteItem,
}

impl Edge {
    /// `POST /v1/conversations`, `GET`, `POST`, `DELETE /v1/conversations/{id}`, and the items
    /// below.
    pub(super) async fn conversation<S, B>(
        &self,
        incoming: &Incoming,
        body: S,
        wanted: OfConversation,
    ) -> Result<Response, Failure>
    where
        S: Stream<Item = Result<B, warp::Error>> + Send,
        B: Buf + Send,
    {
        let caller = self.gate.identify(&incoming.headers)?;
        let tenant = caller.tenant.clone();
        if let OfConversation::Create = wanted {
            let sent = self.sent(incoming, body).await?;
            let key = SessionKey { tenant, id: SessionId::generate_conversation() };
            return self.open_conversation(key, &sent).await;
        }
        let id = incoming.captured.as_deref().unwrap_or_default();
        let key = SessionKey { tenant, id: id.parse().map_err(|_| no_conversation())? };
        let answered = match wanted {
            OfConversation::Create | OfConversation::Read => {
                self.sessions.read(&key).await.map(|held| written(&held.record))
            }
            OfConversation::Update => {
                let sent = self.sent(incoming, body).await?;
                self.annotate(&key, &sent).await
            }
            OfConversation::Delete => self.sessions.end(&key).await.map(|()| {
                let deleted = openai_responses::deleted_conversation(&key.id);
                reply::json(StatusCode::OK, &deleted)
            }),
            OfConversation::Items => match self.sessions.read(&key).await {
                Ok(held) => page(&items_of_session(&held.record, None), incoming),
                Err(failure) => Err(failure),
            },
            OfConversation::AddItems => {
                let sent = self.sent(incoming, body).await?;
                self.add_items(&key, &sent).await
            }
            OfConversation::Item => self.item(&key, item_id(incoming)?).await,
            OfConversation::DeleteItem => {
                let removal = Edit::RemoveItem(item_id(incoming)?);
                self.sessions.edit(&key, removal).await.map(|held| written(&held.record))
            }
        };
        answered.map_err(as_conversation)
    }

    async fn sent<S, B>(&self, incoming: &Incoming, body: S) -> Result<Bytes, Failure>
    where
        S: Stream<Item = Result<B, warp::Error>> + Send,
        B: Buf + Send,
    {
        read_body(&incoming.headers, body, &self.config.server).await
    }

    async fn open_conversation(&self, key: SessionKey, sent: &[u8]) -> Result<Response, Failure> {
        let Brought { messages, metadata } = openai_responses::read_items(sent)?;
        check_roles(&messages)?;
        let metadata = metadata.unwrap_or_default();
        let opening = Opening { key, model: None, metadata, messages };
        let Snapshot { record, .. } = self.sessions.open(opening).await?;
        Ok(written(&record))
    }

    async fn annotate(&self, key: &SessionKey, sent: &[u8]) -> Result<Response, Failure> {
        let Brought { metadata, .. } = openai_responses::read_items(sent)?;
        let metadata =
            metadata.ok_or_else(|| Failure::bad_field("metadata", "metadata is required"))?;
        let Snapshot { record, .. } = self.sessions.edit(key, Edit::Metadata(metadata)).await?;
        Ok(written(&record))
    }

    async fn add_items(&self, key: &SessionKey, sent: &[u8]) -> Result<Response, Failure> {
        let Brought { messages, .. } = openai_responses::read_items(sent)?;
        if messages.is_empty() {
            return Err(Failure::bad_field("items", "items must hold at least one item"));
        }
        check_roles(&messages)?;
        let turn = TurnId::generate();
        let said: Vec<Arc<Message>> = messages.iter().cloned().map(Arc::new).collect();
        self.sessions.edit(key, Edit::Append(turn.clone(), messages)).await?;
        let items = openai_responses::input_items(&turn, &said);
        let all = Wanted { limit: Some("100"), order: Some("asc"), after: None };
        Ok(reply::json(StatusCode::OK, &openai_responses::page(&items, all)?))
    }

    async fn item(&self, key: &SessionKey, wanted: ItemId) -> Result<Response, Failure> {
        let held = self.sessions.read(key).await?;
        let items = items_of_session(&held.record, Some(&wanted.turn));
        let found: Option<(_, Value)> = items.into_iter().find(|(id, _)| *id == wanted);
        let (_, item) = found.ok_or_else(no_item)?;
        Ok(reply::json(StatusCode::OK, &item))
    }
}

/// Instructions are those of one response, and no part of a conversation.
fn check_roles(messages: &[Message]) -> Result<(), Failure> {
    if messages.iter().all(|message| message.role != Role::System) {
        return Ok(());
    }
    let message = "a conversation holds no system or developer messages; send them as \
                   instructions of each response";
    Err(Failure::new(FailureKind::UnsupportedParameter, message).at("items"))
}

fn written(record: &Record) -> Response {
    let conversation =
        openai_responses::conversation(&record.key.id, record.created_at, &record.metadata);
    reply::json(StatusCode::OK, &conversation)
}

fn item_id(incoming: &Incoming) -> Result<ItemId, Failure> {
    incoming.item.as_deref().and_then(ItemId::parse).ok_or_else(no_item)
}

/// A conversation is a session, by the name that its clients know.
fn as_conversation(failure: Failure) -> Failure {
    match failure.kind {
        FailureKind::SessionNotFound => no_conversation(),
        FailureKind::TurnNotFound => no_item(),
        _ => failure,
    }
}

fn no_conversation() -> Failure {
    Failure::new(FailureKind::ConversationNotFound, "no conversation of this id exists")
}

fn no_item() -> Failure {
    Failure::new(FailureKind::ConversationNotFound, "the conversation holds no item of this id")
}
