//! Answers that have to be JSON.
//!
//! Some models answer in a schema by themselves. Others are given a tool that takes the answer,
//! are made to call it, and what they call it with is the answer's text. A model that cannot be
//! made to call anything is told in words; so is every model that may choose the object's members
//! itself, since a tool whose schema names none is called with `{}`.

use aws_sdk_bedrockruntime::types::{
    JsonSchemaDefinition, OutputFormat, OutputFormatStructure, OutputFormatType,
};
use serde_json::{Value, json};

use crate::turn::{AnswerFormat, Failure, FailureKind, JsonSchema, ToolChoice, TurnRequest};

use super::families::{Family, Forced, Tools};
use super::references;

/// What the tool is called that takes an answer.
const TOOL: &str = "json_answer";
/// The member that holds an answer which is no object itself.
const WRAPPER: &str = "value";

/// How an answer gets its shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// It has none.
    Free,
    /// The model keeps to it by itself.
    Native(OutputFormat),
    /// A tool takes the answer.
    Tool(AnswerTool),
    /// The model is told, as a part of its instructions.
    Told(String),
}

impl Shape {
    /// The tool that takes the answer, if one does.
    pub(super) fn tool(&self) -> Option<&AnswerTool> {
        match self {
            Self::Tool(tool) => Some(tool),
            Self::Free | Self::Native(_) | Self::Told(_) => None,
        }
    }

    /// The same, for keeps.
    pub(super) fn into_tool(self) -> Option<AnswerTool> {
        match self {
            Self::Tool(tool) => Some(tool),
            Self::Free | Self::Native(_) | Self::Told(_) => None,
        }
    }

    /// What the model is told, where that is all there is.
    pub(super) fn told(&self) -> Option<&str> {
        match self {
            Self::Told(words) => Some(words),
            Self::Free | Self::Native(_) | Self::Tool(_) => None,
        }
    }
}

/// The tool that takes an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AnswerTool {
    pub(super) name: String,
    pub(super) description: String,
    /// The schema of its input.
    pub(super) schema: Value,
    /// Whether the answer is the input's only member, as the schema is none of an object.
    pub(super) is_wrapped: bool,
    /// Whether the model can be made to call it; else it is told to.
    pub(super) is_forced: bool,
}

impl AnswerTool {
    /// The answer's text, where the input of the call wraps it.
    pub(super) fn unwrap(input: &str) -> String {
        match serde_json::from_str::<Value>(input) {
            Ok(Value::Object(mut members)) => {
                members.shift_remove(WRAPPER).map_or_else(|| input.to_owned(), |v| v.to_string())
            }
            // Cut off: what there is of it.
            _ => input.to_owned(),
        }
    }
}

/// Works out how the answer gets its shape; `thinks` says that the model was told to think, so
/// that no call can be forced.
///
/// # Errors
/// `BadRequest` for a schema that is none.
pub(super) fn shape(
    request: &TurnRequest,
    family: &Family,
    thinks: bool,
) -> Result<Shape, Failure> {
    let generation = &request.generation;
    let wanted = match &generation.format {
        AnswerFormat::Text => return Ok(Shape::Free),
        AnswerFormat::JsonObject => None,
        AnswerFormat::JsonSchema(wanted) => Some(wanted),
    };
    if let Some(wanted) = wanted {
        check(&wanted.schema)?;
    }
    // A call is due first; its arguments have a schema of their own.
    let has_tools = !request.tools.is_empty();
    if has_tools && matches!(generation.tool_choice, ToolChoice::Required | ToolChoice::Named(_)) {
        return Ok(Shape::Free);
    }
    let Some(wanted) = wanted else {
        return Ok(Shape::Told(
            "Answer with one JSON object only, no other text and no code fence.".to_owned(),
        ));
    };
    let can_force = family.tools != Tools::None && family.forced > Forced::Never;
    // By itself a model keeps to schemas only that are closed, as strict ones should be.
    if family.native_schema && (!can_force || (wanted.strict && is_closed(&wanted.schema))) {
        return native(wanted);
    }
    if can_force {
        return Ok(Shape::Tool(tool(wanted, request, thinks)));
    }
    Ok(Shape::Told(format!(
        "Answer with JSON only, no other text and no code fence, that fits this JSON schema: {}",
        wanted.schema
    )))
}

