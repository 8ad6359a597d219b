//! Converse and `ConverseStream` as the SDK sees them.

use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::retry::RetryConfig;
use aws_sdk_bedrockruntime::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_bedrockruntime::error::ProvideErrorMetadata;
use aws_sdk_bedrockruntime::operation::converse::ConverseOutput;
use aws_sdk_bedrockruntime::operation::converse::builders::ConverseFluentBuilder;
use aws_sdk_bedrockruntime::operation::converse_stream::builders::ConverseStreamFluentBuilder;
use aws_sdk_bedrockruntime::types::error::ConverseStreamOutputError;
use aws_sdk_bedrockruntime::types::{
    AnyToolChoice, CachePointBlock, CachePointType, ContentBlock, ContentBlockDelta,
    ContentBlockStart, ConversationRole, ConverseStreamOutput, GuardrailConfiguration,
    InferenceConfiguration, JsonSchemaDefinition, Message, OutputConfig, OutputFormat,
    OutputFormatStructure, OutputFormatType, ReasoningContentBlock, StopReason, SystemContentBlock,
    TokenUsage, Tool, ToolChoice, ToolConfiguration, ToolInputSchema, ToolResultBlock,
    ToolResultContentBlock, ToolSpecification, ToolUseBlock,
};
use aws_smithy_types::Document;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{PATIENCE, Running, SIGNED, start};

pub(crate) const HAIKU: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const SONNET: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const NOVA: &str = "amazon.nova-lite-v1:0";
/// The smallest picture: one pixel, as PNG.
const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01";

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

fn message(role: ConversationRole, content: Vec<ContentBlock>) -> Message {
    Message::builder().role(role).set_content(Some(content)).build().unwrap()
}

fn user(text: &str) -> Message {
    message(ConversationRole::User, vec![ContentBlock::Text(text.to_owned())])
}

fn assistant(text: &str) -> Message {
    message(ConversationRole::Assistant, vec![ContentBlock::Text(text.to_owned())])
}

