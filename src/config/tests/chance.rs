//! Texts that nobody would write.

use super::super::{Environment, Hashes, load};
use super::{report, sources};

/// What texts are thrown together from: `·` in a line stands for one of the words.
const LINES: &[&str] = &[
    "[server]",
    "[[models]]",
    "[[keys]]",
    "[models]",
    "[[models.list]]",
    "[routing]",
    "[turn.queue]",
    "[·]",
    "[[·]]",
    "· = ·",
    "·.· = ·",
    "· = [·, ·]",
    "· = { · = · }",
    "name = ·",
    "backend = \"x\"",
    "key = ·",
    "hash = ·",
    "tenant = \"a\"",
    "default = ·",
    "level = ·",
    "listen = ·",
    "· ·",
    "#·",
];
const WORDS: &[&str] = &[
    "server",
    "listen",
    "models",
    "default",
    "list",
    "lines",
    "queue",
    "session_attributes",
    "stall_timeout_seconds",
    "\"a\"",
    "\"${\"",
    "\"${X}\"",
    "\"file:/dev/null\"",
    "\"sha256:…\"",
    "ü",
    "\"\\u0000ü\"",
    "\"\"",
    "'''",
    "\"",
    "\\u12",
    "\u{feff}",
    "\0",
    "\r",
    "1",
    "-1",
    "0x_f",
    "1e999",
    "0xffffffffffffffffffffff",
    "nan",
    "-inf",
    "true",
    "1979-05-27T07:32:00Z",
    "[[[[[[[[",
    "}",
    ",",
];

/// A small generator of the xorshift family: the same texts on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }

    fn text(&mut self) -> String {
        let mut text = String::new();
        for _ in 0..self.roll(6) {
            let mut parts = LINES[self.roll(LINES.len())].split('·').peekable();
            while let Some(part) = parts.next() {
                text.push_str(part);
                let is_last = parts.peek().is_none();
                text.push_str(if is_last { "\n" } else { WORDS[self.roll(WORDS.len())] });
            }
        }
        text
    }
}

#[test]
fn no_text_makes_the_loader_panic() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut parsed = 0;
    for _ in 0..6_000 {
        let text = dice.text();
        let is_toml = match load(&sources(&text, Environment::default())) {
            Ok(loaded) => {
                load(&sources(&loaded.show(Hashes::Whole), Environment::default())).unwrap();
                true
            }
            Err(report) => !report.to_string().contains("not valid TOML"),
        };
        parsed += usize::from(is_toml);
    }
    assert!((1_000..5_000).contains(&parsed), "{parsed} of the texts were TOML");
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let dotted = format!("{}a = 1", "a.".repeat(100_000));
    let nested = format!("a = {}", "[".repeat(100_000));
    for text in [dotted, nested] {
        assert!(report(&text).contains("not valid TOML"));
    }
}
