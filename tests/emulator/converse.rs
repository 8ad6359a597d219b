//! Converse and `ConverseStream` as the SDK sees them: what is answered.

use aws_sdk_bedrockruntime::operation::converse::ConverseOutput;
use aws_sdk_bedrockruntime::types::{
    AnyToolChoice, CachePointBlock, CachePointType, ContentBlock, ConversationRole,
    GuardrailConfiguration, InferenceConfiguration, JsonSchemaDefinition, OutputConfig,
    OutputFormat, OutputFormatStructure, OutputFormatType, ReasoningContentBlock, StopReason,
    SystemContentBlock, ToolChoice,
};
use serde_json::{Value, json};

use crate::bedrock::{
    HAIKU, NOVA, PIXEL, SONNET, assistant, calls, content, document, message, refused, result,
    runtime, sent, streamed, text, user, weather_tools,
};
use crate::harness::start;

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
