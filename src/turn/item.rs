//! Places in a conversation, as item ids name them.
//!
//! OpenAI's Responses and Conversations know a conversation as a list of items, where one message
//! of ours may be several: what it says, each call that it makes, what was thought before. An
//! item's id is the turn that brought it and its place there; so nothing has to be kept to find
//! it, and it is the same in the answer and in the list.

use std::fmt;

use super::TurnId;

/// One item.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ItemId {
    /// The turn that brought it.
    pub turn: TurnId,
    /// Where it stands there.
    pub place: Place,
}

/// An item that a request names instead of sending it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemReference {
    /// The item.
    pub item: ItemId,
    /// Where what it says belongs: before the request's message of this index, or behind them
    /// all.
    pub before: usize,
    /// Where the request names it, as a refusal says it (`input[2].id`).
    pub named_at: String,
}

/// Where an item stands within its turn. Numbers count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// What the turn's so many-th message says that was sent in (`msg_…_i0`).
    Input(u32),
    /// The so many-th call of such a message (`fc_…_i0_0`).
    InputCall(u32, u32),
    /// The result of a call, the turn's so many-th message that was sent in (`fco_…_i0`).
    InputResult(u32),
    /// The so many-th text of the answer (`msg_…_0`).
    Text(u32),
    /// The so many-th call of the answer (`fc_…_0`).
    Call(u32),
    /// The so many-th piece of thinking in the answer (`rs_…_0`).
    Thinking(u32),
}

impl ItemId {
    /// Reads an id that [`Display`](fmt::Display) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut pieces = text.splitn(3, '_');
        let (kind, turn, place) = (pieces.next()?, pieces.next()?, pieces.next()?);
        let turn = TurnId::from_suffix(turn)?;
        let place = match (kind, place.strip_prefix('i')) {
            ("msg", Some(at)) => Place::Input(number(at)?),
            ("fco", Some(at)) => Place::InputResult(number(at)?),
            ("fc", Some(at)) => {
                let (message, call) = at.split_once('_')?;
                Place::InputCall(number(message)?, number(call)?)
            }
            ("msg", None) => Place::Text(number(place)?),
            ("fc", None) => Place::Call(number(place)?),
            ("rs", None) => Place::Thinking(number(place)?),
            _ => return None,
        };
        Some(Self { turn, place })
    }
}

/// Only digits, and only as they are written: an item has one id.
fn number(text: &str) -> Option<u32> {
    let is_plain = text == "0" || !text.starts_with(['0', '+']);
    if is_plain { text.parse().ok() } else { None }
}

impl fmt::Display for ItemId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let turn = self.turn.suffix();
        match self.place {
            Place::Input(at) => write!(out, "msg_{turn}_i{at}"),
            Place::InputCall(at, call) => write!(out, "fc_{turn}_i{at}_{call}"),
            Place::InputResult(at) => write!(out, "fco_{turn}_i{at}"),
            Place::Text(at) => write!(out, "msg_{turn}_{at}"),
            Place::Call(at) => write!(out, "fc_{turn}_{at}"),
            Place::Thinking(at) => write!(out, "rs_{turn}_{at}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_read_back_from_its_id() {
        let turn = TurnId::generate();
        let places = [
            Place::Input(0),
            Place::InputCall(3, 12),
            Place::InputResult(1),
            Place::Text(0),
            Place::Call(7),
            Place::Thinking(2),
        ];
        for place in places {
            let id = ItemId { turn: turn.clone(), place };
            assert_eq!(ItemId::parse(&id.to_string()), Some(id));
        }
    }

    #[test]
    fn what_no_item_is_called_is_refused() {
        let turn = TurnId::generate();
        let turn = turn.suffix();
        for id in ["", "msg_", "msg_1_0", "rs__0", "item_reference"] {
            assert_eq!(ItemId::parse(id), None, "{id}");
        }
        for place in ["", "00", "+1", "-1", "i", "i01", "99999999999", "0_0", "i0_", "é"] {
            assert_eq!(ItemId::parse(&format!("msg_{turn}_{place}")), None, "{place}");
        }
        assert_eq!(ItemId::parse(&format!("rs_{turn}_i0")), None);
    }
}
