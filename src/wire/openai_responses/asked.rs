//! The body of a request for a response.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::turn::request::Overflow;
use crate::turn::{
    DisconnectPolicy, Failure, FailureKind, Keeping, Message, Role, SessionHints, TurnRequest,
};
use crate::wire::agent_fields::{self, Texts};
use crate::wire::asking::{parsed, speaker};
use crate::wire::body::{self, wrong};
use crate::wire::bounded::{Allowance, AtMost};
use crate::wire::conversation::Conversation;
use crate::wire::extension::Extension;
use crate::wire::whole::Whole;
use crate::wire::{Asked, Defaults, Options};

use super::echo::{self, Manner};
use super::generation::{Making, Reasoning, Text};
use super::input::{Gathered, Input};
use super::tools::{self, Tools};
use super::turn_of;

/// Brings thinking with its [carrier](super::carrier).
const THINKING: &str = "reasoning.encrypted_content";
/// Brings how likely the tokens of the answer were, from upstreams that tell it.
const LOGPROBS: &str = "message.output_text.logprobs";
/// What may be included. What is not one of the two above belongs to tools that nobody here runs,
/// or is there without being asked for.
const INCLUDABLE: &[&str] = &[
    THINKING,
    LOGPROBS,
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "web_search_call.action.sources",
    "web_search_call.results",
];
/// Entries of `include`.
const MAX_INCLUDED: usize = 64;
/// `top_logprobs`, by OpenAI's rule.
const TOP_LOGPROBS: std::ops::RangeInclusive<i64> = 0..=20;

/// The members that are read. Others are accepted and change nothing.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
struct Body<'a> {
    model: Option<String>,
    #[serde(borrow)]
    input: Option<Input<'a>>,
    instructions: Option<String>,
    previous_response_id: Option<String>,
    conversation: Option<Conversation>,
    store: Option<bool>,
    stream: Option<bool>,
    background: Option<bool>,
    include: Option<AtMost<String, MAX_INCLUDED>>,
    max_output_tokens: Option<Whole>,
    max_tool_calls: Option<Whole>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_logprobs: Option<Whole>,
    #[serde(borrow)]
    tools: Option<Tools<'a>>,
    #[serde(borrow)]
    tool_choice: Option<&'a RawValue>,
    parallel_tool_calls: Option<bool>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    reasoning: Option<Reasoning>,
    truncation: Option<String>,
    prompt: Option<IgnoredAny>,
    service_tier: Option<String>,
    prompt_cache_key: Option<String>,
    prompt_cache_retention: Option<String>,
    safety_identifier: Option<String>,
    user: Option<String>,
    n: Option<Whole>,
    #[serde(borrow)]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow)]
    context_management: Option<&'a RawValue>,
    #[serde(borrow)]
    moderation: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_cache_options: Option<&'a RawValue>,
    #[serde(borrow)]
    outcrop: Option<Extension<'a, Texts>>,
}

/// Reads a request.
pub(super) fn decode(sent: &[u8], defaults: &Defaults) -> Result<Asked, Failure> {
    let mut body: Body<'_> = body::read(sent)?;
    body.refuse_what_cannot_be_honoured()?;
    let mut allowance = Allowance::default();
    let mut shown = echo::defaults();
    let mut request = TurnRequest {
        model: parsed("model", body.model.as_deref())?,
        hints: body.hints()?,
        overflow: body.overflow()?,
        is_delta: true,
        ..TurnRequest::default()
    };
    if let Some(raw) = body.metadata {
        request.metadata = agent_fields::metadata(raw)?;
    }
    body.say(&mut allowance, &mut request)?;
    let offered = tools::fill(body.tools.take(), body.tool_choice, &mut allowance, &mut request)?;
    let making = body.making();
    let summarises = making.fill(&mut allowance, &mut request.generation, &mut shown)?;
    let included = body.included()?;
    let manner = Manner { custom_tools: offered.custom, summarises, seals: included.thinking };
    shown.insert("tools".to_owned(), Value::Array(offered.shown));
    shown.insert("tool_choice".to_owned(), offered.choice_shown);
    body.show(&request, &mut shown)?;
    body.pass_on(&mut request.generation.extra);
    if included.logprobs {
        body.ask_likelihoods(&mut request.generation.extra);
    }
    if let Some(extension) = body.outcrop.take() {
        extension.fill("outcrop.", &mut allowance, &mut request)?;
    }
    request.wants_reasoning = request.wants_reasoning.or(summarises.then_some(true));
    body.keep(&mut request)?;
    check_that_something_is_asked(&request)?;
    request.echo = Some(echo::write(&manner, &shown));
    let stream = body.stream.unwrap_or(defaults.stream);
    Ok(Asked { request, stream, options: Options::default() })
}

