//! The SDK's client for Bedrock's models, and what is said to them.

use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::retry::RetryConfig;
use aws_sdk_bedrockruntime::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_bedrockruntime::error::ProvideErrorMetadata;
use aws_sdk_bedrockruntime::operation::converse::ConverseOutput;
use aws_sdk_bedrockruntime::operation::converse::builders::ConverseFluentBuilder;
use aws_sdk_bedrockruntime::operation::converse_stream::builders::ConverseStreamFluentBuilder;
use aws_sdk_bedrockruntime::types::error::ConverseStreamOutputError;
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ContentBlockDelta, ContentBlockStart, ConversationRole, ConverseStreamOutput,
    Message, StopReason, TokenUsage, Tool, ToolChoice, ToolConfiguration, ToolInputSchema,
    ToolResultBlock, ToolResultContentBlock, ToolSpecification, ToolUseBlock,
};
use aws_smithy_types::Document;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{PATIENCE, Running};

pub(crate) const HAIKU: &str = "anthropic.claude-3-haiku-20240307-v1:0";
pub(crate) const SONNET: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
pub(crate) const NOVA: &str = "amazon.nova-lite-v1:0";
/// The smallest picture: one pixel, as PNG.
pub(crate) const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01";

pub(crate) fn runtime(emulator: &Running) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("AKIAEXAMPLE", "secret", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(&emulator.url)
        .build();
    Client::from_conf(config)
}

pub(crate) fn message(role: ConversationRole, content: Vec<ContentBlock>) -> Message {
    Message::builder().role(role).set_content(Some(content)).build().unwrap()
}

pub(crate) fn user(text: &str) -> Message {
    message(ConversationRole::User, vec![ContentBlock::Text(text.to_owned())])
}

pub(crate) fn assistant(text: &str) -> Message {
    message(ConversationRole::Assistant, vec![ContentBlock::Text(text.to_owned())])
}

pub(crate) fn document(value: &Value) -> Document {
    match value {
        Value::Null => Document::Null,
        Value::Bool(truth) => Document::Bool(*truth),
        Value::Number(number) => match number.as_u64() {
            Some(whole) => Document::from(whole),
            None => Document::from(number.as_f64().unwrap()),
        },
        Value::String(text) => Document::String(text.clone()),
        Value::Array(values) => Document::Array(values.iter().map(document).collect()),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| (name.clone(), document(value)));
            Document::Object(members.collect())
        }
    }
}

pub(crate) fn weather_tools(choice: Option<ToolChoice>) -> ToolConfiguration {
    let tool = |name: &str, description: &str| {
        let schema = json!({
            "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
        });
        let spec = ToolSpecification::builder()
            .name(name)
            .description(description)
            .input_schema(ToolInputSchema::Json(document(&schema)))
            .build();
        Tool::ToolSpec(spec.unwrap())
    };
    ToolConfiguration::builder()
        .tools(tool("get_weather", "Get the current weather in a city"))
        .tools(tool("get_time", "Tell what time it is in a city"))
        .set_tool_choice(choice)
        .build()
        .unwrap()
}

pub(crate) fn content(output: &ConverseOutput) -> &[ContentBlock] {
    output.output().unwrap().as_message().unwrap().content()
}

pub(crate) fn text(output: &ConverseOutput) -> &str {
    content(output).iter().find_map(|block| block.as_text().ok()).unwrap()
}

pub(crate) fn calls(output: &ConverseOutput) -> Vec<&ToolUseBlock> {
    content(output).iter().filter_map(|block| block.as_tool_use().ok()).collect()
}

pub(crate) async fn sent(call: ConverseFluentBuilder) -> ConverseOutput {
    timeout(PATIENCE, call.send()).await.unwrap().unwrap()
}

/// The message of the `ValidationException` that a call is refused with.
pub(crate) async fn refused(call: ConverseFluentBuilder) -> String {
    let error = timeout(PATIENCE, call.send()).await.unwrap().unwrap_err().into_service_error();
    assert_eq!(error.code(), Some("ValidationException"), "{error:?}");
    error.message().unwrap().to_owned()
}

pub(crate) fn result(call: &ToolUseBlock, text: &str) -> ContentBlock {
    let result = ToolResultBlock::builder()
        .tool_use_id(call.tool_use_id())
        .content(ToolResultContentBlock::Text(text.to_owned()));
    ContentBlock::ToolResult(result.build().unwrap())
}

/// What a stream brought.
#[derive(Debug, Default)]
pub(crate) struct Streamed {
    pub(crate) text: String,
    pub(crate) thought: String,
    pub(crate) signatures: usize,
    pub(crate) calls: Vec<(i32, String, String)>,
    pub(crate) stop: Option<StopReason>,
    pub(crate) usage: Option<TokenUsage>,
    pub(crate) deltas: usize,
    pub(crate) failure: Option<ConverseStreamOutputError>,
    pub(crate) broken: bool,
}

pub(crate) async fn streamed(call: ConverseStreamFluentBuilder) -> Streamed {
    let listen = async {
        let mut output = call.send().await.unwrap();
        let mut heard = Streamed::default();
        loop {
            match output.stream.recv().await {
                Ok(Some(event)) => take(&mut heard, event),
                Ok(None) => return heard,
                Err(error) => {
                    heard.broken = true;
                    heard.failure = error.into_service_error().into();
                    return heard;
                }
            }
        }
    };
    timeout(PATIENCE, listen).await.unwrap()
}

fn take(heard: &mut Streamed, event: ConverseStreamOutput) {
    match event {
        ConverseStreamOutput::ContentBlockStart(start) => {
            if let Some(ContentBlockStart::ToolUse(call)) = start.start() {
                let name = call.name().to_owned();
                heard.calls.push((start.content_block_index(), name, String::new()));
            }
        }
        ConverseStreamOutput::ContentBlockDelta(delta) => {
            heard.deltas += 1;
            match delta.delta() {
                Some(ContentBlockDelta::Text(text)) => heard.text.push_str(text),
                Some(ContentBlockDelta::ToolUse(call)) => {
                    heard.calls.last_mut().unwrap().2.push_str(call.input());
                }
                Some(ContentBlockDelta::ReasoningContent(thought)) => match thought.as_text() {
                    Ok(text) => heard.thought.push_str(text),
                    Err(_) => heard.signatures += 1,
                },
                _ => {}
            }
        }
        ConverseStreamOutput::MessageStop(stop) => heard.stop = Some(stop.stop_reason().clone()),
        ConverseStreamOutput::Metadata(metadata) => heard.usage = metadata.usage().cloned(),
        _ => {}
    }
}
