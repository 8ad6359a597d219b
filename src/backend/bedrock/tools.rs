//! The tools of a request, and which of them must be called.

use std::collections::HashSet;

use aws_sdk_bedrockruntime::types::{
    AnyToolChoice, SpecificToolChoice, Tool as AwsTool, ToolChoice as AwsChoice, ToolInputSchema,
    ToolSpecification,
};
use serde_json::{Map, Value, json};

use crate::turn::{Failure, FailureKind, Tool, ToolChoice, TurnRequest};

use super::cache;
use super::families::{Family, Forced, Maker, Tools};
use super::format::{AnswerTool, is_closed};
use super::names::ToolNames;
use super::raw_json::RawJson;
use super::references;

/// What the model is offered.
#[derive(Debug, Default)]
pub(super) struct Offer {
    /// The tools; where there are none, there is no `toolConfig`.
    pub(super) tools: Vec<AwsTool>,
    pub(super) choice: Option<AwsChoice>,
    /// What the model is told where it cannot be made to.
    pub(super) told: Option<String>,
    /// Members of `additionalModelRequestFields`.
    pub(super) fields: Map<String, Value>,
}

/// Whether calls and results are told as text: the model has no tools, or the client wants no
/// call now, which Converse has no word for while the transcript holds some.
pub(super) fn are_told_as_text(request: &TurnRequest, family: &Family) -> bool {
    family.tools == Tools::None || request.generation.tool_choice == ToolChoice::None
}

/// Whether the client insists on a call.
pub(super) fn is_forced(request: &TurnRequest) -> bool {
    matches!(request.generation.tool_choice, ToolChoice::Required | ToolChoice::Named(_))
}

/// What an offer is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offered<'a> {
    pub(super) request: &'a TurnRequest,
    pub(super) family: &'static Family,
    /// The tool that takes the answer, if one does.
    pub(super) answer: Option<&'a AnswerTool>,
    /// Names of the tools that the transcript holds calls of.
    pub(super) called: &'a [&'a str],
}

impl Offered<'_> {
    /// Works out the offer.
    ///
    /// # Errors
    /// `UnsupportedParameter` where the model has no tools, `BadRequest` at a tool or a choice
    /// that is wrong.
    pub(super) fn make(self, names: &mut ToolNames, json: &mut RawJson) -> Result<Offer, Failure> {
        let Self { request, family, answer, called } = self;
        let choice = &request.generation.tool_choice;
        check_choice(choice, &request.tools)?;
        let wants_tools = !request.tools.is_empty() && *choice != ToolChoice::None;
        if wants_tools && family.tools == Tools::None {
            let message = "this model has no tools; leave them out, or ask one that has";
            return Err(Failure::new(FailureKind::UnsupportedParameter, message).at("tools"));
        }
        let mut specs = Specs { family, names, json, tools: Vec::new(), known: HashSet::new() };
        if wants_tools {
            for (index, tool) in request.tools.iter().enumerate() {
                // One that must be called is the only one where it cannot be named.
                let is_meant = !matches!(choice, ToolChoice::Named(name)
                    if family.forced != Forced::Named && *name != tool.name);
                specs.client(index, tool, is_meant)?;
            }
        }
        if let Some(answer) = answer {
            specs.add(&answer.name, Some(&answer.description), &answer.schema)?;
        }
        // The service wants to know the tools whose calls it is told of.
        if specs.tools.is_empty() && !are_told_as_text(request, family) {
            for name in called {
                specs.add(name, None, &json!({ "type": "object" }))?;
            }
        }
        let mut offer = Offer { tools: specs.tools, ..Offer::default() };
        if let Some(answer) = answer {
            choose_answer(&mut offer, answer, family)?;
        } else if wants_tools {
            choose(&mut offer, choice, family, names)?;
            limit_calls(&mut offer, request, family);
        }
        Ok(offer)
    }
}

/// The tools of an offer in the making.
struct Specs<'a> {
    family: &'static Family,
    names: &'a mut ToolNames,
    json: &'a mut RawJson,
    tools: Vec<AwsTool>,
    known: HashSet<String>,
}