impl<'a> Body<'a> {
    fn refuse_what_cannot_be_honoured(&self) -> Result<(), Failure> {
        let unsupported = |param: &'static str, message: &'static str| {
            Err(Failure::new(FailureKind::UnsupportedParameter, message).at(param))
        };
        if self.prompt.is_some() {
            return unsupported("prompt", "prompt names a template that OpenAI keeps; send input");
        }
        if self.n.is_some_and(|Whole(n)| n != 1) {
            return unsupported("n", "n must be 1: a session gives one answer a turn");
        }
        if self.previous_response_id.is_some() && self.conversation.is_some() {
            let why = "cannot be used together with previous_response_id; send one of them";
            return Err(wrong("conversation", why));
        }
        if self.background == Some(true) && self.store == Some(false) {
            return Err(wrong("background", "needs store: what is not kept cannot be fetched"));
        }
        if self.top_logprobs.is_some_and(|Whole(top)| !TOP_LOGPROBS.contains(&top)) {
            return Err(wrong("top_logprobs", "must be a whole number from 0 to 20"));
        }
        if self.max_tool_calls.is_some_and(|Whole(most)| most < 1) {
            return Err(wrong("max_tool_calls", "must be 1 or more"));
        }
        self.check_what_changes_nothing()
    }

    /// Members that nothing here heeds have to be of their type all the same.
    fn check_what_changes_nothing(&self) -> Result<(), Failure> {
        let members = [
            ("stream_options", self.stream_options, '{', "must be an object"),
            ("context_management", self.context_management, '[', "must be a list"),
            ("moderation", self.moderation, '{', "must be an object"),
            ("prompt_cache_options", self.prompt_cache_options, '{', "must be an object"),
        ];
        for (name, sent, opening, why) in members {
            if sent.is_some_and(|raw| !raw.get().starts_with(opening)) {
                return Err(wrong(name, why));
            }
        }
        Ok(())
    }

    /// `truncation`. One that is not said is not taken for `disabled`, OpenAI's default, in all: a
    /// long conversation goes on without what its session has let go of.
    fn overflow(&self) -> Result<Overflow, Failure> {
        match self.truncation.as_deref() {
            None => Ok(Overflow::Usual),
            Some("auto") => Ok(Overflow::DropOldest),
            Some("disabled") => Ok(Overflow::Refuse),
            Some(_) => Err(wrong("truncation", "must be auto or disabled")),
        }
    }

    fn hints(&self) -> Result<SessionHints, Failure> {
        let previous = self.previous_response_id.as_deref().map(|id| {
            turn_of(id).ok_or_else(|| {
                let message = "previous_response_id names no response that is kept";
                Failure::new(FailureKind::PreviousResponseNotFound, message)
                    .at("previous_response_id")
            })
        });
        let named = match &self.conversation {
            Some(Conversation(Some(id))) => parsed("conversation", Some(id.as_str()))?,
            Some(Conversation(None)) => return Err(wrong("conversation.id", "is required")),
            None => None,
        };
        let user = speaker("user", self.user.as_deref())?;
        let identifier = speaker("safety_identifier", self.safety_identifier.as_deref())?;
        Ok(SessionHints {
            must_exist: named.is_some(),
            named,
            speaker: user.or(identifier),
            previous: previous.transpose()?,
        })
    }

    /// Puts what is said into a request: the instructions, and the input.
    fn say(&mut self, allowance: &mut Allowance, request: &mut TurnRequest) -> Result<(), Failure> {
        let input = self.input.take().ok_or_else(|| wrong("input", "is required"))?;
        let Gathered { mut messages, mut references } = input.gather(allowance)?;
        if let Some(instructions) = self.instructions.as_ref().filter(|text| !text.is_empty()) {
            messages.insert(0, Message::text(Role::System, instructions.clone()));
            references.iter_mut().for_each(|reference| reference.before += 1);
        }
        request.messages = messages;
        request.references = references;
        Ok(())
    }

