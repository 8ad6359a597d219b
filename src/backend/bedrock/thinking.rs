//! How much a model thinks before it answers, in the words of its family.
//!
//! OpenAI's `reasoning_effort` is a word; Claude up to 4.5 wants a number of tokens, later ones
//! and others a word of their own. A client that speaks Anthropic's dialect may say `thinking`
//! itself.

use serde_json::{Map, Value, json};

use crate::turn::{Effort, Failure, FailureKind, Generation};

use super::families::{Family, Thinking};

/// The smallest budget that Claude takes.
const SMALLEST_BUDGET: u32 = 1_024;
/// Tokens of an answer beside a budget, where nobody says how long it may be.
const ANSWER_TOKENS: u32 = 8_192;

/// What a request says of thinking.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Plan {
    /// Whether the model was told to think.
    pub(super) is_on: bool,
    /// Members of `additionalModelRequestFields`.
    pub(super) fields: Map<String, Value>,
    /// `outputConfig.effort`.
    pub(super) effort: Option<&'static str>,
    /// Tokens of thinking, where the family counts them: the answer's come on top.
    budget: Option<u32>,
    /// Whether the sampling parameters are the model's own while it thinks.
    pub(super) fixes_sampling: bool,
    /// Whether the length is, too.
    fixes_length: bool,
}

impl Plan {
    /// `maxTokens` for an answer of so many: a budget must leave room for it.
    pub(super) fn max_tokens(&self, asked: Option<u32>) -> Option<u32> {
        if self.fixes_length {
            return None;
        }
        let Some(budget) = self.budget else { return asked };
        let asked = asked.unwrap_or(budget.saturating_add(ANSWER_TOKENS));
        Some(if asked > budget { asked } else { asked.saturating_add(budget) })
    }
}

/// What the client asks for, in one of two dialects.
enum Wish {
    Nothing,
    Off,
    Effort(Effort),
    Budget(u32),
}

/// Works out what to say. `must_not` says that the request cannot be had with thinking: a call is
/// forced, or the thoughts that the turn goes on from are gone.
///
/// # Errors
/// `UnsupportedParameter` where the model does not think, `BadRequest` for a `thinking` that is
/// none.
pub(super) fn plan(
    family: &Family,
    generation: &Generation,
    must_not: bool,
) -> Result<Plan, Failure> {
    let wish = wish(generation)?;
    let is_claude = matches!(family.thinking, Thinking::Budget | Thinking::Adaptive);
    if must_not && is_claude {
        return Ok(Plan::default());
    }
    let effort = match wish {
        Wish::Nothing => return Ok(Plan::default()),
        Wish::Off | Wish::Effort(Effort::None) => {
            return Ok(match family.thinking {
                // It has no way not to; this is the least.
                Thinking::ReasoningEffort => told("reasoning_effort", json!("low")),
                _ => Plan::default(),
            });
        }
        Wish::Budget(tokens) => Spent::Tokens(tokens),
        Wish::Effort(effort) => Spent::Effort(effort),
    };
    Ok(match family.thinking {
        Thinking::None if matches!(wish, Wish::Effort(Effort::Minimal)) => Plan::default(),
        Thinking::None => return Err(does_not_think(family, generation)),
        Thinking::Always => Plan::default(),
        Thinking::Budget => {
            let budget = effort.tokens().max(SMALLEST_BUDGET);
            let thinking = json!({ "type": "enabled", "budget_tokens": budget });
            Plan { budget: Some(budget), fixes_sampling: true, ..told("thinking", thinking) }
        }
        Thinking::Adaptive => {
            let thinking = told("thinking", json!({ "type": "adaptive" }));
            let effort = Some(effort.word(Effort::Max));
            Plan { effort, fixes_sampling: true, ..thinking }
        }
        Thinking::ReasoningConfig => {
            let word = effort.word(Effort::High);
            let config = json!({ "type": "enabled", "maxReasoningEffort": word });
            // At its highest the model sets all else itself, and refuses to be told.
            let is_highest = word == "high";
            Plan {
                fixes_sampling: is_highest,
                fixes_length: is_highest,
                ..told("reasoningConfig", config)
            }
        }
        Thinking::ReasoningEffort => told("reasoning_effort", json!(effort.word(Effort::High))),
    })
}

