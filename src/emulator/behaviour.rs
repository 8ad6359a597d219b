//! How the emulator behaves: by its configuration, and for one call by its attributes.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config;

use super::faults::{BadFault, Fault};
use super::playback::Pace;
use super::refusal::Refusal;

/// The attribute that sets the delay before the first chunk, in milliseconds.
const FIRST_TOKEN_MS: &str = "outcrop-emulator-first-token-ms";
/// The attribute that sets the delay between chunks, in milliseconds.
const CHUNK_MS: &str = "outcrop-emulator-chunk-ms";
/// The attribute that names a fault.
const FAULT: &str = "outcrop-emulator-fault";
/// The longest delay, in milliseconds: an hour.
const MAX_DELAY_MS: u64 = 3_600_000;

/// How fast the emulator answers, and what goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Behaviour {
    /// How fast an answer comes.
    pub(super) pace: Pace,
    /// What goes wrong.
    pub(super) fault: Option<Fault>,
}

impl Behaviour {
    /// What the configuration says.
    ///
    /// # Errors
    /// When its fault is none that there is.
    pub(super) fn configured(config: &config::Emulator) -> Result<Self, BadFault> {
        let pace = Pace { first: config.first_token_delay, between: config.chunk_delay };
        let fault = config.fault.as_deref().map_or(Ok(None), fault)?;
        Ok(Self { pace, fault })
    }

    /// The fault of this spelling; `none` is none.
    ///
    /// # Errors
    /// `ValidationException` that names the fault that there is not.
    pub(super) fn fault(spelling: &str) -> Result<Option<Fault>, Refusal> {
        fault(spelling).map_err(|error| Refusal::validation(error.to_string()))
    }

    /// What holds for one call; of several maps with an attribute the first one counts.
    ///
    /// # Errors
    /// `ValidationException` that names the attribute, or the fault that there is not.
    pub(super) fn for_call<'a>(
        &self,
        attributes: impl IntoIterator<Item = &'a BTreeMap<String, String>> + Clone,
    ) -> Result<Self, Refusal> {
        let setting = |name| attributes.clone().into_iter().find_map(|map| map.get(name));
        let delay = |name, otherwise| match setting(name) {
            Some(text) => milliseconds(name, text),
            None => Ok(otherwise),
        };
        Ok(Self {
            pace: Pace {
                first: delay(FIRST_TOKEN_MS, self.pace.first)?,
                between: delay(CHUNK_MS, self.pace.between)?,
            },
            fault: match setting(FAULT) {
                Some(spelling) => {
                    fault(spelling).map_err(|error| Refusal::validation(error.to_string()))?
                }
                None => self.fault.clone(),
            },
        })
    }
}

/// What a spelling means; nothing for `none`.
///
/// # Errors
/// When there is no such fault.
pub(super) fn fault(spelling: &str) -> Result<Option<Fault>, BadFault> {
    if spelling == "none" { Ok(None) } else { spelling.parse().map(Some) }
}

fn milliseconds(name: &'static str, text: &str) -> Result<Duration, Refusal> {
    match text.parse() {
        Ok(length) if length <= MAX_DELAY_MS => Ok(Duration::from_millis(length)),
        _ => Err(Refusal::validation(format!("{name} must be 0 to {MAX_DELAY_MS} milliseconds"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn attributes_go_before_the_configuration_and_the_first_map_before_the_others() {
        let config = config::Emulator {
            chunk_delay: Duration::from_millis(7),
            fault: Some("slow".to_owned()),
            ..config::Emulator::default()
        };
        let configured = Behaviour::configured(&config).unwrap();
        let first = attributes(&[(FIRST_TOKEN_MS, "10")]);
        let second = attributes(&[(FIRST_TOKEN_MS, "20"), (FAULT, "none")]);
        let behaviour = configured.for_call([&first, &second]).unwrap();
        assert_eq!(behaviour.pace.first, Duration::from_millis(10));
        assert_eq!(behaviour.pace.between, Duration::from_millis(7));
        assert_eq!((configured.fault, behaviour.fault), (Some(Fault::Slow), None));
    }

    #[test]
    fn a_setting_that_cannot_be_read_is_named() {
        let behaviour = Behaviour::default();
        for (name, value, told) in [
            (FAULT, "explode", "explode"),
            (CHUNK_MS, "soon", CHUNK_MS),
            (CHUNK_MS, "-1", CHUNK_MS),
        ] {
            let refusal = behaviour.for_call([&attributes(&[(name, value)])]).unwrap_err();
            assert_eq!(refusal.kind, Some("ValidationException"));
            assert!(refusal.message.contains(told), "{}", refusal.message);
        }
    }
}