fn document(value: &Value) -> Document {
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

fn weather_tools(choice: Option<ToolChoice>) -> ToolConfiguration {
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

fn content(output: &ConverseOutput) -> &[ContentBlock] {
    output.output().unwrap().as_message().unwrap().content()
}

fn text(output: &ConverseOutput) -> &str {
    content(output).iter().find_map(|block| block.as_text().ok()).unwrap()
}

fn calls(output: &ConverseOutput) -> Vec<&ToolUseBlock> {
    content(output).iter().filter_map(|block| block.as_tool_use().ok()).collect()
}

async fn sent(call: ConverseFluentBuilder) -> ConverseOutput {
    timeout(PATIENCE, call.send()).await.unwrap().unwrap()
}

/// The message of the `ValidationException` that a call is refused with.
async fn refused(call: ConverseFluentBuilder) -> String {
    let error = timeout(PATIENCE, call.send()).await.unwrap().unwrap_err().into_service_error();
    assert_eq!(error.code(), Some("ValidationException"), "{error:?}");
    error.message().unwrap().to_owned()
}

fn result(call: &ToolUseBlock, text: &str) -> ContentBlock {
    let result = ToolResultBlock::builder()
        .tool_use_id(call.tool_use_id())
        .content(ToolResultContentBlock::Text(text.to_owned()));
    ContentBlock::ToolResult(result.build().unwrap())
}

/// What a stream brought.
#[derive(Debug, Default)]
struct Streamed {
    text: String,
    thought: String,
    signatures: usize,
    calls: Vec<(i32, String, String)>,
    stop: Option<StopReason>,
    usage: Option<TokenUsage>,
    deltas: usize,
    failure: Option<ConverseStreamOutputError>,
    broken: bool,
}

async fn streamed(call: ConverseStreamFluentBuilder) -> Streamed {
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

#[tokio::test]
async fn a_model_knows_what_its_transcript_says_and_nothing_else() {
    let emulator = start().await;
    let call = || runtime(&emulator).converse().model_id(HAIKU);
    let told = call()
        .messages(user("My name is Ann"))
        .messages(assistant("Hello."))
        .messages(user("What is my name?"));
    let answer = sent(told).await;
    assert_eq!(text(&answer), "Your name is Ann.");
    assert_eq!(answer.stop_reason(), &StopReason::EndTurn);
    let usage = answer.usage().unwrap();
    assert_eq!(usage.total_tokens(), usage.input_tokens() + usage.output_tokens());
    let untold = sent(call().messages(user("What is my name?"))).await;
    assert_eq!(text(&untold), "You have not told me your name yet.");
}

#[tokio::test]
async fn a_stream_says_the_same_word_by_word() {
    let emulator = start().await;
    let call = runtime(&emulator).converse_stream().model_id(HAIKU);
    let heard = streamed(call.messages(user("count to 30"))).await;
    assert_eq!(heard.text.split_whitespace().count(), 30);
    assert_eq!((heard.deltas, heard.stop), (30, Some(StopReason::EndTurn)));
    assert_eq!(heard.usage.unwrap().output_tokens(), 30);
}

#[tokio::test]
async fn a_fitting_tool_is_called_and_its_result_used() {
    let emulator = start().await;
    let question = user("What's the weather in Paris and the time in Paris?");
    let call = || runtime(&emulator).converse().model_id(HAIKU).tool_config(weather_tools(None));
    let asked = sent(call().messages(question.clone())).await;
    assert_eq!(asked.stop_reason(), &StopReason::ToolUse);
    let names: Vec<_> = calls(&asked).iter().map(|call| call.name()).collect();
    assert_eq!(names, ["get_weather", "get_time"]);
    let input = calls(&asked)[0].input().as_object().unwrap();
    assert_eq!(input["city"].as_string(), Some("Paris"));
    let message_of =
        |output: &ConverseOutput| output.output().unwrap().as_message().unwrap().clone();
    let results = vec![result(calls(&asked)[0], "rain"), result(calls(&asked)[1], "noon")];
    let answered = call()
        .messages(question.clone())
        .messages(message_of(&asked))
        .messages(message(ConversationRole::User, results));
    assert_eq!(text(&sent(answered).await), "get_weather says: rain get_time says: noon");
    let half = call()
        .messages(question)
        .messages(message_of(&asked))
        .messages(message(ConversationRole::User, vec![result(calls(&asked)[0], "rain")]));
    assert!(refused(half).await.contains("Expected toolResult blocks at messages.2.content"));
}

#[tokio::test]
async fn a_script_says_something_before_its_calls_and_chains_them() {
    let emulator = start().await;
    let text = "say: Let me look; call: get_time city=Rome; call: get_weather city=Oslo; \
                then call: get_time city=Bern";
    let stream = runtime(&emulator)
        .converse_stream()
        .model_id(HAIKU)
        .tool_config(weather_tools(None))
        .messages(user(text));
    let heard = streamed(stream).await;
    assert_eq!((heard.text.as_str(), heard.stop), ("Let me look", Some(StopReason::ToolUse)));
    let expected = [
        (1, "get_time".to_owned(), r#"{"city":"Rome"}"#.to_owned()),
        (2, "get_weather".to_owned(), r#"{"city":"Oslo"}"#.to_owned()),
    ];
    assert_eq!(heard.calls, expected);
}

#[tokio::test]
async fn a_forced_choice_is_obeyed() {
    let emulator = start().await;
    let call = |choice| {
        let tools = weather_tools(Some(choice));
        runtime(&emulator).converse().model_id(HAIKU).tool_config(tools).messages(user("hello"))
    };
    let any = sent(call(ToolChoice::Any(AnyToolChoice::builder().build()))).await;
    assert_eq!(calls(&any).len(), 1);
    let named = aws_sdk_bedrockruntime::types::SpecificToolChoice::builder().name("get_time");
    let forced = sent(call(ToolChoice::Tool(named.build().unwrap()))).await;
    assert_eq!(calls(&forced)[0].name(), "get_time");
    assert_eq!(forced.stop_reason(), &StopReason::ToolUse);
}

#[tokio::test]
async fn an_answer_ends_where_it_is_told_to() {
    let emulator = start().await;
    let call = |config| {
        let call = runtime(&emulator).converse().model_id(HAIKU).inference_config(config);
        call.messages(user("count to 20"))
    };
    let short = sent(call(InferenceConfiguration::builder().max_tokens(5).build())).await;
    assert_eq!((text(&short), short.stop_reason()), ("1 2 3 4 5 ", &StopReason::MaxTokens));
    let stops = InferenceConfiguration::builder().stop_sequences("4 ").build();
    let stopped = call(stops).additional_model_response_field_paths("/stop_sequence");
    let stopped = sent(stopped).await;
    assert_eq!((text(&stopped), stopped.stop_reason()), ("1 2 3 ", &StopReason::StopSequence));
    let fields = stopped.additional_model_response_fields().unwrap().as_object().unwrap();
    assert_eq!(fields["stop_sequence"].as_string(), Some("4 "));
    for reason in ["content_filtered", "malformed_tool_use", "model_context_window_exceeded"] {
        let scripted = user(&format!("say: so far; stop: {reason}"));
        let answer = sent(runtime(&emulator).converse().model_id(HAIKU).messages(scripted)).await;
        assert_eq!(answer.stop_reason().as_str(), reason);
    }
}

#[tokio::test]
async fn a_thought_is_signed_and_must_come_back_unchanged() {
    let emulator = start().await;
    let thinking = document(&json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}));
    let question = user("call: get_time city=Rome");
    let call = || {
        let call = runtime(&emulator).converse().model_id(SONNET).messages(question.clone());
        call.tool_config(weather_tools(None)).additional_model_request_fields(thinking.clone())
    };
    let asked = sent(call()).await;
    let thought = content(&asked)[0].as_reasoning_content().unwrap().as_reasoning_text().unwrap();
    assert!(thought.signature().is_some());
    let results = || message(ConversationRole::User, vec![result(calls(&asked)[0], "noon")]);
    let whole = asked.output().unwrap().as_message().unwrap().clone();
    let answered = sent(call().messages(whole.clone()).messages(results())).await;
    assert_eq!(text(&answered), "get_time says: noon");

    let bare = message(ConversationRole::Assistant, content(&asked)[1..].to_vec());
    let told = refused(call().messages(bare).messages(results())).await;
    assert!(told.contains("Expected `thinking`"), "{told}");

    let forged = aws_sdk_bedrockruntime::types::ReasoningTextBlock::builder()
        .text("I thought otherwise")
        .set_signature(thought.signature().map(str::to_owned))
        .build()
        .unwrap();
    let forged = ContentBlock::ReasoningContent(ReasoningContentBlock::ReasoningText(forged));
    let forged = [&[forged], &content(&asked)[1..]].concat();
    let forged = message(ConversationRole::Assistant, forged);
    let told = refused(call().messages(forged).messages(results())).await;
    assert!(told.contains("Invalid `signature`"), "{told}");

    let stream = runtime(&emulator).converse_stream().model_id(SONNET).messages(user("hello"));
    let heard = streamed(stream.additional_model_request_fields(thinking)).await;
    assert!(heard.thought.contains("hello"));
    assert_eq!(heard.signatures, 1);
}

#[tokio::test]
async fn a_schema_is_answered_by_a_value_that_fits() {
    let emulator = start().await;
    let schema = json!({
        "type": "object", "additionalProperties": false,
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    });
    let config = |schema: &Value| {
        let schema = JsonSchemaDefinition::builder().name("trip").schema(schema.to_string());
        let format = OutputFormat::builder()
            .r#type(OutputFormatType::JsonSchema)
            .structure(OutputFormatStructure::JsonSchema(schema.build().unwrap()))
            .build()
            .unwrap();
        OutputConfig::builder().text_format(format).build()
    };
    let call = || runtime(&emulator).converse().messages(user("Plan 3 days somewhere"));
    let answer = sent(call().model_id(SONNET).output_config(config(&schema))).await;
    let value: Value = serde_json::from_str(text(&answer)).unwrap();
    assert_eq!(value["days"], 3);
    assert!(value["city"].is_string());
    let open = json!({"type": "object", "properties": {}});
    let told = refused(call().model_id(SONNET).output_config(config(&open))).await;
    assert!(told.contains("additionalProperties"), "{told}");
    refused(call().model_id(HAIKU).output_config(config(&schema))).await;
}

#[tokio::test]
async fn a_cached_prefix_is_written_once_and_read_again() {
    let emulator = start().await;
    let call = |question: &str| {
        let point = CachePointBlock::builder().r#type(CachePointType::Default).build().unwrap();
        runtime(&emulator)
            .converse()
            .model_id(NOVA)
            .system(SystemContentBlock::Text("word ".repeat(1_500)))
            .system(SystemContentBlock::CachePoint(point))
            .messages(user(question))
    };
    let first = sent(call("one")).await.usage().unwrap().clone();
    assert_eq!(first.cache_write_input_tokens(), Some(1_500));
    let second = sent(call("two")).await.usage().unwrap().clone();
    assert_eq!(second.cache_read_input_tokens(), Some(1_500));
    assert_eq!(second.cache_write_input_tokens(), Some(0));
    assert!(second.input_tokens() < 100 && second.total_tokens() > 1_500);
}

#[tokio::test]
async fn a_guardrail_steps_in_on_either_side() {
    let emulator = start().await;
    let guardrail = GuardrailConfiguration::builder()
        .guardrail_identifier("abc123")
        .guardrail_version("1")
        .trace(aws_sdk_bedrockruntime::types::GuardrailTrace::Enabled)
        .build();
    let call = |text: &str| runtime(&emulator).converse().model_id(HAIKU).messages(user(text));
    let answer = sent(call("say something forbidden").guardrail_config(guardrail.clone())).await;
    assert_eq!(answer.stop_reason(), &StopReason::GuardrailIntervened);
    let trace = answer.trace().unwrap().guardrail().unwrap();
    assert!(trace.input_assessment().unwrap().contains_key("abc123"));
    let unguarded = sent(call("say something forbidden")).await;
    assert_eq!(unguarded.stop_reason(), &StopReason::EndTurn);
}

#[tokio::test]
async fn pictures_are_acknowledged_and_looked_at() {
    use aws_sdk_bedrockruntime::types::{ImageBlock, ImageFormat, ImageSource};
    let emulator = start().await;
    let call = |format, model| {
        let source = ImageSource::Bytes(PIXEL.into());
        let image = ImageBlock::builder().format(format).source(source).build().unwrap();
        let content = vec![ContentBlock::Text("Look".to_owned()), ContentBlock::Image(image)];
        let message = message(ConversationRole::User, content);
        runtime(&emulator).converse().model_id(model).messages(message)
    };
    let answer = sent(call(ImageFormat::Png, HAIKU)).await;
    assert_eq!(text(&answer), "I see image (png, 24 bytes, 1x1).");
    let told = refused(call(ImageFormat::Jpeg, HAIKU)).await;
    assert!(told.contains("appears to be a image/png"), "{told}");
    refused(call(ImageFormat::Png, "amazon.nova-micro-v1:0")).await;
}

#[tokio::test]
async fn a_sloppy_transcript_is_refused() {
    let emulator = start().await;
    let text = |role: &str, text: &str| json!({"role": role, "content": [{"text": text}]});
    let use_of = |id: &str| {
        json!({"role": "assistant",
               "content": [{"toolUse": {"toolUseId": id, "name": "t", "input": {}}}]})
    };
    let result_of = |id: &str| {
        json!({"role": "user",
               "content": [{"toolResult": {"toolUseId": id, "content": [{"text": "x"}]}}]})
    };
    let spec = json!({"tools": [{"toolSpec": {
        "name": "t", "inputSchema": {"json": {"type": "object"}},
    }}]});
    let cases = [
        (json!({"messages": []}), "must start with a user message"),
        (json!({"messages": [text("assistant", "a")]}), "must start with a user message"),
        (json!({"messages": [text("user", "a"), text("user", "b")]}), "roles must alternate"),
        (json!({"messages": [text("user", " ")]}), "is blank"),
        (json!({"messages": [{"role": "user", "content": []}]}), "is empty"),
        (
            json!({"messages": [text("user", "a")], "system": [{"text": ""}]}),
            "SystemContentBlock object at system.0 is blank",
        ),
        (
            json!({"messages": [text("user", "a"), use_of("1"), result_of("1")]}),
            "The toolConfig field must be defined",
        ),
        (
            json!({"messages": [text("user", "a"), use_of("1"), text("user", "b")],
                   "toolConfig": spec}),
            "Expected toolResult blocks at messages.2.content for the following Ids: 1",
        ),
        (
            json!({"messages": [result_of("1")], "toolConfig": spec}),
            "exceeds the number of toolUse blocks",
        ),
        (
            json!({"messages": [text("user", "a"), use_of("call/1"), result_of("call/1")],
                   "toolConfig": spec}),
            "regular expression pattern: [a-zA-Z0-9_.:-]+",
        ),
        (json!({"messages": [text("user", "a"), text("assistant", "b ")]}), "trailing whitespace"),
        (
            json!({"messages": [text("user", "a")], "inferenceConfig": {"maxTokens": 0}}),
            "inferenceConfig.maxTokens",
        ),
        (
            json!({"messages": [text("user", "a")], "inferenceConfig": {"maxTokens": 9999}}),
            "exceeds the model limit",
        ),
        (
            json!({"messages": [text("user", "a")],
                   "additionalModelRequestFields": {"presence_penalty": 1}}),
            "Malformed input request: extraneous key [presence_penalty]",
        ),
        (json!({"messages": [text("user", "a")], "toolConfig": {"tools": []}}), "toolConfig.tools"),
    ];
    for (body, told) in cases {
        let path = format!("/model/{HAIKU}/converse");
        let (head, body) = emulator.post(&path, Some(SIGNED), body.to_string()).await;
        assert_eq!(head.status(), StatusCode::BAD_REQUEST, "{told}");
        assert_eq!(head.headers()["x-amzn-errortype"], "ValidationException", "{body}");
        let message = body["message"].as_str().unwrap();
        assert!(message.contains(told), "{message}\n  not: {told}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_request_is_not_read() {
    let emulator = start().await;
    let path = format!("/model/{HAIKU}/converse");
    for body in [
        "{",
        r#"{"messages":{}}"#,
        r#"{"messages":[{"role":"bot","content":[]}]}"#,
        r#"{"messages":[{"role":"user","content":[{"text":"a","image":{}}]}]}"#,
        r#"{"messages":[{"role":"user","content":[{"emoji":"x"}]}]}"#,
    ] {
        let (head, _) = emulator.post(&path, Some(SIGNED), body.to_owned()).await;
        assert_eq!(head.headers()["x-amzn-errortype"], "SerializationException", "{body}");
    }
    let (head, _) = emulator.post(&path, None, "{}".to_owned()).await;
    assert_eq!(head.status(), StatusCode::FORBIDDEN);
    let (head, _) = emulator.post(&path, Some("Bearer a-bedrock-key"), "{}".to_owned()).await;
    assert_eq!(head.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_model_that_is_not_there_is_an_invalid_identifier() {
    let emulator = start().await;
    for (model, told) in [
        ("gpt-4o", "The provided model identifier is invalid."),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "on-demand throughput"),
        ("amazon.titan-embed-text-v2:0", "doesn't support this operation"),
    ] {
        let call = runtime(&emulator).converse().model_id(model).messages(user("hello"));
        assert!(refused(call).await.contains(told), "{model}");
    }
    let long = user(&"word ".repeat(5_000));
    let call = runtime(&emulator).converse().model_id("amazon.titan-text-lite-v1").messages(long);
    assert_eq!(refused(call).await, "Input is too long for requested model.");
}

#[tokio::test]
async fn faults_of_a_stream_come_where_they_are_asked_for() {
    let emulator = start().await;
    let call = |fault: &str| {
        let call = runtime(&emulator).converse_stream().model_id(HAIKU);
        call.messages(user("count to 9")).request_metadata("outcrop-emulator-fault", fault)
    };
    let exception = streamed(call("exception:modelStreamErrorException:2")).await;
    assert_eq!((exception.text.as_str(), exception.deltas), ("1 2 ", 2));
    let failure = exception.failure.unwrap();
    assert!(failure.is_model_stream_error_exception(), "{failure:?}");
    for fault in ["cut:3", "garbage:3", "error-frame:3"] {
        let broken = streamed(call(fault)).await;
        assert!(broken.broken && broken.stop.is_none(), "{fault}");
        assert_eq!(broken.text, "1 2 3 ");
    }
    let ended = streamed(call("end:3")).await;
    assert!(!ended.broken && ended.stop.is_none() && ended.usage.is_none());
    for fault in ["slow", "unknown-event", "thinking:20"] {
        let whole = streamed(call(fault)).await;
        assert_eq!((whole.deltas, whole.stop), (9, Some(StopReason::EndTurn)), "{fault}");
    }
}

#[tokio::test]
async fn refusals_have_the_models_own_types_and_end_when_they_are_counted() {
    let emulator = start().await;
    for (fault, status, kind) in [
        ("throttle", 429, "ThrottlingException"),
        ("model-not-ready", 429, "ModelNotReadyException"),
        ("model-timeout", 408, "ModelTimeoutException"),
        ("model-error", 424, "ModelErrorException"),
        ("context-overflow", 400, "ValidationException"),
        ("access-denied", 403, "AccessDeniedException"),
        ("internal", 500, "InternalServerException"),
        ("exception:serviceUnavailableException", 503, "ServiceUnavailableException"),
    ] {
        let text = format!("hello outcrop-emulator-fault: {fault}");
        let body = json!({"messages": [{"role": "user", "content": [{"text": text}]}]});
        let path = format!("/model/{HAIKU}/converse");
        let (head, _) = emulator.post(&path, Some(SIGNED), body.to_string()).await;
        assert_eq!(head.status().as_u16(), status, "{fault}");
        assert_eq!(head.headers()["x-amzn-errortype"], kind);
    }
    let call = || {
        let system = SystemContentBlock::Text("outcrop-emulator-fault: throttle:2".to_owned());
        runtime(&emulator).converse().model_id(HAIKU).system(system).messages(user("again"))
    };
    for _ in 0..2 {
        let error = call().send().await.unwrap_err();
        assert_eq!(error.code(), Some("ThrottlingException"));
    }
    sent(call()).await;
}

#[tokio::test]
async fn what_was_sent_can_be_looked_up() {
    let emulator = start().await;
    let call = runtime(&emulator).converse().model_id(HAIKU).messages(user("count to 3"));
    sent(call.request_metadata("session", "one")).await;
    let call = runtime(&emulator).converse_stream().model_id(HAIKU).messages(user("count to 9"));
    let open = call.request_metadata("outcrop-emulator-fault", "stall:1").send().await.unwrap();
    drop(open);
    let state = emulator.state_when(|state| state["models"]["disconnected"] == 1).await;
    let calls = &state["models"]["calls"];
    assert_eq!(calls[0]["api"], "converse");
    assert_eq!(calls[0]["model"], HAIKU);
    assert_eq!(calls[0]["text"], "count to 3");
    assert_eq!(calls[0]["authorization"], "sigv4");
    assert_eq!(calls[0]["request"]["requestMetadata"]["session"], "one");
    assert_eq!(calls[0]["tokens"]["output"], 3);
    assert_eq!(calls[0]["ended"], "ok");
    assert_eq!((&calls[1]["ended"], &calls[1]["status"]), (&json!("disconnected"), &json!(200)));
    emulator.request(Method::POST, "/_emulator/reset", None, "").await;
    assert_eq!(emulator.state().await["models"]["calls"], json!([]));
}
