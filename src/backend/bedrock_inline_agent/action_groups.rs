//! The action groups of the settings (`actionGroups` of `InvokeInlineAgent`), as the SDK's types.

use std::collections::HashMap;

use aws_sdk_bedrockagentruntime::types::{
    ActionGroupExecutor, ActionGroupSignature, AgentActionGroup, ApiSchema, CustomControlMethod,
    FunctionDefinition, FunctionSchema, ParameterDetail, ParameterType, RequireConfirmation,
    S3Identifier,
};
use serde::Deserialize;
use serde_json::Value;

/// Reads the groups.
///
/// # Errors
/// What is wrong, after the place where: `[0].functionSchema.functions[1].name: …`.
pub(super) fn read(entries: &[Value]) -> Result<Vec<AgentActionGroup>, String> {
    let group = |(place, entry): (usize, &Value)| {
        let spelled: Group =
            serde_path_to_error::deserialize(entry).map_err(|error| {
                match error.path().to_string().as_str() {
                    "." => format!("[{place}]: {}", error.inner()),
                    path => format!("[{place}].{path}: {}", error.inner()),
                }
            })?;
        spelled.convert().map_err(|error| format!("[{place}]: {error}"))
    };
    entries.iter().enumerate().map(group).collect()
}

/// The names of the functions of a group; those of an API schema have none.
pub(super) fn functions(group: &AgentActionGroup) -> impl Iterator<Item = &str> {
    let functions = match group.function_schema() {
        Some(FunctionSchema::Functions(functions)) => functions.as_slice(),
        _ => &[],
    };
    functions.iter().map(FunctionDefinition::name)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Group {
    action_group_name: String,
    description: Option<String>,
    parent_action_group_signature: Option<String>,
    parent_action_group_signature_params: Option<HashMap<String, String>>,
    action_group_executor: Option<Executor>,
    api_schema: Option<Schema>,
    function_schema: Option<Functions>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Executor {
    CustomControl(Control),
    Lambda(String),
}

#[derive(Deserialize)]
enum Control {
    #[serde(rename = "RETURN_CONTROL")]
    ReturnControl,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Schema {
    Payload(String),
    S3(Object),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    #[serde(rename = "s3BucketName")]
    bucket: String,
    #[serde(rename = "s3ObjectKey")]
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Functions {
    functions: Vec<Function>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Function {
    name: String,
    description: Option<String>,
    parameters: Option<HashMap<String, Parameter>>,
    require_confirmation: Option<Confirmation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameter {
    r#type: Type,
    description: Option<String>,
    required: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    String,
    Number,
    Integer,
    Boolean,
    Array,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Confirmation {
    Enabled,
    Disabled,
}

impl Group {
    fn convert(self) -> Result<AgentActionGroup, String> {
        let functions = self.function_schema.map(|schema| {
            let functions = schema.functions.into_iter().map(Function::convert);
            functions.collect::<Result<_, _>>().map(FunctionSchema::Functions)
        });
        let group = AgentActionGroup::builder()
            .action_group_name(self.action_group_name)
            .set_description(self.description)
            .set_parent_action_group_signature(
                self.parent_action_group_signature.map(|s| ActionGroupSignature::from(s.as_str())),
            )
            .set_parent_action_group_signature_params(self.parent_action_group_signature_params)
            .set_action_group_executor(self.action_group_executor.map(Into::into))
            .set_api_schema(self.api_schema.map(Into::into))
            .set_function_schema(functions.transpose()?);
        group.build().map_err(|error| error.to_string())
    }
}

impl Function {
    fn convert(self) -> Result<FunctionDefinition, String> {
        let parameters = self.parameters.map(|parameters| {
            let detail = |(name, parameter): (_, Parameter)| Ok((name, parameter.convert()?));
            parameters.into_iter().map(detail).collect::<Result<_, String>>()
        });
        let function = FunctionDefinition::builder()
            .name(self.name)
            .set_description(self.description)
            .set_parameters(parameters.transpose()?)
            .set_require_confirmation(self.require_confirmation.map(Into::into));
        function.build().map_err(|error| error.to_string())
    }
}

impl Parameter {
    fn convert(self) -> Result<ParameterDetail, String> {
        let detail = ParameterDetail::builder()
            .r#type(self.r#type.into())
            .set_description(self.description)
            .set_required(self.required);
        detail.build().map_err(|error| error.to_string())
    }
}

impl From<Executor> for ActionGroupExecutor {
    fn from(spelled: Executor) -> Self {
        match spelled {
            Executor::CustomControl(Control::ReturnControl) => {
                Self::CustomControl(CustomControlMethod::ReturnControl)
            }
            Executor::Lambda(function) => Self::Lambda(function),
        }
    }
}

impl From<Schema> for ApiSchema {
    fn from(spelled: Schema) -> Self {
        match spelled {
            Schema::Payload(payload) => Self::Payload(payload),
            Schema::S3(Object { bucket, key }) => {
                Self::S3(S3Identifier::builder().s3_bucket_name(bucket).s3_object_key(key).build())
            }
        }
    }
}

impl From<Type> for ParameterType {
    fn from(spelled: Type) -> Self {
        match spelled {
            Type::String => Self::String,
            Type::Number => Self::Number,
            Type::Integer => Self::Integer,
            Type::Boolean => Self::Boolean,
            Type::Array => Self::Array,
        }
    }
}

impl From<Confirmation> for RequireConfirmation {
    fn from(spelled: Confirmation) -> Self {
        match spelled {
            Confirmation::Enabled => Self::Enabled,
            Confirmation::Disabled => Self::Disabled,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn groups_of_every_kind_are_read() {
        let groups = read(&[
            json!({ "actionGroupName": "Weather", "description": "The sky.",
                "actionGroupExecutor": { "customControl": "RETURN_CONTROL" },
                "functionSchema": { "functions": [{ "name": "get", "requireConfirmation": "ENABLED",
                    "parameters": { "city": { "type": "string", "required": true } } }] } }),
            json!({ "actionGroupName": "Orders",
                "actionGroupExecutor": { "lambda": "arn:aws:lambda:…" },
                "apiSchema": { "s3": { "s3BucketName": "b", "s3ObjectKey": "k" } } }),
            json!({ "actionGroupName": "Code",
                "parentActionGroupSignature": "AMAZON.CodeInterpreter" }),
        ])
        .unwrap();
        assert_eq!(functions(&groups[0]).collect::<Vec<_>>(), ["get"]);
        assert_eq!(functions(&groups[1]).count(), 0);
        assert!(groups[1].api_schema().is_some_and(ApiSchema::is_s3));
        let signature = groups[2].parent_action_group_signature();
        assert_eq!(signature, Some(&ActionGroupSignature::AmazonCodeinterpreter));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let wrong = |entry: Value| read(&[json!({ "actionGroupName": "A" }), entry]).unwrap_err();
        let group = |functions: Value| json!({ "actionGroupName": "G", "functionSchema": { "functions": functions } });
        let error = wrong(group(json!([{ "name": "f" }, { "name": 3 }])));
        assert!(error.starts_with("[1].functionSchema.functions[1].name: "), "{error}");
        let error =
            wrong(group(json!([{ "name": "f", "parameters": { "a": { "type": "object" } } }])));
        assert!(error.contains("parameters.a.type"), "{error}");
        let error = wrong(json!({ "actionGroupName": "G", "executor": {} }));
        assert!(error.starts_with("[1]") && error.contains("executor"), "{error}");
        assert!(wrong(json!({})).contains("actionGroupName"));
    }
}
