//! The tools that a chat request offers: `tools`, and the older `functions`.
//!
//! Only functions: a custom tool takes free text, and nobody behind the broker calls one. What is
//! chosen among them goes along as [`ToolChoice`]; agents decide by themselves, but for `none`.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::turn::{Failure, FailureKind, Tool, ToolChoice};
use crate::wire::body::wrong;
use crate::wire::bounded::{Allowance, AtMost};
use crate::wire::cache_mark::CacheMark;
use crate::wire::json_schema;

pub(super) use super::choice::Choice;

/// Tools in one request, by OpenAI's rule for both lists.
pub(super) const MAX_TOOLS: usize = 128;
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
    cache_control: Option<CacheMark>,
}

/// One entry of `functions`, or the member of a tool that tells the function.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct SentFunction<'a> {
    name: Option<String>,
    description: Option<String>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    strict: Option<bool>,
    cache_control: Option<CacheMark>,
}

/// The members of a request that offer tools.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    pub(super) tools: Option<Tools<'a>>,
    pub(super) tool_choice: Option<Choice>,
    pub(super) functions: Option<Functions<'a>>,
    pub(super) function_call: Option<Choice>,
}

/// The tools in our own vocabulary, and what is chosen among them.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) tools: Vec<Tool>,
    pub(super) choice: ToolChoice,
}

impl Offer<'_> {
    /// Reads the offer and settles the choice.
    ///
    /// Where both lists are there, the choice made for `tools` counts, and `none` for one of
    /// them withdraws that list alone.
    ///
    /// # Errors
    /// [`FailureKind::BadRequest`] at the member at fault, [`FailureKind::UnsupportedParameter`]
    /// at the type of a tool that is no function.
    pub(super) fn into_tools(self, allowance: &mut Allowance) -> Result<Offered, Failure> {
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
        let is_none = |choice: &Option<Choice>| matches!(choice, Some(Choice::None));
        if is_none(&self.tool_choice) && !functions.is_empty() && !is_none(&self.function_call) {
            tools.clear();
        }
        if is_none(&self.function_call) && !tools.is_empty() && !is_none(&self.tool_choice) {
            functions.clear();
        }
        let (member, choice) = if tools.is_empty() && !functions.is_empty() {
            ("function_call", self.function_call)
        } else {
            ("tool_choice", self.tool_choice)
        };
        tools.append(&mut functions);
        check_that_names_differ(&tools)?;
        match choice {
            Some(choice) => choice.among(member, tools),
            None => Ok(Offered { tools, choice: ToolChoice::Auto }),
        }
    }
}

impl<'a> SentTool<'a> {
    fn into_function(self, at: &str) -> Result<SentFunction<'a>, Failure> {
        if self.r#type.as_deref().is_some_and(|kind| kind != "function") {
            let param = format!("{at}.type");
            let message = format!("{param} must be function: other tools are not called");
            return Err(Failure::new(FailureKind::UnsupportedParameter, message).at(param));
        }
        let function =
            self.function.ok_or_else(|| wrong(format!("{at}.function"), "is required"))?;
        let cache_control = self.cache_control.or(function.cache_control);
        Ok(SentFunction { cache_control, ..function })
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
        if let Some(schema) = &parameters {
            json_schema::check(schema)
                .map_err(|(within, why)| wrong(format!("{at}.parameters{within}"), why))?;
        }
        let (description, strict) = (self.description, self.strict);
        let cache = self.cache_control.map(|mark| mark.0);
        Ok(Tool { name, description, parameters, strict, cache })
    }
}

/// Whether a text may name a function, or a schema: OpenAI has one rule for both.
pub(super) fn is_function_name(name: &str) -> bool {
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
