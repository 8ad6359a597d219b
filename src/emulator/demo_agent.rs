//! The demo agent: a banking assistant without a model behind it.
//!
//! The same words in the same session get the same answer, always. It knows loans, cards and
//! balances, remembers the caller's name and the amount they want to borrow, and tells on request
//! what it remembers, so that a client can see whether its session lives. Two phrases are there
//! for tests: `count to N` answers with N words, `repeat: …` with the text that follows.

use super::facts;

/// The furthest it counts.
const MAX_COUNT: u32 = 2_000;
/// What it keeps of the last message, in characters.
const KEPT_MESSAGE: usize = 500;
/// What it quotes in its fallback, in characters.
const QUOTED: usize = 60;
/// Yearly interest of every loan, in per cent.
const INTEREST_PERCENT: f64 = 7.5;
/// Months in which every loan is paid back.
const TERM_MONTHS: i32 = 60;

/// What it remembers of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// The caller's name.
    pub(super) name: Option<String>,
    /// What they want to borrow, in cents.
    pub(super) amount_cents: Option<u64>,
    /// User messages so far, those of a seeded history among them.
    pub(super) turns: u32,
    /// The user message before the one that is being answered, shortened.
    pub(super) last_message: Option<String>,
    /// What was talked about, in order, each once.
    pub(super) topics: Vec<&'static str>,
}

impl Memory {
    /// Takes in a user message that needs no answer, as when a history is told.
    pub(super) fn listen(&mut self, text: &str) {
        if let Some(name) = facts::name_in(text) {
            self.name = Some(name);
        }
        if let Some(cents) = facts::amount_in(text) {
            self.amount_cents = Some(cents);
        }
        if let Some(topic) = topic_of(&text.to_lowercase())
            && !self.topics.contains(&topic.name)
        {
            self.topics.push(topic.name);
        }
        self.turns = self.turns.saturating_add(1);
        self.last_message = Some(text.chars().take(KEPT_MESSAGE).collect());
    }

    /// Bytes it takes, roughly.
    pub(super) fn weight(&self) -> usize {
        let name = self.name.as_ref().map_or(0, String::len);
        let message = self.last_message.as_ref().map_or(0, String::len);
        size_of::<Self>() + name + message
    }
}

/// One answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// What is said.
    pub(super) text: String,
    /// Whether it is to be streamed word by word.
    pub(super) word_by_word: bool,
}

/// Answers a message and remembers what it said. `phone_number` is the caller's, where the
/// session's attributes tell it.
pub(super) fn answer(memory: &mut Memory, text: &str, phone_number: Option<&str>) -> Answer {
    let known = memory.clone();
    memory.listen(text);
    if let Some(goal) = count_goal(text) {
        return Answer { text: count(goal), word_by_word: true };
    }
    let text = match repeated(text) {
        Some(verbatim) => verbatim.to_owned(),
        None => spoken(&Turn { known: &known, now: memory, phone_number, text }),
    };
    Answer { text, word_by_word: false }
}

/// One message with everything that bears on its answer.
struct Turn<'a> {
    known: &'a Memory,
    now: &'a Memory,
    phone_number: Option<&'a str>,
    text: &'a str,
}

fn spoken(turn: &Turn<'_>) -> String {
    let lower = turn.text.to_lowercase().replace('\u{2019}', "'");
    if let Some(reply) = recalled(turn, &lower) {
        return reply;
    }
    let acknowledged = acknowledged(turn);
    if let Some(topic) = topic_of(&lower) {
        return match acknowledged {
            Some(thanks) => format!("{thanks} {}", (topic.reply)(turn)),
            None => (topic.reply)(turn),
        };
    }
    if let Some(thanks) = acknowledged {
        return format!("{thanks} How can I help you today?");
    }
    small_talk(turn, &lower)
}