fn check(schema: &Value) -> Result<(), Failure> {
    let is_type = |kind: &Value| kind.is_string() || kind.is_array();
    let wrong = match schema {
        Value::Object(members) if members.get("type").is_none_or(is_type) => return Ok(()),
        Value::Object(_) => "the schema's type must be a string or a list of strings",
        _ => "the schema must be an object",
    };
    Err(Failure::new(FailureKind::BadRequest, wrong).at("response_format.json_schema.schema"))
}

fn native(wanted: &JsonSchema) -> Result<Shape, Failure> {
    let definition = JsonSchemaDefinition::builder()
        .name(&wanted.name)
        .set_description(wanted.description.clone())
        .schema(wanted.schema.to_string())
        .build()
        .map_err(|_| Failure::internal())?;
    let format = OutputFormat::builder()
        .r#type(OutputFormatType::JsonSchema)
        .structure(OutputFormatStructure::JsonSchema(definition))
        .build()
        .map_err(|_| Failure::internal())?;
    Ok(Shape::Native(format))
}

fn tool(wanted: &JsonSchema, request: &TurnRequest, thinks: bool) -> AnswerTool {
    let mut name = TOOL.to_owned();
    while request.tools.iter().any(|tool| tool.name == name) {
        name.push('_');
    }
    let is_wrapped = !is_of_object(&wanted.schema);
    let schema = if is_wrapped { wrapped(&wanted.schema) } else { with_type(&wanted.schema) };
    let mut description =
        "Gives the answer: the input is the whole answer, and nothing else is said.".to_owned();
    if let Some(about) = &wanted.description {
        description.push_str(" The answer is: ");
        description.push_str(about);
    }
    AnswerTool { name, description, schema, is_wrapped, is_forced: !thinks }
}

/// Whether a schema's root is an object, as the input of a tool must be.
fn is_of_object(schema: &Value) -> bool {
    match &schema["type"] {
        Value::String(kind) => kind == "object",
        Value::Null => schema["properties"].is_object(),
        _ => false,
    }
}

/// Whether no object of a schema may have members that it does not name.
pub(super) fn is_closed(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            let is_object = members.get("type").is_some_and(|kind| kind == "object");
            let is_open = is_object && members.get("additionalProperties") != Some(&json!(false));
            !is_open && members.values().all(is_closed)
        }
        Value::Array(entries) => entries.iter().all(is_closed),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// The schema of an object that holds the value of this one.
fn wrapped(schema: &Value) -> Value {
    let inner = references::moved(schema, &format!("/properties/{WRAPPER}"));
    json!({ "type": "object", "properties": { WRAPPER: inner }, "required": [WRAPPER] })
}

