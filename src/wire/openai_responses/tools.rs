//! The tools that a request offers, and the choice among them; both flat, unlike the chat's.
//!
//! Functions go along as they are. A custom tool takes free text, which no backend knows: it is
//! offered as a function whose one argument is that text. A grammar for the text cannot be
//! enforced that way, so it is refused. Tools that OpenAI itself runs are nobody's here.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::turn::{Failure, FailureKind, Tool, ToolChoice, TurnRequest};
use crate::wire::asking::{self, MAX_TOOLS};
use crate::wire::body::{self, wrong};
use crate::wire::bounded::{Allowance, AtMost};
use crate::wire::json_schema;

/// The argument that holds what is said to a custom tool.
pub(super) const FREE_TEXT: &str = "input";

/// `tools` as sent.
pub(super) type Tools<'a> = AtMost<SentTool<'a>, MAX_TOOLS>;

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct SentTool<'a> {
    r#type: Option<String>,
    name: Option<String>,
    description: Option<String>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    strict: Option<bool>,
    #[serde(borrow)]
    format: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct TextFormat {
    r#type: Option<String>,
}

/// What was offered: for the turn, and for the answer to repeat.
#[derive(Debug, Default)]
pub(super) struct Offered {
    /// The names of the custom ones.
    pub(super) custom: Vec<String>,
    /// `tools` of the response.
    pub(super) shown: Vec<Value>,
    /// `tool_choice` of the response.
    pub(super) choice_shown: Value,
}

/// Puts the tools and the choice into a request.
///
/// # Errors
/// [`FailureKind::BadRequest`] at the member at fault, [`FailureKind::UnsupportedParameter`] for
/// a tool that is neither a function nor custom.
pub(super) fn fill(
    tools: Option<Tools<'_>>,
    choice: Option<&RawValue>,
    allowance: &mut Allowance,
    request: &mut TurnRequest,
) -> Result<Offered, Failure> {
    let mut offered = Offered::default();
    let mut taken = Vec::new();
    for (index, tool) in tools.into_iter().flat_map(|list| list.0).enumerate() {
        let at = format!("tools[{index}]");
        taken.push(tool.take(&at, allowance, &mut offered)?);
    }
    let choice = choice.map(SentChoice::read).transpose()?;
    offered.choice_shown = choice.as_ref().map_or_else(|| json!("auto"), SentChoice::shown);
    let choice = choice.unwrap_or(SentChoice::Auto).among(&mut taken)?;
    asking::offer(request, taken, choice, ("tools", "tool_choice"))?;
    Ok(offered)
}

impl SentTool<'_> {
    fn take(
        self,
        at: &str,
        allowance: &mut Allowance,
        offered: &mut Offered,
    ) -> Result<Tool, Failure> {
        match self.r#type.as_deref() {
            Some("function") => self.into_function(at, allowance, offered),
            Some("custom") => self.into_custom(at, allowance, offered),
            Some(other) => Err(hosted(format!("{at}.type"), other)),
            None => Err(wrong(format!("{at}.type"), "is required")),
        }
    }

    fn into_function(
        self,
        at: &str,
        allowance: &mut Allowance,
        offered: &mut Offered,
    ) -> Result<Tool, Failure> {
        let texts = (self.name, self.description);
        let tool = asking::tool(at, texts, ("parameters", self.parameters), allowance)?;
        if let Some(schema) = &tool.parameters {
            json_schema::check(schema)
                .map_err(|(within, why)| wrong(format!("{at}.parameters{within}"), why))?;
        }
        offered.shown.push(json!({
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
            "strict": self.strict,
        }));
        Ok(tool)
    }

    fn into_custom(
        self,
        at: &str,
        allowance: &mut Allowance,
        offered: &mut Offered,
    ) -> Result<Tool, Failure> {
        if let Some(raw) = self.format {
            let param = format!("{at}.format");
            let format: TextFormat = body::read_at(raw, &param)?;
            if format.r#type.as_deref() != Some("text") {
                let message = format!("{param} must be text: a grammar cannot be enforced");
                return Err(Failure::new(FailureKind::UnsupportedParameter, message).at(param));
            }
        }
        let tool = asking::tool(at, (self.name, self.description), ("", None), allowance)?;
        let mut shown = Map::new();
        shown.insert("type".to_owned(), json!("custom"));
        shown.insert("name".to_owned(), json!(tool.name));
        if let Some(description) = &tool.description {
            shown.insert("description".to_owned(), json!(description));
        }
        shown.insert("format".to_owned(), json!({ "type": "text" }));
        offered.shown.push(Value::Object(shown));
        offered.custom.push(tool.name.clone());
        let parameters = Some(json!({
            "type": "object",
            "properties": { FREE_TEXT: { "type": "string" } },
            "required": [FREE_TEXT],
            "additionalProperties": false,
        }));
        Ok(Tool { parameters, ..tool })
    }
}

