//! Whatever is done to a transcript, in whatever order, its marks cover it, its weight is what it
//! weighs, and a store that writes only what changed holds what is held.

use super::*;
use crate::store::Mark;
use crate::turn::{ItemId, Place, Thought};

/// Small, so that transcripts lose their oldest turns.
const SMALL: Room = Room { bytes: 4_000, messages: 24 };

/// Numbers that look random and are the same each time (xorshift64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn text(&mut self) -> String {
        let letter = char::from(b'a' + self.roll(26) as u8);
        letter.to_string().repeat(1 + self.roll(200) as usize)
    }

    fn said(&mut self) -> Vec<Message> {
        (0..1 + self.roll(3)).map(|_| user(&self.text())).collect()
    }

    fn answer(&mut self) -> Message {
        let mut answer = assistant(&self.text());
        if self.roll(3) == 0 {
            let text = self.text();
            answer.thoughts.push(Thought::Text { text, signature: None });
        }
        if self.roll(4) == 0 {
            answer.parts.clear();
        }
        if self.roll(3) == 0 || answer.parts.is_empty() {
            answer.tool_calls = asks(&["a", "b"]).tool_calls;
        }
        if self.roll(4) == 0 {
            answer.status = Status::Interrupted;
        }
        answer
    }

    /// A turn that the session holds, or none.
    fn turn(&mut self, held: &Conversation) -> TurnId {
        let marks = &held.record().marks;
        let place = self.roll(marks.len() as u64 + 1) as usize;
        marks.get(place).map_or_else(TurnId::generate, |mark| mark.turn.clone())
    }

    fn place(&mut self) -> Place {
        let number = self.roll(3) as u32;
        match self.roll(6) {
            0 => Place::Input(number),
            1 => Place::InputCall(number, 0),
            2 => Place::InputResult(number),
            3 => Place::Text(number),
            4 => Place::Call(number),
            _ => Place::Thinking(number),
        }
    }
}

/// What a store holds that leaves alone what it is told has not changed.
#[derive(Default)]
struct Kept {
    messages: BTreeMap<u64, Message>,
    marks: Vec<Mark>,
}

impl Kept {
    fn take(&mut self, save: &Save) {
        let Save { record, unchanged } = save;
        self.messages.retain(|at, _| (record.dropped..*unchanged).contains(at));
        for (at, message) in (record.dropped..).zip(&record.messages) {
            if at >= *unchanged {
                self.messages.insert(at, Message::clone(message));
            }
        }
        self.marks.retain(|mark| mark.end > record.dropped && mark.end < *unchanged);
        let changed = record.marks.iter().filter(|mark| mark.end >= *unchanged);
        self.marks.extend(changed.cloned());
    }
}

#[track_caller]
fn check(held: &mut Conversation, kept: &mut Kept, what: &str) {
    let record = Arc::clone(held.record());
    let weight: usize = record.messages.iter().map(|message| message.weight()).sum();
    assert_eq!(held.weight(), weight, "{what}");
    let ends: Vec<_> = record.marks.iter().map(|mark| mark.end).collect();
    assert!(ends.is_sorted_by(|one, two| one < two), "{what}: {ends:?}");
    assert!(ends.first().is_none_or(|first| *first > record.dropped), "{what}: {ends:?}");
    assert_eq!(ends.last().copied().unwrap_or(record.dropped), record.end(), "{what}: {ends:?}");
    for mark in record.marks.iter().filter(|mark| mark.is_answered) {
        let last = &record.messages[held.index(mark.end) - 1];
        assert_eq!(last.role, Role::Assistant, "{what}");
    }
    let Some(save) = held.save() else { return };
    kept.take(&save);
    let stored: Vec<_> = kept.messages.values().collect();
    assert!(stored.into_iter().eq(record.messages.iter().map(AsRef::as_ref)), "{what}");
    assert!(kept.messages.keys().copied().eq(record.dropped..record.end()), "{what}");
    assert_eq!(kept.marks, record.marks, "{what}");
}