fn with_type(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(members) = schema.as_object_mut() {
        members.insert("type".to_owned(), json!("object"));
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::super::families;
    use super::*;
    use crate::turn::{Generation, Tool};

    const NATIVE: &str = "anthropic.claude-sonnet-4-5-20250929-v1:0";
    const FORCED: &str = "anthropic.claude-3-haiku-20240307-v1:0";
    const NEITHER: &str = "meta.llama3-1-70b-instruct-v1:0";

    fn wants(schema: Value, strict: bool) -> TurnRequest {
        let wanted = JsonSchema { name: "person".to_owned(), description: None, schema, strict };
        let format = AnswerFormat::JsonSchema(wanted);
        TurnRequest {
            generation: Generation { format, ..Generation::default() },
            ..TurnRequest::default()
        }
    }

    fn person() -> Value {
        json!({"type": "object", "properties": {"name": {"type": "string"}},
               "additionalProperties": false})
    }

    fn shaped(model: &str, request: &TurnRequest) -> Shape {
        shape(request, families::of(model), false).unwrap()
    }

    #[test]
    fn a_model_that_keeps_to_schemas_by_itself_gets_strict_ones() {
        let Shape::Native(format) = shaped(NATIVE, &wants(person(), true)) else { panic!() };
        let Some(OutputFormatStructure::JsonSchema(definition)) = format.structure else {
            panic!()
        };
        assert_eq!(definition.schema, person().to_string());
        assert!(matches!(shaped(NATIVE, &wants(person(), false)), Shape::Tool(_)));
        let mut open = person();
        open["properties"]["name"] = json!({"type": "object"});
        assert!(matches!(shaped(NATIVE, &wants(open, true)), Shape::Tool(_)));
    }

    #[test]
    fn others_are_made_to_call_a_tool_or_told() {
        let Shape::Tool(tool) = shaped(FORCED, &wants(person(), true)) else { panic!() };
        assert_eq!((tool.schema, tool.is_wrapped, tool.is_forced), (person(), false, true));
        let Shape::Told(words) = shaped(NEITHER, &wants(person(), true)) else { panic!() };
        assert!(words.contains("\"properties\""));
    }

    #[test]
    fn an_object_of_no_particular_shape_is_asked_for_in_words() {
        let format = AnswerFormat::JsonObject;
        let generation = Generation { format, ..Generation::default() };
        let request = TurnRequest { generation, ..TurnRequest::default() };
        for model in [NATIVE, FORCED, NEITHER] {
            let Shape::Told(words) = shaped(model, &request) else { panic!("{model}") };
            assert!(words.contains("JSON object"));
        }
    }

    #[test]
    fn a_schema_that_is_none_of_an_object_is_wrapped() {
        let list = json!({"type": "array", "items": {"type": "integer"}});
        let Shape::Tool(tool) = shaped(FORCED, &wants(list.clone(), true)) else { panic!() };
        assert!(tool.is_wrapped);
        assert_eq!(tool.schema["properties"]["value"], list);
        let named = json!({"type": "array", "items": {"$ref": "#/$defs/Place"},
                           "$defs": {"Place": {"type": "string"}}});
        let Shape::Tool(tool) = shaped(FORCED, &wants(named, true)) else { panic!() };
        let place = tool.schema["properties"]["value"]["items"]["$ref"].as_str().unwrap();
        assert_eq!(tool.schema.pointer(&place[1..]), Some(&json!({"type": "string"})));
        assert_eq!(AnswerTool::unwrap(r#"{"value":[1,2]}"#), "[1,2]");
        assert_eq!(AnswerTool::unwrap(r#"{"value":[1,"#), r#"{"value":[1,"#);
    }

    #[test]
    fn a_schema_without_a_type_but_with_members_is_of_an_object() {
        let open = json!({"properties": {"a": {}}});
        let Shape::Tool(tool) = shaped(FORCED, &wants(open, false)) else { panic!() };
        assert_eq!(tool.schema["type"], "object");
    }

    #[test]
    fn schemas_that_are_none_are_refused_where_they_stand() {
        for schema in [json!("object"), json!(null), json!([]), json!({"type": 3})] {
            let request = wants(schema.clone(), true);
            let failure = shape(&request, families::of(FORCED), false).unwrap_err();
            assert_eq!(failure.param.as_deref(), Some("response_format.json_schema.schema"));
        }
    }

    #[test]
    fn the_tool_stays_clear_of_the_clients_own_and_of_calls_that_are_due() {
        let tool = Tool { name: TOOL.to_owned(), ..Tool::default() };
        let mut request = TurnRequest { tools: vec![tool], ..wants(person(), true) };
        let Shape::Tool(tool) = shaped(FORCED, &request) else { panic!() };
        assert_eq!(tool.name, "json_answer_");
        request.generation.tool_choice = ToolChoice::Required;
        assert_eq!(shaped(FORCED, &request), Shape::Free);
    }

    #[test]
    fn a_model_that_thinks_cannot_be_forced() {
        let shape = shape(&wants(person(), true), families::of(FORCED), true);
        let Ok(Shape::Tool(tool)) = shape else { panic!() };
        assert!(!tool.is_forced);
    }
}
