//! Changes of a transcript that are no turns: what is dropped, cut, put in and taken out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::session::Opening;
use crate::store::{Mark, Record};
use crate::turn::{
    Failure, FailureKind, ItemId, Message, ModelName, Part, Place, Role, SessionKey, Status, TurnId,
};

use super::{Conversation, Room, Standing};

/// A change of a session that is not a turn.
#[derive(Debug)]
pub enum Edit {
    /// What a session that is not there yet begins with.
    Open(Box<Opening>),
    /// Other notes in place of those that are there.
    Metadata(BTreeMap<String, String>),
    /// Messages put in at the end, as if this turn had brought them; instructions among them are
    /// added to the session's.
    Append(TurnId, Vec<Message>),
    /// Everything after this turn taken out.
    Rewind(TurnId),
    /// What this turn brought taken out.
    RemoveTurn(TurnId),
    /// One item taken out.
    RemoveItem(ItemId),
}

impl Edit {
    /// Whether it changes what was said, which a turn that runs rests on.
    pub(in crate::session) fn is_of_transcript(&self) -> bool {
        !matches!(self, Self::Metadata(_))
    }
}

impl Conversation {
    /// Changes the session.
    ///
    /// # Errors
    /// `TurnNotFound` and `ConversationNotFound` where it holds no such turn or item,
    /// `BadRequest` for instructions that are longer than a session may be; nothing has changed
    /// then.
    pub(in crate::session) fn edit(&mut self, edit: Edit, room: Room) -> Result<(), Failure> {
        match edit {
            Edit::Open(opening) => {
                let Opening { model, metadata, messages, .. } = *opening;
                self.append(TurnId::generate(), messages, room)?;
                let record = self.change();
                record.metadata = metadata;
                record.model = model.unwrap_or_else(ModelName::none);
                record.created_at = SystemTime::now();
                self.is_opened = true;
            }
            Edit::Metadata(notes) => {
                if let Some(before) = &mut self.before {
                    Arc::make_mut(&mut before.record).metadata = notes.clone();
                }
                self.change().metadata = notes;
            }
            Edit::Append(turn, messages) => self.append(turn, messages, room)?,
            Edit::Rewind(turn) => {
                let end = self.mark(&turn).ok_or_else(no_turn)?.end;
                self.truncate(self.index(end));
                self.is_told_anew(true);
            }
            Edit::RemoveTurn(turn) => {
                let place = self.place_of(&turn).ok_or_else(no_turn)?;
                let (from, to) = self.span(place);
                self.take_out(from..to);
                self.is_told_anew(true);
            }
            Edit::RemoveItem(item) => {
                self.remove_item(&item)?;
                self.is_told_anew(true);
            }
        }
        self.change().last_active = SystemTime::now();
        Ok(())
    }

    /// The session's record under another key, up to the end of a turn or whole, for a session of
    /// its own. A turn that runs is not in it, nor what it changed.
    ///
    /// # Errors
    /// `TurnNotFound` where the session holds no such turn.
    pub(in crate::session) fn copy(
        &self,
        upto: Option<&TurnId>,
        key: SessionKey,
    ) -> Result<Record, Failure> {
        let held = self.before.as_ref().map_or(&self.record, |before| &before.record);
        let end = match upto {
            Some(turn) => mark_of(held, turn).ok_or_else(no_turn)?.end,
            None => held.end(),
        };
        let now = SystemTime::now();
        let messages = held.messages[..index_in(held, end)].to_vec();
        let marks = held.marks.iter().filter(|mark| mark.end <= end).cloned().collect();
        Ok(Record {
            key,
            model: held.model.clone(),
            asked: held.asked.clone(),
            moved: held.moved.clone(),
            created_at: now,
            last_active: now,
            turns: 0,
            messages,
            dropped: held.dropped,
            marks,
            system: Arc::clone(&held.system),
            metadata: held.metadata.clone(),
            head: None,
            upstream: None,
            branches: 0,
        })
    }

    /// Whether the session holds this turn, and nothing after it.
    pub(in crate::session) fn ends_with(&self, turn: &TurnId) -> bool {
        self.record.marks.last().is_some_and(|last| last.turn == *turn)
    }