/// Answers every question about the session itself that the message asks.
fn recalled(turn: &Turn<'_>, lower: &str) -> Option<String> {
    const QUESTIONS: &[fn(&Turn<'_>, &str) -> Option<String>] =
        &[last_message, talked_about, own_number, own_name, monthly_payment, own_amount];
    let answers: Vec<_> = QUESTIONS.iter().filter_map(|asked| asked(turn, lower)).collect();
    (!answers.is_empty()).then(|| answers.join(" "))
}

fn holds_any(text: &str, phrases: &[&str]) -> bool {
    phrases.iter().any(|phrase| text.contains(phrase))
}

fn asks(lower: &str) -> bool {
    holds_any(lower, &["what", "which", "know", "how much"])
}

fn last_message(turn: &Turn<'_>, lower: &str) -> Option<String> {
    let asked = holds_any(lower, &["last message", "previous message", "what did i just say"]);
    asked.then(|| match &turn.known.last_message {
        Some(message) => format!("Your last message was: \"{message}\""),
        None => "This is your first message.".to_owned(),
    })
}

fn talked_about(turn: &Turn<'_>, lower: &str) -> Option<String> {
    let asked = holds_any(lower, &["how many turns", "did we talk about", "have we talked about"]);
    asked.then(|| recounted(turn.known))
}

fn own_number(turn: &Turn<'_>, lower: &str) -> Option<String> {
    let means_number = holds_any(lower, &["my number", "my phone number"])
        || (lower.contains("number") && lower.contains("calling from"));
    (asks(lower) && means_number).then(|| match turn.phone_number {
        Some(number) => format!("You are calling from {number}."),
        None => "I cannot see the number you are calling from.".to_owned(),
    })
}

fn own_name(turn: &Turn<'_>, lower: &str) -> Option<String> {
    let asked = lower.contains("my name")
        && holds_any(lower, &["what", "know", "remember", "tell"])
        && facts::name_in(turn.text).is_none();
    (asked || lower.contains("who am i")).then(|| match &turn.now.name {
        Some(name) => format!("Your name is {name}."),
        None => "You have not told me your name yet.".to_owned(),
    })
}

fn monthly_payment(turn: &Turn<'_>, lower: &str) -> Option<String> {
    let asked = lower.contains("monthly payment")
        || (asks(lower) && holds_any(lower, &["per month", "a month"]));
    asked.then(|| instalment(turn.now.amount_cents))
}

fn own_amount(turn: &Turn<'_>, lower: &str) -> Option<String> {
    let asked = lower.contains("how much")
        && holds_any(lower, &["did i", "do i", "i want"])
        && facts::amount_in(turn.text).is_none();
    asked.then(|| match turn.now.amount_cents {
        Some(cents) => format!("You want to borrow {}.", facts::dollars(cents)),
        None => "You have not told me yet how much you want to borrow.".to_owned(),
    })
}

fn recounted(known: &Memory) -> String {
    let turns = match known.turns {
        0 => return "I hold 0 turns before this one: we have only just begun.".to_owned(),
        1 => "1 turn".to_owned(),
        many => format!("{many} turns"),
    };
    if known.topics.is_empty() {
        return format!("I hold {turns} before this one.");
    }
    format!("I hold {turns} before this one. We talked about {}.", known.topics.join(", "))
}

fn instalment(amount_cents: Option<u64>) -> String {
    let Some(cents) = amount_cents else {
        return "Tell me how much you want to borrow, and I will work out the monthly payment."
            .to_owned();
    };
    format!(
        "Borrowing {} at {INTEREST_PERCENT} percent over {TERM_MONTHS} months, your monthly \
         payment would be {}.",
        facts::dollars(cents),
        facts::dollars(monthly_cents(cents)),
    )
}

/// The constant instalment that pays a loan back with its interest.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "amounts are bounded far below 2^53 cents"
)]
fn monthly_cents(cents: u64) -> u64 {
    let rate = INTEREST_PERCENT / 100.0 / 12.0;
    let payment = cents as f64 * rate / (1.0 - (1.0 + rate).powi(-TERM_MONTHS));
    payment.round() as u64
}

/// Confirms what this message told that was not known before.
fn acknowledged(turn: &Turn<'_>) -> Option<String> {
    let name = turn.now.name.as_ref().filter(|name| turn.known.name.as_ref() != Some(*name));
    let cents = turn.now.amount_cents.filter(|cents| turn.known.amount_cents != Some(*cents));
    let amount = cents.map(facts::dollars);
    match (name, amount) {
        (Some(name), Some(amount)) => Some(format!(
            "Nice to meet you, {name}. I have noted that you want to borrow {amount}."
        )),
        (Some(name), None) => Some(format!("Nice to meet you, {name}.")),
        (None, Some(amount)) => Some(format!("I have noted that you want to borrow {amount}.")),
        (None, None) => None,
    }
}

