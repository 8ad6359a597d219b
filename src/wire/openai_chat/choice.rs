//! `tool_choice`, and the older `function_call`: which of the tools may or must be called.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Unexpected, Visitor};

use crate::turn::{Failure, FailureKind, Tool, ToolChoice};
use crate::wire::body::wrong;
use crate::wire::bounded::AtMost;

use super::tools::{MAX_TOOLS, Offered};

/// A choice as sent.
#[derive(Debug)]
pub(super) enum Choice {
    Auto,
    None,
    Required,
    /// This one must be called.
    Named(String),
    /// Only these may be, or one of them must be.
    Allowed {
        must: bool,
        names: Vec<String>,
    },
    /// A tool of a kind that is not offered here.
    OtherKind,
}

impl Choice {
    /// Settles the choice among the tools that are offered; `member` is where it stands.
    ///
    /// # Errors
    /// [`FailureKind::BadRequest`] where the choice is not among them.
    pub(super) fn among(self, member: &str, mut tools: Vec<Tool>) -> Result<Offered, Failure> {
        let is_there = |name: &String| tools.iter().any(|tool| tool.name == *name);
        let must_call = match &self {
            Self::Auto | Self::None => false,
            Self::Required | Self::Named(_) => true,
            Self::Allowed { must, .. } => *must,
            Self::OtherKind => {
                let message = format!("{member} must name a function: other tools are not called");
                let failure = Failure::new(FailureKind::UnsupportedParameter, message);
                return Err(failure.at(member.to_owned()));
            }
        };
        if must_call && tools.is_empty() {
            return Err(wrong(member, "asks for a call, but no tools are offered"));
        }
        let choice = match self {
            Self::Auto => ToolChoice::Auto,
            Self::None => ToolChoice::None,
            Self::Required => ToolChoice::Required,
            Self::Named(name) if is_there(&name) => ToolChoice::Named(name),
            Self::Allowed { must, names } if names.iter().all(is_there) => {
                tools.retain(|tool| names.contains(&tool.name));
                match (must, tools.is_empty()) {
                    (true, true) => return Err(wrong(member, "allows no tool, but asks for one")),
                    (true, false) => ToolChoice::Required,
                    (false, _) => ToolChoice::Auto,
                }
            }
            Self::Named(_) | Self::Allowed { .. } | Self::OtherKind => {
                return Err(wrong(member, "must name tools that are offered"));
            }
        };
        Ok(Offered { tools, choice })
    }
}

/// The object forms: of `tool_choice` by its type, of `function_call` with the name alone.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct SentChoice {
    r#type: Option<String>,
    function: Option<Named>,
    allowed_tools: Option<AllowedTools>,
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Named {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct AllowedTools {
    mode: Option<String>,
    tools: AtMost<SentChoice, MAX_TOOLS>,
}

impl SentChoice {
    fn into_choice(self) -> Result<Choice, &'static str> {
        match self.r#type.as_deref() {
            None | Some("function") => {
                let name = self.function.map(|function| function.name).or(self.name);
                name.map(Choice::Named).ok_or("must name a function")
            }
            Some("allowed_tools") => {
                let allowed = self.allowed_tools.ok_or("must have allowed_tools")?;
                allowed.into_choice()
            }
            Some("auto") => Ok(Choice::Auto),
            Some("none") => Ok(Choice::None),
            Some("required") => Ok(Choice::Required),
            Some(_) => Ok(Choice::OtherKind),
        }
    }
}

impl AllowedTools {
    fn into_choice(self) -> Result<Choice, &'static str> {
        let must = match self.mode.as_deref() {
            None | Some("auto") => false,
            Some("required") => true,
            Some(_) => return Err("must have the mode auto or required"),
        };
        let names = self.tools.0.into_iter().map(|tool| match tool.into_choice()? {
            Choice::Named(name) => Ok(name),
            _ => Err("must name functions"),
        });
        Ok(Choice::Allowed { must, names: names.collect::<Result<_, _>>()? })
    }
}

impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(ChoiceVisitor)
    }
}

struct ChoiceVisitor;

impl<'de> Visitor<'de> for ChoiceVisitor {
    type Value = Choice;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("none, auto, required or an object that names a tool")
    }

    fn visit_str<E: Error>(self, choice: &str) -> Result<Choice, E> {
        match choice {
            "none" => Ok(Choice::None),
            "auto" => Ok(Choice::Auto),
            "required" => Ok(Choice::Required),
            other => Err(E::invalid_value(Unexpected::Str(other), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Choice, A::Error> {
        let sent = SentChoice::deserialize(MapAccessDeserializer::new(members))?;
        sent.into_choice().map_err(A::Error::custom)
    }
}