    /// Cuts the last answer to what was heard of it, if there is one.
    pub(in crate::session) fn cut_last_answer(&mut self, heard: &str) {
        let has_answer = self.record.messages.last().is_some_and(|m| m.role == Role::Assistant);
        if !has_answer {
            return;
        }
        self.unsave(self.record.end() - 1);
        let Some(last) = self.change().messages.last_mut() else { return };
        let message = Arc::make_mut(last);
        let before = message.weight();
        let was_heard = !heard.trim().is_empty();
        message.parts = was_heard.then(|| Part::Text(heard.to_owned())).into_iter().collect();
        message.status = Status::Interrupted;
        let after = message.weight();
        self.weight = self.weight - before + after;
    }

    /// Drops the oldest turns beyond what a transcript may hold, whole ones at a time.
    pub(super) fn trim(&mut self, room: Room) {
        let messages = &self.record.messages;
        let mut drop = 0;
        let mut weight = self.weight;
        while drop < messages.len()
            && (weight > room.bytes || messages.len() - drop > room.messages)
        {
            weight -= messages[drop].weight();
            drop += 1;
        }
        while drop > 0 && messages.get(drop).is_some_and(|next| next.role != Role::User) {
            weight -= messages[drop].weight();
            drop += 1;
        }
        if drop > 0 {
            let record = self.change();
            record.messages.drain(..drop);
            record.dropped += drop as u64;
            let gone = record.dropped;
            record.marks.retain(|mark| mark.end > gone);
        }
        self.weight = weight;
    }

    /// Holds these messages in place of all that was held.
    pub(super) fn replace_messages(&mut self, messages: &[Message], room: Room) {
        self.weight = messages.iter().map(Message::weight).sum();
        self.unsave(0);
        let record = self.change();
        record.messages = messages.iter().cloned().map(Arc::new).collect();
        record.dropped = 0;
        record.marks.clear();
        if !messages.is_empty() {
            // No turn of ours brought them, but items need one to be named by.
            let (turn, end) = (TurnId::generate(), record.end());
            record.marks.push(Mark { turn, end, is_answered: false });
        }
        self.trim(room);
    }

    /// Holds only so many of the first messages.
    pub(super) fn truncate(&mut self, kept: usize) {
        let gone: usize = self.record.messages[kept..].iter().map(|it| it.weight()).sum();
        self.weight -= gone;
        self.unsave(self.record.dropped + kept as u64);
        let record = self.change();
        record.messages.truncate(kept);
        let end = record.end();
        let mut from = record.dropped;
        record.marks.retain_mut(|mark| {
            let is_left = from < end;
            from = mark.end;
            if mark.end > end {
                mark.end = end;
                mark.is_answered = false;
            }
            is_left
        });
    }

    fn append(&mut self, turn: TurnId, messages: Vec<Message>, room: Room) -> Result<(), Failure> {
        let is_system = |message: &Message| message.role == Role::System;
        let (told, said): (Vec<_>, Vec<_>) = messages.into_iter().partition(is_system);
        if !told.is_empty() {
            let system: Arc<[_]> = self.record.system.iter().cloned().chain(told).collect();
            if system.iter().map(Message::weight).sum::<usize>() > room.bytes {
                return Err(long_instructions());
            }
            self.change().system = system;
        }
        self.is_opened = true;
        if said.is_empty() {
            return Ok(());
        }
        self.weight += said.iter().map(Message::weight).sum::<usize>();
        let record = self.change();
        record.messages.extend(said.into_iter().map(Arc::new));
        record.marks.push(Mark { turn, end: record.end(), is_answered: false });
        self.is_told_anew(false);
        self.trim(room);
        Ok(())
    }

    /// The upstream session knows something else, so the next turn begins another. A transcript
    /// from which something is gone is not found by what clients resend of it.
    fn is_told_anew(&mut self, is_gone: bool) {
        let record = self.change();
        record.upstream = None;
        if is_gone {
            record.head = None;
        }
        if self.standing == Standing::Fresh {
            self.standing = Standing::InUse;
        }
    }