/// Something the agent can talk about.
struct Topic {
    name: &'static str,
    /// It is meant when all words of one of these are there.
    cues: &'static [&'static [&'static str]],
    reply: fn(&Turn<'_>) -> String,
}

/// The first that fits is taken, so the particular stand before the general.
const TOPICS: &[Topic] = &[
    Topic {
        name: "blocking a card",
        cues: &[&["card", "block"], &["card", "lost"], &["card", "stolen"], &["card", "freeze"]],
        reply: |turn| match turn.phone_number {
            Some(number) => format!(
                "I have blocked the card registered to {number}. A new one will be with you in \
                 three working days."
            ),
            None => "To block your card I need the phone number it is registered to.".to_owned(),
        },
    },
    Topic {
        name: "home loans",
        cues: &[&["home loan"], &["mortgage"], &["house", "loan"], &["buy", "house"]],
        reply: |_| {
            "A home loan runs for up to 30 years, with a deposit of 10 percent. How much would \
             you like to borrow?"
                .to_owned()
        },
    },
    Topic {
        name: "auto loans",
        cues: &[&["auto loan"], &["car loan"], &["car", "loan"], &["buy", "car "]],
        reply: |_| {
            "An auto loan runs for up to 7 years, for new and used cars. How much would you like \
             to borrow?"
                .to_owned()
        },
    },
    Topic {
        name: "personal loans",
        cues: &[&["personal loan"]],
        reply: |_| {
            "A personal loan runs for up to 5 years and needs no security. How much would you \
             like to borrow?"
                .to_owned()
        },
    },
    Topic {
        name: "loans",
        cues: &[&["loan"], &["borrow"], &["credit", "need"]],
        reply: |turn| match turn.now.amount_cents {
            Some(_) => "Would that be a personal loan, a home loan or an auto loan?".to_owned(),
            None => "We offer personal loans, home loans and auto loans. Which one is it, and how \
                     much would you like to borrow?"
                .to_owned(),
        },
    },
    Topic {
        name: "cards",
        cues: &[&["card"]],
        reply: |_| {
            "We have debit cards without a fee and credit cards at 40 dollars a year. I can also \
             block a lost card for you."
                .to_owned()
        },
    },
    Topic {
        name: "balances",
        cues: &[&["balance"], &["how much money"], &["account", "much"]],
        reply: |_| {
            "Your current account holds $2,450.75 and your savings account $12,300.".to_owned()
        },
    },
];

fn topic_of(lower: &str) -> Option<&'static Topic> {
    let is_meant = |cue: &&[&str]| cue.iter().all(|word| lower.contains(word));
    TOPICS.iter().find(|topic| topic.cues.iter().any(is_meant))
}

fn small_talk(turn: &Turn<'_>, lower: &str) -> String {
    let first_word =
        lower.split(|letter: char| !letter.is_alphanumeric()).find(|word| !word.is_empty());
    let dear = turn.now.name.as_ref().map_or_else(String::new, |name| format!(", {name}"));
    match first_word {
        Some("hi" | "hello" | "hey" | "good") => format!(
            "Hello{dear}! I am your banking assistant. I can help with loans, cards and balances."
        ),
        Some("thanks" | "thank") => format!("You are welcome{dear}."),
        Some("bye" | "goodbye") => format!("Goodbye{dear}, and thank you for calling."),
        Some(_) => {
            let quoted: String = turn.text.trim().chars().take(QUOTED).collect();
            format!(
                "I am a demo agent and know little about \"{quoted}\". Ask me about loans, cards \
                 or balances."
            )
        }
        None => "I did not catch that. Could you say it again?".to_owned(),
    }
}

/// The N of `count to N`.
fn count_goal(text: &str) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    let (_, after) = lower.split_once("count to ")?;
    let digits = after.split(|letter: char| !letter.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|goal| (1..=MAX_COUNT).contains(goal))
}