impl Specs<'_> {
    fn client(&mut self, index: usize, tool: &Tool, is_meant: bool) -> Result<(), Failure> {
        let schema = schema_of(index, tool)?;
        if self.known.contains(&tool.name) {
            let message = format!("the tool {:?} is there twice", short(&tool.name));
            return Err(Failure::bad_field(format!("tools[{index}]"), message));
        }
        if is_meant {
            self.add(&tool.name, tool.description.as_deref(), &schema)?;
            self.keep_to(tool, &schema)?;
        }
        Ok(())
    }

    /// Says what goes beyond a tool itself: that its arguments must fit to the letter, where the
    /// model can be held to that, and that the prompt is to be kept up to it.
    fn keep_to(&mut self, tool: &Tool, schema: &Value) -> Result<(), Failure> {
        let can_be_strict = self.family.native_schema && is_closed(schema);
        if let Some(AwsTool::ToolSpec(spec)) = self.tools.last_mut() {
            spec.strict = tool.strict.filter(|_| can_be_strict);
        }
        let caching = self.family.cache;
        let life = tool.cache.filter(|_| caching.has_tools());
        let point = life.map_or(Ok(None), |life| cache::point(caching, life))?;
        self.tools.extend(point.map(AwsTool::CachePoint));
        Ok(())
    }

    fn add(&mut self, name: &str, about: Option<&str>, schema: &Value) -> Result<(), Failure> {
        if !self.known.insert(name.to_owned()) {
            return Ok(());
        }
        let about = about.filter(|about| !about.trim().is_empty());
        let schema =
            if self.family.maker == Maker::Amazon { plain(schema) } else { schema.clone() };
        let spec = ToolSpecification::builder()
            .name(self.names.upstream(name))
            .set_description(about.map(str::to_owned))
            .input_schema(ToolInputSchema::Json(self.json.keep(&schema)))
            .build()
            .map_err(|_| Failure::internal())?;
        self.tools.push(AwsTool::ToolSpec(spec));
        Ok(())
    }
}

/// The schema of a tool's arguments, which must be one of an object.
fn schema_of(index: usize, tool: &Tool) -> Result<Value, Failure> {
    let Some(parameters) = tool.parameters.as_ref().filter(|given| !given.is_null()) else {
        return Ok(json!({ "type": "object", "properties": {} }));
    };
    let wrong = |what: &str| {
        let message = format!("the parameters of the tool {:?} {what}", short(&tool.name));
        Failure::bad_field(format!("tools[{index}].function.parameters"), message)
    };
    let Value::Object(members) = parameters else {
        return Err(wrong("must be a JSON schema, an object"));
    };
    match members.get("type") {
        Some(Value::String(kind)) if kind == "object" => Ok(parameters.clone()),
        None => {
            let mut schema = members.clone();
            schema.insert("type".to_owned(), json!("object"));
            Ok(Value::Object(schema))
        }
        Some(_) => Err(wrong("must be of type \"object\"")),
    }
}

/// Nova takes nothing else at the top of a schema, definitions neither.
fn plain(schema: &Value) -> Value {
    references::replaced(schema, &["type", "properties", "required"])
}

fn check_choice(choice: &ToolChoice, tools: &[Tool]) -> Result<(), Failure> {
    let message = match choice {
        ToolChoice::Required if tools.is_empty() => "a call is required, but there are no tools",
        ToolChoice::Named(name) if !tools.iter().any(|tool| tool.name == *name) => {
            "the tool that must be called is not among the tools"
        }
        _ => return Ok(()),
    };
    Err(Failure::bad_field("tool_choice", message))
}

