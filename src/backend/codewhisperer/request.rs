//! A turn as a `GenerateAssistantResponse` request.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::backend::Ask;
use crate::backend::bedrock::call::Contents;
use crate::backend::bedrock::names::ToolNames;
use crate::config::{Model, Reasoning};
use crate::turn::{Failure, FailureKind, SessionKey, ToolChoice, TurnRequest};

use super::answer::Reading;
use super::image::Images;
use super::instructions::{self, Instructions};
use super::transcript::{Entry, Said, Writer};

/// Who asks, as the service names its clients.
pub(super) const ORIGIN: &str = "CLI";
/// Entries of a history, as the service's own tools have them at most.
const MOST_ENTRIES: usize = 10_000;
/// Characters of a tool's description; of a longer one the rest goes to the instructions.
const DESCRIPTION: usize = 10_000;

/// One call, ready to be made as often as it takes.
#[derive(Debug)]
pub(super) struct Call {
    state: State,
    /// How the answer is to be read.
    pub(super) reading: Reading,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct State {
    conversation_id: String,
    chat_trigger_type: &'static str,
    history: Vec<Entry>,
    current_message: Current,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Current {
    user_input_message: Input,
}

/// The user's last entry, with what only the last one has.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    #[serde(flatten)]
    said: Said,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    conversation_state: &'a State,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile_arn: Option<&'a str>,
}

impl Call {
    /// The document, for a sign-in with this profile.
    pub(super) fn body(&self, profile_arn: Option<&str>) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Body { conversation_state: &self.state, profile_arn })
    }

    /// The id by which the service is to know the conversation.
    pub(super) fn conversation(&self) -> &str {
        &self.state.conversation_id
    }

    /// From now on the service is to know the conversation by this id.
    pub(super) fn converse_as(&mut self, id: String) {
        self.state.conversation_id = id;
    }
}

/// Says a turn in the service's words.
///
/// # Errors
/// At the request's member that is wrong, or that the service cannot honour.
pub(super) fn prepare(model: &Model, ask: &Ask, behind: &Contents) -> Result<Call, Failure> {
    let request = &ask.request;
    let mut names = ToolNames::default();
    let (tools, overlong) = tools(request, &mut names)?;
    let declared: HashSet<&str> = request.offered().iter().map(|tool| &*tool.name).collect();
    let mut writer = Writer::new(declared, Images::new(behind), &mut names);
    let mut entries = writer.write(&ask.history, &ask.input)?;
    let must_call = match &request.generation.tool_choice {
        ToolChoice::Named(name) => Some(names.upstream(name)),
        ToolChoice::Auto | ToolChoice::None | ToolChoice::Required => None,
    };
    let generation = &request.generation;
    let told = Instructions { system: &ask.system, generation, must_call, overlong };
    instructions::put(&mut entries, &told);
    let Some(Entry::User { said: mut last }) = entries.pop() else {
        return Err(Failure::internal());
    };
    if entries.len() > MOST_ENTRIES {
        // The service would say no more than that the request is not properly formed.
        let message = "the conversation has more turns than CodeWhisperer takes; begin another";
        return Err(Failure::new(FailureKind::ContextLengthExceeded, message).at("messages"));
    }
    last.context.tools = tools;
    last.origin = Some(ORIGIN);
    let taken = ask.history.iter().map(AsRef::as_ref).chain(&ask.input);
    let taken = taken.flat_map(|message| &message.tool_calls).map(|call| call.id.clone());
    Ok(Call {
        state: State {
            conversation_id: conversation(&ask.key),
            chat_trigger_type: "MANUAL",
            history: entries,
            current_message: Current {
                user_input_message: Input { said: last, model_id: model.text.model_id.clone() },
            },
        },
        reading: Reading {
            taken: taken.collect(),
            shows_thoughts: shows_thoughts(model, request),
            one_call: request.generation.parallel_tool_calls == Some(false),
            names,
        },
    })
}

/// The id by which the service is to know a session: a UUID that is the same turn after turn, and
/// nothing that a client chose.
fn conversation(key: &SessionKey) -> String {
    let seed = format!("conversation\n{}\n{}", key.tenant, key.id);
    let digest = Sha256::digest(seed);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().hyphenated().to_string()
}

/// The client's tools as the service takes them, and what their descriptions say beyond its bound.
fn tools(
    request: &TurnRequest,
    names: &mut ToolNames,
) -> Result<(Vec<Value>, Vec<String>), Failure> {
    let (mut tools, mut overlong, mut known) = (Vec::new(), Vec::new(), HashSet::new());
    for (index, tool) in request.offered().iter().enumerate() {
        let at = format!("tools[{index}].function");
        if !known.insert(&*tool.name) {
            return Err(Failure::bad_field(at, "a tool of this name is there twice"));
        }
        let schema = match &tool.parameters {
            None | Some(Value::Null) => json!({ "type": "object", "properties": {} }),
            Some(schema @ Value::Object(_)) => schema.clone(),
            Some(_) => {
                let message = "the parameters of a tool must be a JSON schema, an object";
                return Err(Failure::bad_field(format!("{at}.parameters"), message));
            }
        };
        let about = tool.description.as_deref().filter(|about| !about.trim().is_empty());
        let about = about.unwrap_or(&tool.name);
        let name = names.upstream(&tool.name);
        let about = match about.char_indices().nth(DESCRIPTION) {
            Some((end, _)) => {
                overlong.push(format!("More about the tool {name}: {}", &about[end..]));
                &about[..end]
            }
            None => about,
        };
        tools.push(json!({ "toolSpecification": {
            "name": name, "description": about, "inputSchema": { "json": schema },
        }}));
    }
    Ok((tools, overlong))
}

fn shows_thoughts(model: &Model, request: &TurnRequest) -> bool {
    let is_asked =
        request.generation.effort.is_some_and(|effort| effort != crate::turn::Effort::None);
    match model.agents.reasoning {
        Reasoning::Never => false,
        Reasoning::Asked => request.wants_reasoning.unwrap_or(is_asked),
        Reasoning::Always => request.wants_reasoning.unwrap_or(true),
    }
}