/// Sends a turn on its way: what is new, or a transcript that was edited.
fn send(held: &mut Conversation, dice: &mut Dice) -> Option<Prepared> {
    let resent = dice.roll(3) == 0;
    let mut messages = Vec::new();
    if resent {
        let known = dice.roll(held.record().messages.len() as u64 + 1) as usize;
        messages.extend(held.record().messages[..known].iter().map(|it| Message::clone(it)));
    }
    messages.extend(dice.said());
    let name = model();
    let sent = held.prepare(&Arrival {
        messages: &messages,
        telling: TELLING,
        branches: false,
        is_delta: !resent,
        model: &name,
        remembers: Some(Duration::from_secs(60)),
        now: at(1),
        base: None,
        room: SMALL,
        handed_back: None,
    });
    sent.ok()
}

fn act(held: &mut Conversation, dice: &mut Dice, kept: &mut Kept) -> &'static str {
    match dice.roll(10) {
        0..=3 => {
            let Some(prepared) = send(held, dice) else { return "a turn that was refused" };
            if dice.roll(2) == 0 {
                check(held, kept, "a turn that runs");
            }
            if dice.roll(4) == 0 {
                held.take_back(dice.roll(2) == 0);
                return "a turn that came to nothing";
            }
            held.commit(Committed {
                turn: TurnId::generate(),
                said: prepared.said.clone(),
                answer: dice.answer(),
                upstream: Some(binding(&prepared.upstream, 1)),
                model: model(),
                asked: model(),
                base: None,
                phrases: Phrases::NONE,
                now: at(1),
                room: SMALL,
            });
            return "a turn";
        }
        4 => {
            let mut messages = dice.said();
            messages.push(dice.answer());
            let edit = Edit::Append(TurnId::generate(), messages);
            held.edit(edit, SMALL).unwrap();
            return "what was put in";
        }
        5 => {
            let turn = dice.turn(held);
            let is_there = held.record().marks.iter().any(|mark| mark.turn == turn);
            assert_eq!(held.edit(Edit::Rewind(turn.clone()), SMALL).is_ok(), is_there);
            assert!(!is_there || held.ends_with(&turn));
        }
        6 => {
            let turn = dice.turn(held);
            // It may not be there.
            let _ = held.edit(Edit::RemoveTurn(turn.clone()), SMALL);
            assert!(held.record().marks.iter().all(|mark| mark.turn != turn));
            return "a turn that was taken out";
        }
        7 | 8 => {
            let item = ItemId { turn: dice.turn(held), place: dice.place() };
            // It may not be there.
            let _ = held.edit(Edit::RemoveItem(item), SMALL);
            return "an item that was taken out";
        }
        _ if dice.roll(8) == 0 => {
            held.start_over();
            return "a new beginning";
        }
        _ => {
            let heard = dice.text();
            held.cut_last_answer(&heard);
            return "an answer that was cut";
        }
    }
    "a rewind"
}

#[test]
fn any_edits_in_any_order_leave_marks_weight_and_store_right() {
    for seed in 1..200 {
        let mut dice = Dice(seed * 0x9E37_79B9_7F4A);
        let (mut held, mut kept) = (conversation(), Kept::default());
        for step in 0..120 {
            let what = act(&mut held, &mut dice, &mut kept);
            check(&mut held, &mut kept, &format!("seed {seed}, step {step}: {what}"));
            if dice.roll(20) == 0 {
                held = Conversation::revive(Arc::clone(held.record()));
            }
        }
    }
}

#[test]
fn a_copy_up_to_any_turn_is_a_transcript_of_its_own() {
    for seed in 1..50 {
        let mut dice = Dice(seed * 0x9E37_79B9_7F4A);
        let (mut held, mut kept) = (conversation(), Kept::default());
        for _ in 0..30 {
            act(&mut held, &mut dice, &mut kept);
        }
        for mark in held.record().marks.clone() {
            let key = SessionKey { tenant: "acme".parse().unwrap(), id: "copy".parse().unwrap() };
            let copy = held.copy(Some(&mark.turn), key).unwrap();
            let mut copy = Conversation::branch(copy);
            assert_eq!(copy.record().end(), mark.end);
            turn(&mut copy, &[user("and?")], "Yes.", 1);
            check(&mut copy, &mut Kept::default(), &format!("seed {seed}"));
        }
    }
}
