//! Results in the service's own spelling (`returnControlInvocationResults`), as the SDK's types.

use std::collections::HashMap;

use aws_sdk_bedrockagentruntime::primitives::Blob;
use aws_sdk_bedrockagentruntime::types::{
    ApiResult, ConfirmationState, ContentBody, FunctionResult, ImageInput, ImageInputFormat,
    ImageInputSource, InvocationResultMember, ResponseState,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

/// Reads a result.
///
/// # Errors
/// What is wrong with it, and at which member.
pub(super) fn read(value: &Value) -> Result<InvocationResultMember, String> {
    let spelled: Spelled = serde_path_to_error::deserialize(value).map_err(|error| {
        let place = error.path().to_string();
        match place.as_str() {
            "." => error.inner().to_string(),
            place => format!("{place}: {}", error.inner()),
        }
    })?;
    match spelled {
        Spelled::ApiResult(result) => result.convert(),
        Spelled::FunctionResult(result) => result.convert(),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Spelled {
    ApiResult(SpelledApiResult),
    FunctionResult(SpelledFunctionResult),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SpelledApiResult {
    action_group: String,
    api_path: Option<String>,
    http_method: Option<String>,
    http_status_code: Option<i32>,
    response_body: Option<HashMap<String, Body>>,
    confirmation_state: Option<Confirmation>,
    response_state: Option<State>,
    agent_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SpelledFunctionResult {
    action_group: String,
    function: Option<String>,
    response_body: Option<HashMap<String, Body>>,
    confirmation_state: Option<Confirmation>,
    response_state: Option<State>,
    agent_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    body: Option<String>,
    images: Option<Vec<Image>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    format: Format,
    source: Source,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Gif,
    Jpeg,
    Png,
    Webp,
}

/// In JSON, bytes are base64.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    bytes: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Confirmation {
    Confirm,
    Deny,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum State {
    Failure,
    Reprompt,
}

impl SpelledApiResult {
    fn convert(self) -> Result<InvocationResultMember, String> {
        let result = ApiResult::builder()
            .action_group(self.action_group)
            .set_api_path(self.api_path)
            .set_http_method(self.http_method)
            .set_http_status_code(self.http_status_code)
            .set_response_body(self.response_body.map(bodies).transpose()?)
            .set_confirmation_state(self.confirmation_state.map(Into::into))
            .set_response_state(self.response_state.map(Into::into))
            .set_agent_id(self.agent_id)
            .build();
        result.map(InvocationResultMember::ApiResult).map_err(|error| error.to_string())
    }
}

impl SpelledFunctionResult {
    fn convert(self) -> Result<InvocationResultMember, String> {
        let result = FunctionResult::builder()
            .action_group(self.action_group)
            .set_function(self.function)
            .set_response_body(self.response_body.map(bodies).transpose()?)
            .set_confirmation_state(self.confirmation_state.map(Into::into))
            .set_response_state(self.response_state.map(Into::into))
            .set_agent_id(self.agent_id)
            .build();
        result.map(InvocationResultMember::FunctionResult).map_err(|error| error.to_string())
    }
}

fn bodies(spelled: HashMap<String, Body>) -> Result<HashMap<String, ContentBody>, String> {
    let body = |(name, body): (String, Body)| {
        let images = body.images.map(|images| images.into_iter().map(image).collect());
        let content = ContentBody::builder()
            .set_body(body.body)
            .set_images(images.transpose().map_err(|error| format!("{name}: {error}"))?);
        Ok((name, content.build()))
    };
    spelled.into_iter().map(body).collect()
}

fn image(spelled: Image) -> Result<ImageInput, String> {
    let bytes = STANDARD.decode(spelled.source.bytes);
    let bytes = bytes.map_err(|_| "the bytes of an image must be base64".to_owned())?;
    let format = match spelled.format {
        Format::Gif => ImageInputFormat::Gif,
        Format::Jpeg => ImageInputFormat::Jpeg,
        Format::Png => ImageInputFormat::Png,
        Format::Webp => ImageInputFormat::Webp,
    };
    let image = ImageInput::builder().format(format);
    let image = image.source(ImageInputSource::Bytes(Blob::new(bytes))).build();
    image.map_err(|error| error.to_string())
}

impl From<Confirmation> for ConfirmationState {
    fn from(spelled: Confirmation) -> Self {
        match spelled {
            Confirmation::Confirm => Self::Confirm,
            Confirmation::Deny => Self::Deny,
        }
    }
}

impl From<State> for ResponseState {
    fn from(spelled: State) -> Self {
        match spelled {
            State::Failure => Self::Failure,
            State::Reprompt => Self::Reprompt,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_of_functions_and_of_operations_are_read() {
        let function = json!({ "functionResult": {
            "actionGroup": "Weather", "function": "get", "agentId": "A1",
            "responseBody": { "TEXT": { "body": "rain" } },
            "responseState": "REPROMPT", "confirmationState": "CONFIRM" } });
        let InvocationResultMember::FunctionResult(result) = read(&function).unwrap() else {
            panic!("no function result")
        };
        assert_eq!(result.response_body().unwrap()["TEXT"].body(), Some("rain"));
        assert_eq!(result.response_state(), Some(&ResponseState::Reprompt));
        let api = json!({ "apiResult": { "actionGroup": "Orders", "apiPath": "/o",
            "httpMethod": "GET", "httpStatusCode": 204 } });
        let InvocationResultMember::ApiResult(result) = read(&api).unwrap() else {
            panic!("no api result")
        };
        assert_eq!(result.http_status_code(), Some(204));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let wrong = |value: Value| read(&value).unwrap_err();
        let error = wrong(json!({ "functionResult": { "actionGroup": "G",
            "responseBody": { "TEXT": { "body": 3 } } } }));
        assert!(error.starts_with("functionResult.responseBody.TEXT.body: "), "{error}");
        let error = wrong(json!({ "functionResult": { "actionGroup": "G", "htpStatus": 2 } }));
        assert!(error.contains("htpStatus"), "{error}");
        assert!(wrong(json!({ "result": {} })).contains("functionResult"));
        assert!(!wrong(json!("text")).is_empty());
        let image = json!({ "functionResult": { "actionGroup": "G", "responseBody": {
            "IMAGES": { "images": [{ "format": "png", "source": { "bytes": "%" } }] } } } });
        assert!(wrong(image).contains("base64"));
    }
}