/// A refusal of what only OpenAI's own service runs.
fn hosted(param: String, kind: &str) -> Failure {
    let shown: String = kind.chars().filter(|c| !c.is_control()).take(40).collect();
    let message = format!("{param}: nobody here runs tools of type \"{shown}\"; offer functions");
    Failure::new(FailureKind::UnsupportedParameter, message).at(param)
}

/// `tool_choice` as sent.
#[derive(Debug)]
enum SentChoice {
    Auto,
    None,
    Required,
    Named(SentName),
    Allowed { must: bool, names: Vec<SentName> },
}

/// A tool by its name; `kind` is function or custom.
#[derive(Debug)]
struct SentName {
    kind: String,
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "none, auto, required or an object that names a tool")]
struct ChoiceBody<'a> {
    r#type: Option<String>,
    name: Option<String>,
    mode: Option<String>,
    #[serde(borrow)]
    tools: Option<AtMost<&'a RawValue, MAX_TOOLS>>,
}

const CHOICE: &str = "tool_choice";

impl SentChoice {
    fn read(raw: &RawValue) -> Result<Self, Failure> {
        if let Ok(word) = serde_json::from_str::<String>(raw.get()) {
            return match word.as_str() {
                "auto" => Ok(Self::Auto),
                "none" => Ok(Self::None),
                "required" => Ok(Self::Required),
                _ => Err(wrong(CHOICE, "must be none, auto, required or name a tool")),
            };
        }
        let body: ChoiceBody<'_> = body::read_at(raw, CHOICE)?;
        if body.r#type.as_deref() != Some("allowed_tools") {
            return body.into_name(CHOICE).map(Self::Named);
        }
        let must = match body.mode.as_deref() {
            None | Some("auto") => false,
            Some("required") => true,
            Some(_) => return Err(wrong("tool_choice.mode", "must be auto or required")),
        };
        let named = body.tools.ok_or_else(|| wrong("tool_choice.tools", "is required"))?;
        let names = named.0.iter().enumerate().map(|(index, raw)| {
            let at = format!("tool_choice.tools[{index}]");
            body::read_at::<ChoiceBody<'_>>(raw, &at)?.into_name(&at)
        });
        Ok(Self::Allowed { must, names: names.collect::<Result<_, _>>()? })
    }

    /// As the answer repeats it.
    fn shown(&self) -> Value {
        match self {
            Self::Auto => json!("auto"),
            Self::None => json!("none"),
            Self::Required => json!("required"),
            Self::Named(named) => named.shown(),
            Self::Allowed { must, names } => {
                let mode = if *must { "required" } else { "auto" };
                let tools: Value = names.iter().map(SentName::shown).collect();
                json!({ "type": "allowed_tools", "mode": mode, "tools": tools })
            }
        }
    }

    /// The choice, and of the tools those that may be called.
    fn among(self, tools: &mut Vec<Tool>) -> Result<ToolChoice, Failure> {
        let (must, names) = match self {
            Self::Auto => return Ok(ToolChoice::Auto),
            Self::None => return Ok(ToolChoice::None),
            Self::Required => return Ok(ToolChoice::Required),
            Self::Named(SentName { name, .. }) => return Ok(ToolChoice::Named(name)),
            Self::Allowed { must, names } => (must, names),
        };
        let is_there = |named: &SentName| tools.iter().any(|tool| tool.name == named.name);
        if let Some(index) = names.iter().position(|named| !is_there(named)) {
            let param = format!("tool_choice.tools[{index}]");
            return Err(wrong(param, "names a tool that is not offered"));
        }
        tools.retain(|tool| names.iter().any(|named| named.name == tool.name));
        Ok(if must { ToolChoice::Required } else { ToolChoice::Auto })
    }
}

impl ChoiceBody<'_> {
    fn into_name(self, at: &str) -> Result<SentName, Failure> {
        match self.r#type {
            Some(kind) if kind == "function" || kind == "custom" => match self.name {
                Some(name) => Ok(SentName { kind, name }),
                None => Err(wrong(format!("{at}.name"), "is required")),
            },
            Some(other) => Err(hosted(format!("{at}.type"), &other)),
            None => Err(wrong(format!("{at}.type"), "is required")),
        }
    }
}

impl SentName {
    fn shown(&self) -> Value {
        json!({ "type": self.kind, "name": self.name })
    }
}