fn count(goal: u32) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(goal as usize * 5);
    for number in 1..=goal {
        write!(text, "{number} ").expect("writing to a String cannot fail");
    }
    text
}

/// What follows `repeat:`, but for one space.
fn repeated(text: &str) -> Option<&str> {
    let head = text.get(..7).filter(|head| head.eq_ignore_ascii_case("repeat:"))?;
    let rest = &text[head.len()..];
    Some(rest.strip_prefix(' ').unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says the lines in one session and returns the last answer.
    fn after(lines: &[&str]) -> String {
        let mut memory = Memory::default();
        let answers = lines.iter().map(|line| answer(&mut memory, line, Some("+15550100")).text);
        answers.last().unwrap()
    }

    #[test]
    fn a_name_told_in_one_turn_is_known_in_the_next() {
        assert_eq!(after(&["What is my name?"]), "You have not told me your name yet.");
        assert_eq!(after(&["Hi, I'm Ann", "What is my name?"]), "Your name is Ann.");
        assert_eq!(after(&["I'm Ann", "call me Bob", "who am I?"]), "Your name is Bob.");
    }

    #[test]
    fn an_amount_told_in_one_turn_is_calculated_with_in_the_next() {
        let told = "I want to borrow 25,000 dollars";
        assert_eq!(after(&[told, "How much did I want to borrow?"]), "You want to borrow $25,000.");
        assert_eq!(
            after(&[told, "What would the monthly payment be?"]),
            "Borrowing $25,000 at 7.5 percent over 60 months, your monthly payment would be \
             $500.95.",
        );
    }

    #[test]
    fn both_facts_of_one_sentence_are_noted() {
        let reply = after(&["My name is Ann and I need a loan of $9,000"]);
        assert!(reply.starts_with("Nice to meet you, Ann. I have noted"), "{reply}");
        assert!(reply.ends_with("Would that be a personal loan, a home loan or an auto loan?"));
    }

    #[test]
    fn a_question_about_loans_is_not_one_about_the_callers_own() {
        assert!(after(&["How much can I borrow?"]).starts_with("We offer personal loans"));
        assert!(after(&["Block the card on my number"]).starts_with("I have blocked the card"));
    }

    #[test]
    fn a_card_is_blocked_by_the_callers_number() {
        assert!(after(&["Please block my card"]).contains("+15550100"));
        let unknown = answer(&mut Memory::default(), "Please block my card", None).text;
        assert!(unknown.contains("I need the phone number"), "{unknown}");
    }

    #[test]
    fn the_number_of_turns_and_their_topics_are_told() {
        assert!(after(&["How many turns do you hold?"]).contains("I hold 0 turns"));
        assert_eq!(
            after(&["hi", "what's my balance?", "I lost my card", "What did we talk about?"]),
            "I hold 3 turns before this one. We talked about balances, blocking a card.",
        );
    }

    #[test]
    fn the_last_message_is_the_one_before_this() {
        assert_eq!(after(&["one", "What was my last message?"]), "Your last message was: \"one\"");
        assert_eq!(after(&["What was my last message?"]), "This is your first message.");
    }

    #[test]
    fn a_count_has_as_many_words_as_asked_for() {
        let counted = answer(&mut Memory::default(), "Please count to 3.", None);
        assert_eq!(counted, Answer { text: "1 2 3 ".to_owned(), word_by_word: true });
        let far = answer(&mut Memory::default(), "count to 2001", None);
        assert!(!far.word_by_word);
    }

    #[test]
    fn what_is_to_be_repeated_is_repeated_verbatim() {
        assert_eq!(after(&["repeat:  日本 \u{1f600}\n"]), " 日本 \u{1f600}\n");
        assert_eq!(after(&["repeat:"]), "");
    }

    #[test]
    fn anything_else_is_echoed_and_silence_is_asked_about() {
        assert!(after(&["Weather on Mars"]).contains("\"Weather on Mars\""));
        assert!(after(&[" "]).starts_with("I did not catch that."));
    }

    #[test]
    fn remembered_text_is_bounded() {
        let mut memory = Memory::default();
        memory.listen(&"é".repeat(100_000));
        assert!(memory.weight() < 2_000);
    }
}
