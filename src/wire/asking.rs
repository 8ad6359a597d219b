//! How an answer is to be made and which tools there are, as checked numbers and names: what the
//! formats beside OpenAI's ask in much the same way.

use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::turn::request::named;
use crate::turn::{Effort, Failure, Generation, Tool, ToolChoice, TurnRequest};

use super::body::wrong;
use super::bounded::{Allowance, AtMost};
use super::whole::Whole;

/// Tools in one request.
pub(super) const MAX_TOOLS: usize = 128;
/// Texts that end an answer: as many as Converse takes.
const MAX_STOPS: usize = 2_500;
/// Characters in the name of a tool.
const LONGEST_NAME: usize = 64;
/// Characters of a text that says who speaks.
const LONGEST_SPEAKER: usize = 512;

/// The smallest budget for thinking that Claude takes.
const SMALLEST_BUDGET: i64 = 1_024;

/// Texts that end the answer, as sent.
pub(super) type Stops = AtMost<String, MAX_STOPS>;

/// Sampling and length, by the names that a format has for them.
#[derive(Debug)]
pub(super) struct Sampling {
    pub(super) max_tokens: (&'static str, Option<Whole>),
    pub(super) temperature: (&'static str, Option<f64>),
    pub(super) top_p: (&'static str, Option<f64>),
    pub(super) top_k: (&'static str, Option<Whole>),
    pub(super) stop: (&'static str, Option<Stops>),
}

impl Sampling {
    /// Checks it and puts it into a request.
    ///
    /// # Errors
    /// [`FailureKind::BadRequest`](crate::turn::FailureKind) at the member at fault.
    pub(super) fn fill(self, generation: &mut Generation) -> Result<(), Failure> {
        generation.max_tokens = count(self.max_tokens)?;
        generation.temperature = within(self.temperature, 0.0..=1.0)?;
        generation.top_p = within(self.top_p, 0.0..=1.0)?;
        generation.top_k = count(self.top_k)?;
        let (param, stops) = self.stop;
        let stops = stops.map(|stops| stops.0).unwrap_or_default();
        if let Some(index) = stops.iter().position(String::is_empty) {
            return Err(wrong(format!("{param}[{index}]"), "must not be empty"));
        }
        generation.stop = stops;
        Ok(())
    }
}

fn count((param, asked): (&'static str, Option<Whole>)) -> Result<Option<u32>, Failure> {
    let Some(Whole(number)) = asked else { return Ok(None) };
    let fits = u32::try_from(number).ok().filter(|number| *number > 0);
    fits.map(Some).ok_or_else(|| wrong(param, "must be 1 to 4294967295"))
}

/// A number, if it is there, within its range.
///
/// # Errors
/// [`FailureKind::BadRequest`](crate::turn::FailureKind) when it is beyond.
pub(super) fn within(
    (param, asked): (&'static str, Option<f64>),
    range: RangeInclusive<f64>,
) -> Result<Option<f64>, Failure> {
    match asked {
        Some(number) if !range.contains(&number) => {
            let why = format!("must be {} to {}", range.start(), range.end());
            Err(wrong(param, &why))
        }
        other => Ok(other),
    }
}

/// A tool, checked; `at` is its place in the request and `schema` the name of its schema there.
///
/// # Errors
/// [`FailureKind::BadRequest`](crate::turn::FailureKind) at the member at fault.
pub(super) fn tool(
    at: &str,
    (name, description): (Option<String>, Option<String>),
    (member, schema): (&str, Option<&RawValue>),
    allowance: &mut Allowance,
) -> Result<Tool, Failure> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let is_name =
        |name: &String| (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_allowed);
    let name = name.filter(is_name).ok_or_else(|| {
        let rule = format!("must be 1 to {LONGEST_NAME} characters of [a-zA-Z0-9_-]");
        wrong(format!("{at}.name"), &rule)
    })?;
    let parameters = schema.map(|raw| allowance.object(raw)).transpose();
    let parameters = parameters.map_err(|why| wrong(format!("{at}.{member}"), why))?;
    Ok(Tool { name, description, parameters, ..Tool::default() })
}

/// Puts tools and the choice among them into a request; `params` are the names of both there.
///
/// # Errors
/// [`FailureKind::BadRequest`](crate::turn::FailureKind) for two tools of one name, and for a
/// choice that there is not.
pub(super) fn offer(
    request: &mut TurnRequest,
    tools: Vec<Tool>,
    choice: ToolChoice,
    params: (&'static str, &'static str),
) -> Result<(), Failure> {
    let (tools_param, choice_param) = params;
    let mut names = HashSet::with_capacity(tools.len());
    if !tools.iter().all(|tool| names.insert(&tool.name)) {
        return Err(wrong(tools_param, "must differ in their names: a call names its tool"));
    }
    match &choice {
        ToolChoice::Named(name) if !names.contains(name) => {
            return Err(wrong(choice_param, "names a tool that is not offered"));
        }
        ToolChoice::Required if tools.is_empty() => {
            return Err(wrong(choice_param, "wants a call, and no tools are offered"));
        }
        ToolChoice::Auto | ToolChoice::None | ToolChoice::Required | ToolChoice::Named(_) => {}
    }
    request.tools = if choice == ToolChoice::None { Vec::new() } else { tools };
    request.generation.tool_choice = choice;
    Ok(())
}

/// Who speaks, if it is said.
///
/// # Errors
/// [`FailureKind::BadRequest`](crate::turn::FailureKind) when it is too long.
pub(super) fn speaker(param: &'static str, said: Option<&str>) -> Result<Option<String>, Failure> {
    let Some(said) = said.filter(|said| !said.is_empty()) else { return Ok(None) };
    if said.len() > LONGEST_SPEAKER && said.chars().count() > LONGEST_SPEAKER {
        return Err(wrong(param, &format!("must be at most {LONGEST_SPEAKER} characters")));
    }
    Ok(Some(said.to_owned()))
}

/// An id or a name, if it is there.
///
/// # Errors
/// [`FailureKind::BadRequest`](crate::turn::FailureKind) when it is none.
pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(
    param: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, Failure> {
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(|bad: T::Err| Failure::bad_field(param, format!("{param}: {bad}")))
}

/// How much to think, in Claude's spelling.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Thinking {
    r#type: String,
    budget_tokens: Option<Whole>,
    display: Option<String>,
}

impl Thinking {
    /// Checks it and puts it into a request whose length is known; `at` is its place there. An
    /// exact budget goes along for models that know budgets.
    ///
    /// # Errors
    /// [`FailureKind::BadRequest`](crate::turn::FailureKind) at the member at fault.
    pub(super) fn fill(self, at: &str, request: &mut TurnRequest) -> Result<(), Failure> {
        if self.display.as_deref() == Some("omitted") {
            request.wants_reasoning = request.wants_reasoning.or(Some(false));
        }
        let generation = &mut request.generation;
        match self.r#type.as_str() {
            "disabled" => generation.effort = Some(Effort::None),
            "adaptive" => generation.effort = generation.effort.or(Some(Effort::High)),
            "enabled" => {
                let param = format!("{at}.budget_tokens");
                let Some(Whole(budget)) = self.budget_tokens else {
                    return Err(wrong(param, "is required"));
                };
                let limit = generation.max_tokens.map_or(i64::MAX, i64::from);
                if budget < SMALLEST_BUDGET || budget >= limit {
                    let why = format!("must be at least {SMALLEST_BUDGET} and below the length");
                    return Err(wrong(param, &why));
                }
                generation.effort = Some(effort_of(budget));
                generation.thinking_budget = Some(u32::try_from(budget).unwrap_or(u32::MAX));
            }
            _ => {
                return Err(wrong(format!("{at}.type"), "must be enabled, adaptive or disabled"));
            }
        }
        Ok(())
    }
}

/// The effort that a budget stands for: the highest whose own budget it reaches.
fn effort_of(budget: i64) -> Effort {
    match budget {
        ..2_048 => Effort::Low,
        2_048..4_096 => Effort::Medium,
        4_096..8_192 => Effort::High,
        8_192..16_384 => Effort::XHigh,
        16_384.. => Effort::Max,
    }
}

/// An effort by its name: one at which a model thinks.
///
/// # Errors
/// [`FailureKind::BadRequest`](crate::turn::FailureKind) for a name that it is not.
pub(super) fn effort(param: &'static str, name: &str) -> Result<Effort, Failure> {
    let effort = named(Effort::NAMES, name).filter(|effort| *effort >= Effort::Low);
    effort.ok_or_else(|| wrong(param, "must be low, medium, high, xhigh or max"))
}