/// Whether the client asks for thinking at all.
pub(super) fn is_wanted(generation: &Generation) -> bool {
    matches!(wish(generation), Ok(Wish::Budget(_)))
        || generation.effort.is_some_and(|effort| effort > Effort::Minimal)
}

fn wish(generation: &Generation) -> Result<Wish, Failure> {
    let Some(thinking) = generation.extra.get("thinking").filter(|said| !said.is_null()) else {
        let budget = generation.thinking_budget.map(Wish::Budget);
        let effort = generation.effort.map_or(Wish::Nothing, Wish::Effort);
        return Ok(budget.unwrap_or(effort));
    };
    let budget = thinking["budget_tokens"].as_u64();
    match (thinking["type"].as_str(), budget) {
        (Some("disabled"), _) => Ok(Wish::Off),
        (Some("adaptive"), _) => Ok(Wish::Effort(generation.effort.unwrap_or(Effort::High))),
        (Some("enabled"), Some(tokens)) => {
            Ok(Wish::Budget(u32::try_from(tokens).unwrap_or(u32::MAX)))
        }
        _ => Err(Failure::bad_field(
            "thinking",
            "thinking must be of type \"enabled\" with budget_tokens, \"adaptive\" or \"disabled\"",
        )),
    }
}

/// How much thinking is to be spent.
#[derive(Debug, Clone, Copy)]
enum Spent {
    Tokens(u32),
    Effort(Effort),
}

impl Spent {
    fn tokens(self) -> u32 {
        match self {
            Self::Tokens(tokens) => tokens,
            Self::Effort(Effort::None | Effort::Minimal | Effort::Low) => 1_024,
            Self::Effort(Effort::Medium) => 2_048,
            Self::Effort(Effort::High) => 4_096,
            Self::Effort(Effort::XHigh) => 8_192,
            Self::Effort(Effort::Max) => 16_384,
        }
    }

    /// The word for it, up to the highest that the family has.
    fn word(self, highest: Effort) -> &'static str {
        let effort = match self {
            Self::Effort(effort) => effort,
            Self::Tokens(..=1_535) => Effort::Low,
            Self::Tokens(..=3_071) => Effort::Medium,
            Self::Tokens(_) => Effort::High,
        };
        match effort.min(highest) {
            Effort::None | Effort::Minimal | Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::XHigh => "xhigh",
            Effort::Max => "max",
        }
    }
}

fn told(member: &str, value: Value) -> Plan {
    let fields = Map::from_iter([(member.to_owned(), value)]);
    Plan { is_on: true, fields, ..Plan::default() }
}

fn does_not_think(family: &Family, generation: &Generation) -> Failure {
    let said_thinking = generation.extra.get("thinking").is_some_and(|said| !said.is_null());
    let said_thinking = said_thinking || generation.thinking_budget.is_some();
    let param = if said_thinking { "thinking" } else { "reasoning_effort" };
    let message = match family.is_known() {
        true => format!("this model does not think before it answers; leave {param} out"),
        false => format!(
            "whether this model thinks is not known here; leave {param} out, or name the \
             foundation_model behind it in the broker's configuration"
        ),
    };
    Failure::new(FailureKind::UnsupportedParameter, message).at(param)
}

#[cfg(test)]
mod tests {
    use super::super::families;
    use super::*;

    const BUDGET: &str = "us.anthropic.claude-sonnet-4-20250514-v1:0";
    const ADAPTIVE: &str = "us.anthropic.claude-opus-4-6-v1";

    fn effort(effort: Effort) -> Generation {
        Generation { effort: Some(effort), ..Generation::default() }
    }

    fn thinking(said: Value) -> Generation {
        let extra = Map::from_iter([("thinking".to_owned(), said)]);
        Generation { extra, ..Generation::default() }
    }

    fn planned(model: &str, generation: &Generation) -> Plan {
        plan(families::of(model), generation, false).unwrap()
    }

