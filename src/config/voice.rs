//! Settings of `[[models]]` for clients that somebody listens to: voice platforms.

use std::time::Duration;

use super::Model;
use super::fields::Fields;
use super::kind::{Flag, List, Maybe, Milliseconds};
use super::text::Text;
use crate::turn::request::{DisconnectPolicy, TurnPolicy};

/// Silence on a stream of the voice profile after which a comment is sent.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// How long a model of the voice profile may take to begin, where another can answer: an answer
/// that begins later is felt as a fault.
const FIRST_TOKEN_DEADLINE: Duration = Duration::from_secs(3);

/// Which defaults a model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Those for people who read.
    #[default]
    Text,
    /// Those for people who listen. Besides, a last answer that comes back shorter is what was
    /// heard of it, and no other conversation.
    Voice,
}

impl Profile {
    /// Every profile with its name.
    pub const NAMES: &'static [(&'static str, Self)] =
        &[("text", Self::Text), ("voice", Self::Voice)];

    /// Gives a model the defaults of the profile, which its own settings override.
    pub fn prepare(self, model: &mut Model) {
        model.profile = self;
        match self {
            Self::Text => {}
            Self::Voice => {
                model.turn_policy = TurnPolicy::Interrupt;
                model.disconnect_policy = DisconnectPolicy::Cancel;
                model.keep_alive = Some(KEEP_ALIVE);
                model.voice.first_token_deadline = Some(FIRST_TOKEN_DEADLINE);
            }
        }
    }
}

/// What is said to people who listen; the settings stand in the model's own table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voice {
    /// `first_token_deadline_ms`: where nothing of an answer has come by then, the next of
    /// `fallbacks` is asked in its place, if running the turn twice does no harm (`hedge_agents`).
    /// Default: none; 3,000 in the voice profile.
    pub first_token_deadline: Option<Duration>,
    /// `filler`: sentences, of which a turn speaks one at most, while nothing has been said.
    /// Default: none.
    pub filler: Vec<String>,
    /// `filler_after_ms`: so long after the request. Default: 1,000.
    pub filler_after: Duration,
    /// `empty_answer`: what is said where an answer has neither text nor calls. Default: nothing.
    pub empty_answer: Option<String>,
    /// `spoken_errors`: whether failures that are not the client's are told as `apology`, by an
    /// answer that ends as it should. Default: false.
    pub spoken_errors: bool,
    /// `apology`: that sentence.
    pub apology: String,
}

impl Default for Voice {
    fn default() -> Self {
        Self {
            first_token_deadline: None,
            filler: Vec::new(),
            filler_after: Duration::from_secs(1),
            empty_answer: None,
            spoken_errors: false,
            apology: "I am sorry, something went wrong. Could you say that again?".to_owned(),
        }
    }
}

impl Voice {
    /// What is said in the place of failures, if anything is.
    #[must_use]
    pub fn spoken_apology(&self) -> Option<&str> {
        self.spoken_errors.then_some(self.apology.as_str())
    }
}

/// The settings among those of a `[[models]]` table.
pub(super) fn settings(fields: &mut impl Fields, voice: &mut Voice) {
    let Voice { first_token_deadline, filler, filler_after, empty_answer, spoken_errors, apology } =
        voice;
    fields.field("first_token_deadline_ms", &Maybe(Milliseconds), first_token_deadline);
    fields.field("filler", &List(Text::SOME), filler);
    fields.field("filler_after_ms", &Milliseconds, filler_after);
    fields.field("empty_answer", &Maybe(Text::SOME), empty_answer);
    fields.field("spoken_errors", &Flag, spoken_errors);
    fields.field("apology", &Text::SOME, apology);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Environment, Hashes, SourceFile, Sources, load};
    use super::*;

    fn model(settings: &str) -> Model {
        let text = format!("[[models]]\nname = \"a\"\nbackend = \"openai\"\n{settings}\n");
        let file = Some(SourceFile { path: "outcrop.toml".into(), text });
        let sources = Sources { file, environment: Environment::default(), flags: Vec::new() };
        let loaded = load(&sources).unwrap();
        let shown = loaded.show(Hashes::Whole);
        let mut config = loaded.config;
        let again = Sources {
            file: Some(SourceFile { path: "outcrop.toml".into(), text: shown }),
            ..sources
        };
        let again = load(&again).unwrap().config.models.remove(0);
        let model = config.models.remove(0);
        assert_eq!((again.turn_policy, &again.voice), (model.turn_policy, &model.voice));
        model
    }

    #[test]
    fn the_voice_profile_is_a_bundle_of_defaults() {
        let model = model("profile = \"voice\"");
        assert_eq!(model.turn_policy, TurnPolicy::Interrupt);
        assert_eq!(model.keep_alive, Some(KEEP_ALIVE));
        assert_eq!(model.voice.first_token_deadline, Some(FIRST_TOKEN_DEADLINE));
        assert_eq!(model.voice.spoken_apology(), None);
    }

    #[test]
    fn single_settings_override_the_profile_wherever_they_stand() {
        let settings = "turn_policy = \"queue\"\nkeep_alive_seconds = 5\nprofile = \"voice\"\n\
                        first_token_deadline_ms = 800\nfiller = [\"One moment.\"]";
        let model = model(settings);
        assert_eq!(model.turn_policy, TurnPolicy::Queue);
        assert_eq!(model.keep_alive, Some(Duration::from_secs(5)));
        assert_eq!(model.voice.first_token_deadline, Some(Duration::from_millis(800)));
        assert_eq!(model.voice.filler, ["One moment."]);
    }

    #[test]
    fn without_a_profile_nothing_is_spoken_and_nothing_is_hurried() {
        let model = model("");
        assert_eq!((model.turn_policy, model.keep_alive), (TurnPolicy::Queue, None));
        assert_eq!(model.voice, Voice::default());
    }
}
