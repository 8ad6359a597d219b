//! What a message wants of the emulator beside an answer.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::emulator::behaviour::Behaviour;
use crate::emulator::playback::Pace;
use crate::emulator::refusal::Refusal;

use super::shapes::Shape;

/// Between two pieces of an answer that is to come slowly.
const SLOW: Duration = Duration::from_millis(20);
/// Most calls that one message may ask for.
const MAX_CALLS: usize = 16;

/// A message, and how it is to be answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wish<'a> {
    /// The message without the words that are for the emulator.
    pub(super) text: &'a str,
    pub(super) shape: Shape,
    pub(super) is_aloud: bool,
    pub(super) ending: Option<&'a str>,
    pub(super) behaviour: Behaviour,
}

impl<'a> Wish<'a> {
    /// Reads a message; `behaviour` holds where it says nothing.
    ///
    /// # Errors
    /// `ValidationException` for a fault that there is not.
    pub(super) fn of(text: &'a str, behaviour: &Behaviour) -> Result<Self, Refusal> {
        let behaviour = behaviour.clone();
        let mut wish =
            Self { text, shape: Shape::Strings, is_aloud: false, ending: None, behaviour };
        while wish.take_last()? {}
        Ok(wish)
    }

    /// Takes the last words, if they are for the emulator.
    fn take_last(&mut self) -> Result<bool, Refusal> {
        let (rest, last) = split_word(self.text);
        match last {
            "slowly" => {
                self.behaviour.pace = Pace { between: SLOW, ..self.behaviour.pace };
                self.text = rest;
                return Ok(true);
            }
            "aloud" => {
                (self.is_aloud, self.text) = (true, rest);
                return Ok(true);
            }
            _ => {}
        }
        let (before, word) = split_word(rest);
        match word {
            "as" => match Shape::named(last) {
                Some(shape) => self.shape = shape,
                None => return Ok(false),
            },
            "ending" => self.ending = Some(last),
            "fault" => {
                self.behaviour.fault = Behaviour::fault(last)?;
                self.text = before.trim_end().strip_suffix("with").unwrap_or(before).trim_end();
                return Ok(true);
            }
            _ => return Ok(false),
        }
        self.text = before;
        Ok(true)
    }
}

/// The last word of a text, and what stands before it.
fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_end();
    let (rest, last) = text.rsplit_once(char::is_whitespace).unwrap_or(("", text));
    (rest.trim_end(), last)
}

/// A tool call that a message asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) arguments: Value,
}

/// The calls of `call: NAME key=value … call: NAME …`; `verb` is `call:` or `run:`.
pub(super) fn wanted(text: &str, verb: &str) -> Vec<Wanted> {
    let Some(rest) = text.strip_prefix(verb) else { return Vec::new() };
    rest.split(verb).filter_map(one).take(MAX_CALLS).collect()
}

fn one(text: &str) -> Option<Wanted> {
    let mut words = text.split_whitespace();
    let name = words.next()?.to_owned();
    let pairs = words.filter_map(|word| word.split_once('='));
    let arguments: Map<_, _> = pairs.map(|(name, value)| (name.to_owned(), typed(value))).collect();
    Some(Wanted { name, arguments: arguments.into() })
}

fn typed(value: &str) -> Value {
    serde_json::from_str(value).unwrap_or_else(|_| value.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_words_say_how_and_the_rest_what() {
        let text = "count to 3 as strands slowly with fault throttle:1 ending max_tokens aloud";
        let wish = Wish::of(text, &Behaviour::default()).unwrap();
        assert_eq!((wish.text, wish.shape), ("count to 3", Shape::Strands));
        assert_eq!((wish.is_aloud, wish.ending), (true, Some("max_tokens")));
        assert_eq!(wish.behaviour.pace.between, SLOW);
        assert!(wish.behaviour.fault.is_some());
    }

    #[test]
    fn other_words_are_part_of_the_message() {
        for text in ["as", "known as Ann", "slowly does it", "", "my fault"] {
            let wish = Wish::of(text, &Behaviour::default());
            match wish {
                Ok(wish) => assert_eq!(wish.text, text),
                Err(refusal) => panic!("{text}: {refusal:?}"),
            }
        }
        assert!(Wish::of("hi with fault explode", &Behaviour::default()).is_err());
    }

    #[test]
    fn calls_are_read_with_typed_arguments() {
        let calls = wanted("call: weather city=Oslo days=3 call: clock", "call:");
        let weather = json!({ "city": "Oslo", "days": 3 });
        let clock = Wanted { name: "clock".to_owned(), arguments: json!({}) };
        assert_eq!(calls, [Wanted { name: "weather".to_owned(), arguments: weather }, clock]);
        assert!(wanted("please call: x", "call:").is_empty());
    }
}
