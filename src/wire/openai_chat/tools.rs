//! The tools that a chat request offers: `tools`, and the older `functions`.
//!
//! Only functions: a custom tool takes free text, and nobody behind the broker calls one. The
//! choice among them stays with the agent, but `none` takes the offer back.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Unexpected, Visitor};
use serde_json::value::RawValue;

use crate::turn::{Failure, FailureKind, Tool};
use crate::wire::body::wrong;
use crate::wire::bounded::{Allowance, AtMost};

/// Tools in one request, by OpenAI's rule for both lists.
const MAX_TOOLS: usize = 128;
/// Characters in the name of a function, by OpenAI's rule.
const LONGEST_NAME: usize = 64;

/// `tools` as sent.
pub(super) type Tools<'a> = AtMost<SentTool<'a>, MAX_TOOLS>;
/// `functions` as sent.
pub(super) type Functions<'a> = AtMost<SentFunction<'a>, MAX_TOOLS>;

/// One entry of `tools`.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct SentTool<'a> {
    r#type: Option<String>,
    #[serde(borrow)]
    function: Option<SentFunction<'a>>,
}

/// One entry of `functions`, or the member of a tool that tells the function.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct SentFunction<'a> {
    name: Option<String>,
    description: Option<String>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

/// `tool_choice` and `function_call`: whether the offer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// `none`.
    Withdrawn,
    /// Anything else: the agent decides by itself.
    Open,
}

/// The members of a request that offer tools.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    pub(super) tools: Option<Tools<'a>>,
    pub(super) tool_choice: Option<Choice>,
    pub(super) functions: Option<Functions<'a>>,
    pub(super) function_call: Option<Choice>,
}

impl Offer<'_> {
    /// The tools in our own vocabulary; what is withdrawn is checked all the same.
    ///
    /// # Errors
    /// [`FailureKind::BadRequest`] at the member at fault, [`FailureKind::UnsupportedParameter`]
    /// at the type of a tool that is no function.
    pub(super) fn into_tools(self, allowance: &mut Allowance) -> Result<Vec<Tool>, Failure> {
        let mut tools = Vec::new();
        for (index, tool) in self.tools.into_iter().flat_map(|list| list.0).enumerate() {
            let at = format!("tools[{index}]");
            let function = tool.into_function(&at)?;
            tools.push(function.into_tool(&format!("{at}.function"), allowance)?);
        }
        let mut functions = Vec::new();
        for (index, function) in self.functions.into_iter().flat_map(|list| list.0).enumerate() {
            functions.push(function.into_tool(&format!("functions[{index}]"), allowance)?);
        }
        if tools.len() + functions.len() > MAX_TOOLS {
            let message = format!("tools and functions must be at most {MAX_TOOLS} together");
            return Err(Failure::bad_field("functions", message));
        }
        if self.tool_choice == Some(Choice::Withdrawn) {
            tools.clear();
        }
        if self.function_call != Some(Choice::Withdrawn) {
            tools.append(&mut functions);
        }
        check_that_names_differ(&tools)?;
        Ok(tools)
    }
}

impl<'a> SentTool<'a> {
    fn into_function(self, at: &str) -> Result<SentFunction<'a>, Failure> {
        if self.r#type.as_deref().is_some_and(|kind| kind != "function") {
            let param = format!("{at}.type");
            let message = format!("{param} must be function: other tools are not called");
            return Err(Failure::new(FailureKind::UnsupportedParameter, message).at(param));
        }
        self.function.ok_or_else(|| wrong(format!("{at}.function"), "is required"))
    }
}

impl SentFunction<'_> {
    fn into_tool(self, at: &str, allowance: &mut Allowance) -> Result<Tool, Failure> {
        let name = self.name.filter(|name| is_function_name(name)).ok_or_else(|| {
            let rule = format!("must be 1 to {LONGEST_NAME} characters of [a-zA-Z0-9_-]");
            wrong(format!("{at}.name"), &rule)
        })?;
        let parameters = self.parameters.map(|raw| allowance.object(raw)).transpose();
        let parameters = parameters.map_err(|why| wrong(format!("{at}.parameters"), why))?;
        Ok(Tool { name, description: self.description, parameters })
    }
}

fn is_function_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// A call names its tool, so no two can have one name.
fn check_that_names_differ(tools: &[Tool]) -> Result<(), Failure> {
    let mut names = HashSet::with_capacity(tools.len());
    if tools.iter().all(|tool| names.insert(&tool.name)) {
        return Ok(());
    }
    Err(Failure::bad_field("tools", "tools must differ in their names: a call names its tool"))
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
            "none" => Ok(Choice::Withdrawn),
            "auto" | "required" => Ok(Choice::Open),
            other => Err(E::invalid_value(Unexpected::Str(other), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Choice, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Choice::Open)
    }
}