/// Makes the model call what the client wants called, or tells it to.
fn choose(
    offer: &mut Offer,
    choice: &ToolChoice,
    family: &Family,
    names: &mut ToolNames,
) -> Result<(), Failure> {
    let name = match choice {
        ToolChoice::Auto | ToolChoice::None => return Ok(()),
        ToolChoice::Required => None,
        ToolChoice::Named(name) => Some(names.upstream(name)),
    };
    offer.choice = match (family.forced, name) {
        (Forced::Never, Some(name)) => {
            offer.told = Some(format!("Call the tool {name} now; do not answer in words."));
            None
        }
        (Forced::Never, None) => {
            offer.told = Some("Call one of the tools now; do not answer in words.".to_owned());
            None
        }
        (Forced::Named, Some(name)) => Some(named(&name)?),
        (Forced::Any, Some(_)) | (Forced::Any | Forced::Named, None) => Some(any()),
    };
    Ok(())
}

/// Makes the model give its answer to the tool for it, or call another one first.
fn choose_answer(offer: &mut Offer, answer: &AnswerTool, family: &Family) -> Result<(), Failure> {
    if !answer.is_forced {
        let name = &answer.name;
        offer.told = Some(format!("Give your answer by calling the tool {name}, never in words."));
        return Ok(());
    }
    let is_alone = offer.tools.iter().filter(|tool| tool.is_tool_spec()).count() == 1;
    let can_name = is_alone && family.forced == Forced::Named;
    offer.choice = Some(if can_name { named(&answer.name)? } else { any() });
    Ok(())
}

/// Claude can be told to make one call at a time; of others, only the first call is taken.
fn limit_calls(offer: &mut Offer, request: &TurnRequest, family: &Family) {
    let generation = &request.generation;
    let is_free = generation.tool_choice == ToolChoice::Auto;
    if generation.parallel_tool_calls == Some(false) && is_free && family.maker == Maker::Anthropic
    {
        let choice = json!({ "type": "auto", "disable_parallel_tool_use": true });
        offer.fields.insert("tool_choice".to_owned(), choice);
    }
}

fn any() -> AwsChoice {
    AwsChoice::Any(AnyToolChoice::builder().build())
}

fn named(name: &str) -> Result<AwsChoice, Failure> {
    let choice = SpecificToolChoice::builder().name(name).build();
    choice.map(AwsChoice::Tool).map_err(|_| Failure::internal())
}