    fn making(&mut self) -> Making<'a> {
        Making {
            max_output_tokens: self.max_output_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            parallel_tool_calls: self.parallel_tool_calls,
            service_tier: self.service_tier.take(),
            text: self.text.take(),
            reasoning: self.reasoning.take(),
        }
    }

    fn included(&self) -> Result<Included, Failure> {
        let names = self.include.iter().flat_map(|include| &include.0);
        included(names.map(String::as_str), |index| format!("include[{index}]"))
    }

    /// Asks for likelihoods in the words of the chat, which upstreams speak. `top_logprobs` says
    /// how many, and asks for nothing by itself.
    fn ask_likelihoods(&self, passed: &mut Map<String, Value>) {
        passed.insert("logprobs".to_owned(), json!(true));
        if let Some(Whole(top)) = self.top_logprobs.filter(|Whole(top)| *top > 0) {
            passed.insert("top_logprobs".to_owned(), json!(top));
        }
    }

    /// Notes what the answer repeats, besides what tools and the making of the answer note.
    fn show(&self, request: &TurnRequest, shown: &mut Map<String, Value>) -> Result<(), Failure> {
        let mut show = |name: &str, value: Value| shown.insert(name.to_owned(), value);
        let conversation = request.hints.named.as_ref().map(|id| json!({ "id": id.as_str() }));
        show("instructions", json!(self.instructions));
        show("max_tool_calls", json!(self.max_tool_calls.map(|Whole(most)| most)));
        show("top_logprobs", json!(self.top_logprobs.map_or(0, |Whole(top)| top)));
        show("truncation", json!(self.truncation.as_deref().unwrap_or("disabled")));
        show("store", json!(self.store.unwrap_or(true)));
        show("conversation", json!(conversation));
        show("prompt_cache_key", json!(self.prompt_cache_key));
        show("safety_identifier", json!(self.safety_identifier));
        show("metadata", json!(request.metadata));
        // The schema has them as strings only.
        if let Some(user) = &self.user {
            show("user", json!(user));
        }
        match self.prompt_cache_retention.as_deref() {
            None => {}
            Some(retention @ ("in_memory" | "in-memory" | "24h")) => {
                show("prompt_cache_retention", json!(retention));
            }
            Some(_) => {
                return Err(wrong("prompt_cache_retention", "must be in_memory or 24h"));
            }
        }
        Ok(())
    }

    /// Passes on what upstreams of OpenAI's dialect take by the same names.
    fn pass_on(&self, passed: &mut Map<String, Value>) {
        let members = [
            ("user", &self.user),
            ("safety_identifier", &self.safety_identifier),
            ("prompt_cache_key", &self.prompt_cache_key),
            ("prompt_cache_retention", &self.prompt_cache_retention),
        ];
        for (name, text) in members {
            if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
                passed.insert(name.to_owned(), Value::String(text.clone()));
            }
        }
    }

    /// Settles what is kept, and whether the turn needs its client.
    fn keep(&self, request: &mut TurnRequest) -> Result<(), Failure> {
        let is_kept = self.store.unwrap_or(true);
        request.keeping = if is_kept { Keeping::Turn } else { Keeping::Nothing };
        request.is_background = self.background.unwrap_or(false);
        if !request.is_background {
            return Ok(());
        }
        if request.disconnect_policy == Some(DisconnectPolicy::Cancel) {
            let why = "cannot be cancel for a response that is made in the background";
            return Err(wrong("outcrop.disconnect_policy", why));
        }
        request.disconnect_policy = Some(DisconnectPolicy::Detach { grace: None });
        Ok(())
    }
}

/// What is to be included of what could be left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Included {
    pub(super) thinking: bool,
    pub(super) logprobs: bool,
}

/// Reads the names of `include`; `at` says where one of them stands.
pub(super) fn included<'n>(
    names: impl IntoIterator<Item = &'n str>,
    at: impl Fn(usize) -> String,
) -> Result<Included, Failure> {
    let mut included = Included::default();
    for (index, name) in names.into_iter().enumerate() {
        if index >= MAX_INCLUDED {
            return Err(wrong("include", &format!("must have at most {MAX_INCLUDED} entries")));
        }
        if !INCLUDABLE.contains(&name) {
            let why = format!("must be one of {}", INCLUDABLE.join(", "));
            return Err(wrong(at(index), &why));
        }
        included.thinking |= name == THINKING;
        included.logprobs |= name == LOGPROBS;
    }
    Ok(included)
}

/// Refuses a request that leaves nothing to answer: no item, or a last word that is blank. One
/// that ends its session may be silent.
fn check_that_something_is_asked(request: &TurnRequest) -> Result<(), Failure> {
    let TurnRequest { messages, references, .. } = request;
    if request.end_session || !references.is_empty() {
        return Ok(());
    }
    if messages.iter().all(|message| message.role == Role::System) {
        return Err(wrong("input", "must hold at least one item besides instructions"));
    }
    if messages.iter().any(|message| message.role == Role::Tool) {
        return Ok(());
    }
    let last_user = messages.iter().rfind(|message| message.role == Role::User);
    let is_blank = match last_user {
        Some(message) => message.is_empty(),
        None => messages.iter().all(Message::is_empty),
    };
    if is_blank {
        return Err(wrong("input", "is blank: nothing is asked"));
    }
    Ok(())
}