    #[test]
    fn an_effort_is_a_budget_that_leaves_room_for_the_answer() {
        let plan = planned(BUDGET, &effort(Effort::Medium));
        assert_eq!(plan.fields["thinking"], json!({"type": "enabled", "budget_tokens": 2048}));
        assert_eq!(plan.max_tokens(Some(100)), Some(2148));
        assert_eq!(plan.max_tokens(Some(2048)), Some(4096));
        assert_eq!(plan.max_tokens(Some(4000)), Some(4000));
        assert_eq!(plan.max_tokens(None), Some(2048 + ANSWER_TOKENS));
        assert!(plan.fixes_sampling);
    }

    #[test]
    fn every_family_is_told_in_its_own_words() {
        let high = effort(Effort::High);
        let plan = planned(ADAPTIVE, &effort(Effort::Max));
        assert_eq!(
            (plan.fields["thinking"]["type"].as_str(), plan.effort),
            (Some("adaptive"), Some("max"))
        );
        let plan = planned("us.amazon.nova-2-lite-v1:0", &high);
        assert_eq!(plan.fields["reasoningConfig"]["maxReasoningEffort"], "high");
        assert_eq!(plan.max_tokens(Some(50)), None);
        let plan = planned("openai.gpt-oss-20b-1:0", &effort(Effort::Max));
        assert_eq!(plan.fields["reasoning_effort"], "high");
        assert_eq!(plan.max_tokens(Some(50)), Some(50));
    }

    #[test]
    fn what_is_not_asked_for_is_not_told() {
        for model in [BUDGET, ADAPTIVE, "us.amazon.nova-2-lite-v1:0", "meta.llama4-scout"] {
            assert_eq!(planned(model, &Generation::default()), Plan::default(), "{model}");
            assert_eq!(planned(model, &effort(Effort::None)), Plan::default(), "{model}");
        }
    }

    #[test]
    fn a_model_that_does_not_think_says_so() {
        let family = families::of("amazon.nova-lite-v1:0");
        let failure = plan(family, &effort(Effort::High), false).unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("reasoning_effort"));
        assert!(plan(family, &effort(Effort::Minimal), false).is_ok());
        let always = plan(families::of("us.deepseek.r1-v1:0"), &effort(Effort::High), false);
        assert_eq!(always.unwrap(), Plan::default());
    }

    #[test]
    fn a_model_that_nobody_knows_is_to_be_named_in_the_settings() {
        let arn = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc123";
        let failure = plan(families::of(arn), &effort(Effort::High), false).unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("reasoning_effort"));
        assert!(failure.message.contains("foundation_model"), "{}", failure.message);
    }

    #[test]
    fn a_budget_of_another_dialect_is_taken_as_it_is() {
        let generation = Generation { thinking_budget: Some(3_000), ..effort(Effort::Low) };
        assert_eq!(planned(BUDGET, &generation).budget, Some(3_000));
        let family = families::of("amazon.nova-lite-v1:0");
        let failure = plan(family, &generation, false).unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("thinking"));
    }

    #[test]
    fn thinking_may_be_spelled_as_claude_spells_it() {
        let exact = thinking(json!({"type": "enabled", "budget_tokens": 3000}));
        assert_eq!(planned(BUDGET, &exact).budget, Some(3000));
        assert_eq!(planned(ADAPTIVE, &exact).effort, Some("medium"));
        let little = thinking(json!({"type": "enabled", "budget_tokens": 5}));
        assert_eq!(planned(BUDGET, &little).budget, Some(SMALLEST_BUDGET));
        assert_eq!(planned(BUDGET, &thinking(json!({"type": "disabled"}))), Plan::default());
        let nonsense = thinking(json!({"type": "enabled"}));
        let failure = plan(families::of(BUDGET), &nonsense, false).unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("thinking"));
    }

    #[test]
    fn a_request_that_cannot_be_had_with_thinking_is_had_without() {
        let family = families::of(BUDGET);
        assert_eq!(plan(family, &effort(Effort::High), true).unwrap(), Plan::default());
    }
}
