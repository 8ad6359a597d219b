//! How the answer is to be made, as a request says it.
//!
//! Ranges are OpenAI's. What a particular model makes of a value within them is its upstream's
//! to say.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::turn::request::named;
use crate::turn::{AnswerFormat, Effort, Failure, Generation, JsonSchema};
use crate::wire::asking::within;
use crate::wire::body::wrong;
use crate::wire::bounded::Allowance;
use crate::wire::json_schema;
use crate::wire::whole::Whole;

/// The shortest limit that there is.
const SHORTEST: i64 = 16;
/// Characters in the name of a service tier.
const LONGEST_TIER: usize = 64;
/// Characters in the name of a schema.
const LONGEST_NAME: usize = 64;

/// The members, as sent.
#[derive(Debug)]
pub(super) struct Making<'a> {
    pub(super) max_output_tokens: Option<Whole>,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) parallel_tool_calls: Option<bool>,
    pub(super) service_tier: Option<String>,
    pub(super) text: Option<Text<'a>>,
    pub(super) reasoning: Option<Reasoning>,
}

/// `text`, as sent.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Text<'a> {
    #[serde(borrow)]
    format: Option<Format<'a>>,
    verbosity: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Format<'a> {
    r#type: Option<String>,
    name: Option<String>,
    description: Option<String>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    strict: Option<bool>,
}

/// `reasoning`, as sent.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Reasoning {
    effort: Option<String>,
    summary: Option<String>,
    /// The older name of `summary`.
    generate_summary: Option<String>,
}

impl Making<'_> {
    /// Puts the members into a generation, and into what the answer repeats. Says whether
    /// thinking is wanted as a summary.
    ///
    /// # Errors
    /// [`FailureKind::BadRequest`](crate::turn::FailureKind) at the member at fault.
    pub(super) fn fill(
        self,
        allowance: &mut Allowance,
        generation: &mut Generation,
        shown: &mut Map<String, Value>,
    ) -> Result<bool, Failure> {
        generation.max_tokens = max_tokens(self.max_output_tokens)?;
        generation.temperature = within(("temperature", self.temperature), 0.0..=2.0)?;
        generation.top_p = within(("top_p", self.top_p), 0.0..=1.0)?;
        generation.parallel_tool_calls = self.parallel_tool_calls;
        generation.service_tier = self.service_tier.map(tier).transpose()?;
        let mut show = |name: &str, value: Value| shown.insert(name.to_owned(), value);
        show("max_output_tokens", json!(generation.max_tokens));
        show("temperature", json!(generation.temperature));
        show("top_p", json!(generation.top_p));
        show("parallel_tool_calls", json!(self.parallel_tool_calls.unwrap_or(true)));
        show("service_tier", json!(generation.service_tier));
        if let Some(text) = self.text {
            show("text", text.fill(allowance, generation)?);
        }
        let Reasoning { effort, summary, generate_summary } = self.reasoning.unwrap_or_default();
        generation.effort = effort.as_deref().map(effort_of).transpose()?;
        let summary = summary.or(generate_summary);
        if !matches!(summary.as_deref(), None | Some("auto" | "concise" | "detailed")) {
            return Err(wrong("reasoning.summary", "must be auto, concise or detailed"));
        }
        show("reasoning", json!({ "effort": effort, "summary": summary }));
        Ok(summary.is_some())
    }
}

impl Text<'_> {
    /// Puts the shape of the answer into a generation, and returns the member as it is repeated.
    fn fill(
        self,
        allowance: &mut Allowance,
        generation: &mut Generation,
    ) -> Result<Value, Failure> {
        if let Some(format) = self.format {
            generation.format = format.into_format(allowance)?;
        }
        let format = match &generation.format {
            AnswerFormat::Text => json!({ "type": "text" }),
            AnswerFormat::JsonObject => json!({ "type": "json_object" }),
            AnswerFormat::JsonSchema(schema) => {
                let mut shown = json!({
                    "type": "json_schema",
                    "name": schema.name,
                    "schema": schema.schema,
                    "strict": schema.strict,
                });
                // The schema has it as a string only.
                if let Some(description) = &schema.description {
                    shown["description"] = json!(description);
                }
                shown
            }
        };
        let mut shown = json!({ "format": format });
        match self.verbosity.as_deref() {
            None => {}
            Some(verbosity @ ("low" | "medium" | "high")) => {
                shown["verbosity"] = json!(verbosity);
                generation.extra.insert("verbosity".to_owned(), json!(verbosity));
            }
            Some(_) => return Err(wrong("text.verbosity", "must be low, medium or high")),
        }
        Ok(shown)
    }
}

impl Format<'_> {
    fn into_format(self, allowance: &mut Allowance) -> Result<AnswerFormat, Failure> {
        match self.r#type.as_deref() {
            None => Err(wrong("text.format.type", "is required")),
            Some("text") => Ok(AnswerFormat::Text),
            Some("json_object") => Ok(AnswerFormat::JsonObject),
            Some("json_schema") => self.into_schema(allowance).map(AnswerFormat::JsonSchema),
            Some(_) => Err(wrong("text.format.type", "must be text, json_object or json_schema")),
        }
    }

    fn into_schema(self, allowance: &mut Allowance) -> Result<JsonSchema, Failure> {
        let refused = |member: &str, why: &str| wrong(format!("text.format.{member}"), why);
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let is_name = |name: &String| {
            (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_allowed)
        };
        let name = self
            .name
            .filter(is_name)
            .ok_or_else(|| refused("name", "must be 1 to 64 characters of [a-zA-Z0-9_-]"))?;
        let raw = self.schema.ok_or_else(|| refused("schema", "is required"))?;
        let schema = allowance.object(raw).map_err(|why| refused("schema", why))?;
        json_schema::check(&schema).map_err(|(at, why)| refused(&format!("schema{at}"), why))?;
        let strict = self.strict.unwrap_or(false);
        Ok(JsonSchema { name, description: self.description, schema, strict })
    }
}

fn max_tokens(sent: Option<Whole>) -> Result<Option<u32>, Failure> {
    match sent {
        None => Ok(None),
        Some(Whole(count)) if count < SHORTEST => {
            Err(wrong("max_output_tokens", &format!("must be {SHORTEST} or more")))
        }
        Some(Whole(count)) => Ok(Some(u32::try_from(count).unwrap_or(u32::MAX))),
    }
}

fn effort_of(name: &str) -> Result<Effort, Failure> {
    named(Effort::NAMES, name).ok_or_else(|| {
        let known: Vec<_> = Effort::NAMES.iter().map(|(known, _)| *known).collect();
        wrong("reasoning.effort", &format!("must be one of {}", known.join(", ")))
    })
}

fn tier(name: String) -> Result<String, Failure> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if (1..=LONGEST_TIER).contains(&name.len()) && name.bytes().all(is_name) {
        return Ok(name);
    }
    Err(wrong("service_tier", "must be the name of a tier, such as auto, default or flex"))
}