    fn remove_item(&mut self, item: &ItemId) -> Result<(), Failure> {
        let place = self.place_of(&item.turn).ok_or_else(no_item)?;
        let (from, to) = self.span(place);
        let is_answered = self.record.marks[place].is_answered;
        let inputs = if is_answered { from..to.saturating_sub(1) } else { from..to };
        let sent_in = |number: u32| {
            let at = from + number as usize;
            inputs.contains(&at).then_some(at).ok_or_else(no_item)
        };
        let answer = || is_answered.then(|| to - 1).ok_or_else(no_item);
        let (at, rest) = match item.place {
            Place::Input(number) => (sent_in(number)?, without_text(self.at(sent_in(number)?))),
            Place::InputResult(number) => (sent_in(number)?, None),
            Place::InputCall(number, call) => {
                let at = sent_in(number)?;
                (at, without_call(self.at(at), call)?)
            }
            Place::Text(0) => (answer()?, without_text(self.at(answer()?))),
            Place::Call(call) => {
                let at = answer()?;
                (at, without_call(self.at(at), call)?)
            }
            Place::Thinking(number) => {
                let at = answer()?;
                (at, without_thought(self.at(at), number)?)
            }
            Place::Text(_) => return Err(no_item()),
        };
        match rest {
            Some(rest) => self.put(at, rest),
            None => self.take_out(at..at + 1),
        }
        Ok(())
    }

    fn at(&self, index: usize) -> &Message {
        &self.record.messages[index]
    }

    fn put(&mut self, at: usize, message: Message) {
        self.weight = self.weight - self.at(at).weight() + message.weight();
        self.unsave(self.record.dropped + at as u64);
        self.change().messages[at] = Arc::new(message);
    }

    fn take_out(&mut self, range: std::ops::Range<usize>) {
        let gone: usize = self.record.messages[range.clone()].iter().map(|it| it.weight()).sum();
        self.weight -= gone;
        let first = self.record.dropped + range.start as u64;
        let count = range.len() as u64;
        self.unsave(first);
        let record = self.change();
        record.messages.drain(range);
        let shifted = |position: u64| position - position.saturating_sub(first).min(count);
        let mut from = record.dropped;
        record.marks.retain_mut(|mark| {
            let start = std::mem::replace(&mut from, mark.end);
            let last = mark.end - 1;
            mark.is_answered &= last < first || last >= first + count;
            mark.end = shifted(mark.end);
            mark.end > shifted(start)
        });
    }

    fn mark(&self, turn: &TurnId) -> Option<&Mark> {
        mark_of(&self.record, turn)
    }

    fn place_of(&self, turn: &TurnId) -> Option<usize> {
        self.record.marks.iter().rposition(|mark| mark.turn == *turn)
    }

    /// Where the messages of a mark stand that are still held.
    fn span(&self, place: usize) -> (usize, usize) {
        let marks = &self.record.marks;
        let from = place.checked_sub(1).map_or(0, |before| marks[before].end);
        (self.index(from), self.index(marks[place].end))
    }

    /// Where a position stands among the messages that are held.
    pub(super) fn index(&self, position: u64) -> usize {
        index_in(&self.record, position)
    }
}

fn mark_of<'r>(record: &'r Record, turn: &TurnId) -> Option<&'r Mark> {
    record.marks.iter().rev().find(|mark| mark.turn == *turn)
}

fn index_in(record: &Record, position: u64) -> usize {
    let index = usize::try_from(position.saturating_sub(record.dropped));
    index.unwrap_or(usize::MAX).min(record.messages.len())
}

/// The message without what it says; `None` where nothing else is in it.
fn without_text(message: &Message) -> Option<Message> {
    let left = Message { parts: Vec::new(), ..message.clone() };
    (!left.tool_calls.is_empty() || !left.thoughts.is_empty()).then_some(left)
}

fn without_call(message: &Message, call: u32) -> Result<Option<Message>, Failure> {
    let mut left = message.clone();
    let call = call as usize;
    if call >= left.tool_calls.len() {
        return Err(no_item());
    }
    left.tool_calls.remove(call);
    let is_empty = left.is_empty() && left.thoughts.is_empty();
    Ok((!is_empty).then_some(left))
}

fn without_thought(message: &Message, number: u32) -> Result<Option<Message>, Failure> {
    let mut left = message.clone();
    let number = number as usize;
    if number >= left.thoughts.len() {
        return Err(no_item());
    }
    left.thoughts.remove(number);
    let is_empty = left.is_empty() && left.thoughts.is_empty();
    Ok((!is_empty).then_some(left))
}

fn no_turn() -> Failure {
    Failure::new(FailureKind::TurnNotFound, "the session holds no turn of this id")
}

fn long_instructions() -> Failure {
    let message = "the system messages are longer than a session's instructions may be";
    Failure::bad_field("messages", message)
}

fn no_item() -> Failure {
    Failure::new(FailureKind::ConversationNotFound, "the conversation holds no item of this id")
}
