//! How the answer is to be made, as a chat request says it: from its members to [`Generation`].
//!
//! Ranges are OpenAI's. What a particular model makes of a value within them is its upstream's
//! to say.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::turn::request::named;
use crate::turn::{AnswerFormat, Effort, Failure, Generation, JsonSchema};
use crate::wire::body::wrong;
use crate::wire::bounded::Allowance;
use crate::wire::json_schema;
use crate::wire::whole::Whole;

use super::tools::is_function_name;

/// Texts that may end an answer.
const MAX_STOPS: usize = 4;
/// Characters of one of them.
const LONGEST_STOP: usize = 256;
/// Characters in the name of a service tier.
const LONGEST_TIER: usize = 64;

/// The members, as sent.
#[derive(Debug, Default)]
pub(super) struct Making<'a> {
    pub(super) max_completion_tokens: Option<Whole>,
    pub(super) max_tokens: Option<Whole>,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) top_k: Option<Whole>,
    pub(super) stop: Option<Stop>,
    pub(super) seed: Option<Whole>,
    pub(super) frequency_penalty: Option<f64>,
    pub(super) presence_penalty: Option<f64>,
    pub(super) parallel_tool_calls: Option<bool>,
    pub(super) reasoning_effort: Option<String>,
    pub(super) service_tier: Option<String>,
    pub(super) response_format: Option<ResponseFormat<'a>>,
}

impl Making<'_> {
    /// The members in our own vocabulary, but for the choice of tools and what is passed on.
    ///
    /// # Errors
    /// [`FailureKind::BadRequest`](crate::turn::FailureKind) at the member at fault.
    pub(super) fn into_generation(self, allowance: &mut Allowance) -> Result<Generation, Failure> {
        let newer = positive("max_completion_tokens", self.max_completion_tokens)?;
        let older = positive("max_tokens", self.max_tokens)?;
        let penalty = |name, value| within(name, value, -2.0, 2.0);
        let format = self.response_format.map(|format| format.into_format(allowance));
        Ok(Generation {
            max_tokens: newer.or(older),
            temperature: within("temperature", self.temperature, 0.0, 2.0)?,
            top_p: within("top_p", self.top_p, 0.0, 1.0)?,
            top_k: positive("top_k", self.top_k)?,
            stop: self.stop.map(Stop::into_texts).transpose()?.unwrap_or_default(),
            seed: self.seed.map(|Whole(seed)| seed),
            frequency_penalty: penalty("frequency_penalty", self.frequency_penalty)?,
            presence_penalty: penalty("presence_penalty", self.presence_penalty)?,
            parallel_tool_calls: self.parallel_tool_calls,
            format: format.transpose()?.unwrap_or_default(),
            effort: self.reasoning_effort.map(|name| effort(&name)).transpose()?,
            service_tier: self.service_tier.map(tier).transpose()?,
            ..Generation::default()
        })
    }
}

/// A count of at least one; what is beyond the range counts as its end.
fn positive(name: &str, sent: Option<Whole>) -> Result<Option<u32>, Failure> {
    match sent {
        None => Ok(None),
        Some(Whole(count)) if count < 1 => Err(wrong(name, "must be 1 or more")),
        Some(Whole(count)) => Ok(Some(u32::try_from(count).unwrap_or(u32::MAX))),
    }
}

fn within(name: &str, sent: Option<f64>, low: f64, high: f64) -> Result<Option<f64>, Failure> {
    match sent {
        Some(number) if !(low..=high).contains(&number) => {
            Err(wrong(name, &format!("must be {low} to {high}")))
        }
        sent => Ok(sent),
    }
}

fn effort(name: &str) -> Result<Effort, Failure> {
    named(Effort::NAMES, name).ok_or_else(|| {
        let known: Vec<_> = Effort::NAMES.iter().map(|(known, _)| *known).collect();
        wrong("reasoning_effort", &format!("must be one of {}", known.join(", ")))
    })
}

fn tier(name: String) -> Result<String, Failure> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if (1..=LONGEST_TIER).contains(&name.len()) && name.bytes().all(is_name) {
        return Ok(name);
    }
    Err(wrong("service_tier", "must be the name of a tier, such as auto, default or flex"))
}

/// `stop`: a text, or a list of them.
#[derive(Debug)]
pub(super) struct Stop(Vec<String>);

impl Stop {
    fn into_texts(self) -> Result<Vec<String>, Failure> {
        let Self(texts) = self;
        if texts.len() > MAX_STOPS {
            return Err(wrong("stop", &format!("must be at most {MAX_STOPS} texts")));
        }
        let is_fine = |text: &String| !text.is_empty() && text.chars().count() <= LONGEST_STOP;
        if texts.iter().all(is_fine) {
            return Ok(texts);
        }
        Err(wrong("stop", &format!("must be texts of 1 to {LONGEST_STOP} characters")))
    }
}

impl<'de> Deserialize<'de> for Stop {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(StopVisitor)
    }
}

struct StopVisitor;

impl<'de> Visitor<'de> for StopVisitor {
    type Value = Stop;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string or a list of strings")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Stop, E> {
        Ok(Stop(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Stop, A::Error> {
        let mut texts = Vec::new();
        // One more than allowed is enough to refuse the list, whose end is not read then.
        while let Some(text) = list.next_element()? {
            if texts.len() > MAX_STOPS {
                return Err(A::Error::custom(format_args!("must be at most {MAX_STOPS} texts")));
            }
            texts.push(text);
        }
        Ok(Stop(texts))
    }
}

/// `response_format`, as sent.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct ResponseFormat<'a> {
    r#type: Option<String>,
    #[serde(borrow)]
    json_schema: Option<SentSchema<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct SentSchema<'a> {
    name: Option<String>,
    description: Option<String>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    strict: Option<bool>,
}

impl ResponseFormat<'_> {
    fn into_format(self, allowance: &mut Allowance) -> Result<AnswerFormat, Failure> {
        match self.r#type.as_deref() {
            None => Err(wrong("response_format.type", "is required")),
            Some("text") => Ok(AnswerFormat::Text),
            Some("json_object") => Ok(AnswerFormat::JsonObject),
            Some("json_schema") => {
                let schema = self
                    .json_schema
                    .ok_or_else(|| wrong("response_format.json_schema", "is required"))?;
                schema.into_schema(allowance).map(AnswerFormat::JsonSchema)
            }
            Some(_) => {
                Err(wrong("response_format.type", "must be text, json_object or json_schema"))
            }
        }
    }
}

impl SentSchema<'_> {
    fn into_schema(self, allowance: &mut Allowance) -> Result<JsonSchema, Failure> {
        const AT: &str = "response_format.json_schema";
        let refused = |member: &str, why: &str| wrong(format!("{AT}{member}"), why);
        let name = self
            .name
            .filter(|name| is_function_name(name))
            .ok_or_else(|| refused(".name", "must be 1 to 64 characters of [a-zA-Z0-9_-]"))?;
        let raw = self.schema.ok_or_else(|| refused(".schema", "is required"))?;
        let schema = allowance.object(raw).map_err(|why| refused(".schema", why))?;
        json_schema::check(&schema).map_err(|(at, why)| refused(&format!(".schema{at}"), why))?;
        let strict = self.strict.unwrap_or(false);
        Ok(JsonSchema { name, description: self.description, schema, strict })
    }
}
