//! A tool of the client's, as a harness is told of it.

use aws_sdk_bedrockagentcore::types::{
    HarnessInlineFunctionConfig, HarnessTool, HarnessToolConfiguration, HarnessToolType,
};
use serde_json::json;

use crate::turn::Tool;

use super::document::document;

/// The longest description of an inline function, in characters.
const DESCRIPTION: usize = 4_096;

/// A function of the client, as the harness is told of it.
pub(super) fn inline_function(tool: &Tool) -> HarnessTool {
    let described = tool.description.as_deref().filter(|text| !text.is_empty());
    let description = described.unwrap_or(&tool.name).chars().take(DESCRIPTION).collect::<String>();
    let empty = json!({ "type": "object", "properties": {} });
    let config = HarnessInlineFunctionConfig::builder()
        .description(description)
        .input_schema(document(tool.parameters.as_ref().unwrap_or(&empty)))
        .build()
        .expect("description and schema are all that a function needs");
    HarnessTool::builder()
        .r#type(HarnessToolType::InlineFunction)
        .name(&tool.name)
        .config(HarnessToolConfiguration::InlineFunction(config))
        .build()
        .expect("a type is all that a tool needs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_without_description_or_schema_is_still_one() {
        let tool = Tool { name: "clock".to_owned(), ..Tool::default() };
        let built = inline_function(&tool);
        let Some(HarnessToolConfiguration::InlineFunction(config)) = built.config() else {
            panic!("{built:?}")
        };
        assert_eq!(config.description(), "clock");
        assert_eq!(config.input_schema().as_object().unwrap()["type"], "object".into());
    }
}