/// A name short enough to repeat in a message.
fn short(name: &str) -> String {
    name.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::super::families;
    use super::*;
    use crate::turn::Generation;

    const CLAUDE: &str = "anthropic.claude-3-haiku-20240307-v1:0";

    fn tool(name: &str, parameters: Option<Value>) -> Tool {
        let description = Some("Does it.".to_owned());
        Tool { name: name.to_owned(), description, parameters, ..Tool::default() }
    }

    fn request(names: &[&str], tool_choice: ToolChoice) -> TurnRequest {
        TurnRequest {
            tools: names.iter().map(|name| tool(name, None)).collect(),
            generation: Generation { tool_choice, ..Generation::default() },
            ..TurnRequest::default()
        }
    }

    fn offer_with(
        model: &str,
        request: &TurnRequest,
        called: &[&str],
    ) -> Result<(Offer, RawJson), Failure> {
        let (mut names, mut json) = (ToolNames::default(), RawJson::default());
        let family = families::of(model);
        let offered = Offered { request, family, answer: None, called };
        offered.make(&mut names, &mut json).map(|offer| (offer, json))
    }

    fn offer(model: &str, request: &TurnRequest) -> Offer {
        offer_with(model, request, &[]).unwrap().0
    }

    fn names_of(offer: &Offer) -> Vec<&str> {
        let specs = offer.tools.iter().filter_map(|tool| tool.as_tool_spec().ok());
        specs.map(|spec| spec.name.as_str()).collect()
    }

    #[test]
    fn a_choice_is_made_as_far_as_the_model_can_be_made_to() {
        let named = request(&["a", "b"], ToolChoice::Named("b".to_owned()));
        let offered = offer(CLAUDE, &named);
        assert_eq!(names_of(&offered), ["a", "b"]);
        assert_eq!(offered.choice, Some(super::named("b").unwrap()));
        let offered = offer("mistral.mistral-large-2402-v1:0", &named);
        assert_eq!((names_of(&offered), &offered.choice), (vec!["b"], &Some(any())));
        let offered = offer("meta.llama3-1-8b-instruct-v1:0", &named);
        assert_eq!((names_of(&offered), &offered.choice), (vec!["b"], &None));
        assert!(offered.told.unwrap().contains("tool b"));
        let offered = offer(CLAUDE, &request(&["a"], ToolChoice::Required));
        assert_eq!(offered.choice, Some(any()));
        assert_eq!(offer(CLAUDE, &request(&["a"], ToolChoice::Auto)).choice, None);
    }

    #[test]
    fn without_a_call_to_be_made_there_are_no_tools() {
        let none = request(&["a"], ToolChoice::None);
        assert!(offer(CLAUDE, &none).tools.is_empty());
        assert!(are_told_as_text(&none, families::of(CLAUDE)));
        assert!(offer("amazon.titan-text-express-v1", &none).tools.is_empty());
    }

    #[test]
    fn tools_of_earlier_calls_are_made_up_where_the_client_left_them_out() {
        let silent = request(&[], ToolChoice::Auto);
        let (offered, json) = offer_with(CLAUDE, &silent, &["a", "b", "a"]).unwrap();
        assert_eq!(names_of(&offered), ["a", "b"]);
        let Ok(spec) = offered.tools[0].as_tool_spec() else { panic!() };
        let Some(ToolInputSchema::Json(schema)) = &spec.input_schema else { panic!() };
        assert_eq!(json.value(schema), json!({"type": "object"}));
        let told = offer_with("amazon.titan-text-express-v1", &silent, &["a"]).unwrap().0;
        assert!(told.tools.is_empty());
    }

    #[test]
    fn schemas_are_made_whole_or_refused_where_they_stand() {
        assert_eq!(schema_of(0, &tool("a", None)).unwrap()["type"], "object");
        let open = json!({"properties": {"x": {}}});
        assert_eq!(schema_of(0, &tool("a", Some(open))).unwrap()["type"], "object");
        for wrong in [json!("object"), json!([]), json!({"type": "array"}), json!({"type": 1})] {
            let failure = schema_of(2, &tool("a", Some(wrong.clone()))).unwrap_err();
            assert_eq!(failure.param.as_deref(), Some("tools[2].function.parameters"), "{wrong}");
        }
    }

    #[test]
    fn nova_gets_plain_schemas() {
        let schema = json!({"$schema": "x", "type": "object", "properties": {}, "required": [],
                            "additionalProperties": false});
        let expected = json!({"type": "object", "properties": {}, "required": []});
        assert_eq!(plain(&schema), expected);
        let schema = json!({"type": "object", "properties": {"at": {"$ref": "#/$defs/Place"}},
                            "$defs": {"Place": {"type": "string"}}});
        let expected = json!({"type": "object", "properties": {"at": {"type": "string"}}});
        assert_eq!(plain(&schema), expected);
    }

    #[test]
    fn choices_and_tools_that_do_not_fit_are_refused() {
        let cases = [
            (request(&[], ToolChoice::Required), "tool_choice"),
            (request(&["a"], ToolChoice::Named("b".to_owned())), "tool_choice"),
            (request(&["a", "a"], ToolChoice::Auto), "tools[1]"),
        ];
        for (request, param) in cases {
            let failure = offer_with(CLAUDE, &request, &[]).unwrap_err();
            assert_eq!(failure.param.as_deref(), Some(param));
        }
        let bare = request(&["a"], ToolChoice::Auto);
        let failure = offer_with("amazon.titan-text-express-v1", &bare, &[]).unwrap_err();
        assert_eq!(failure.kind, FailureKind::UnsupportedParameter);
    }

    #[test]
    fn claude_can_be_told_to_make_one_call_at_a_time() {
        let mut request = request(&["a"], ToolChoice::Auto);
        request.generation.parallel_tool_calls = Some(false);
        assert_eq!(
            offer(CLAUDE, &request).fields["tool_choice"]["disable_parallel_tool_use"],
            true
        );
        assert!(offer("amazon.nova-lite-v1:0", &request).fields.is_empty());
    }
}
