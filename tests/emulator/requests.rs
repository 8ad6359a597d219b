//! What comes with a call, what the state tells of it, and what outlives its session.

use aws_sdk_bedrockagentruntime::error::ProvideErrorMetadata;
use aws_sdk_bedrockagentruntime::primitives::Blob;
use aws_sdk_bedrockagentruntime::types::{
    BedrockModelConfigurations, ByteContentFile, FileSource, FileSourceType, FileUseCase,
    InputFile, KnowledgeBaseConfiguration, KnowledgeBaseRetrievalConfiguration,
    KnowledgeBaseVectorSearchConfiguration, MemoryType, PerformanceConfigLatency,
    PerformanceConfiguration, PromptCreationConfigurations, S3ObjectFile, SessionState,
    StreamingConfigurations,
};
use serde_json::json;

use crate::harness::{Running, hear, pairs, start};

fn with_source(name: &str, source: FileSource) -> InputFile {
    let file = InputFile::builder().name(name).use_case(FileUseCase::Chat).source(source);
    file.build().unwrap()
}

fn bytes(name: &str, length: usize) -> InputFile {
    let data = Blob::new(vec![b'x'; length]);
    let content = ByteContentFile::builder().media_type("text/csv").data(data).build().unwrap();
    let source = FileSource::builder().source_type(FileSourceType::ByteContent);
    with_source(name, source.byte_content(content).build().unwrap())
}

fn stored(name: &str) -> InputFile {
    let place = S3ObjectFile::builder().uri("s3://bucket/key").build().unwrap();
    let source = FileSource::builder().source_type(FileSourceType::S3).s3_location(place);
    with_source(name, source.build().unwrap())
}

fn with_files(files: Vec<InputFile>) -> SessionState {
    SessionState::builder().set_files(Some(files)).build()
}

impl Running {
    async fn end(&self, session: &str, memory: &str) {
        hear(self.call(session).memory_id(memory).end_session(true)).await.unwrap();
    }

    async fn recall(&self, session: &str, memory: &str) -> String {
        let call = self.call(session).memory_id(memory).input_text("What do you remember?");
        hear(call).await.unwrap().text()
    }

    async fn memories(&self, memory: &str) -> Vec<String> {
        let call = self.client.get_agent_memory().agent_id("ABCDEF1234");
        let call = call.agent_alias_id("TSTALIASID").memory_type(MemoryType::SessionSummary);
        let mut pages = call.memory_id(memory).max_items(1).into_paginator().send();
        let mut texts = Vec::new();
        while let Some(page) = pages.next().await {
            for memory in page.unwrap().memory_contents() {
                let summary = memory.as_session_summary().unwrap();
                assert!(summary.session_start_time().is_some());
                texts.push(summary.summary_text().unwrap().to_owned());
            }
        }
        texts
    }
}

#[tokio::test]
async fn attributes_are_told_when_asked_for() {
    let emulator = start().await;
    let asked = || emulator.call("told").input_text("What are my attributes?");
    let state = SessionState::builder()
        .set_session_attributes(pairs(&[("tenant", "acme"), ("plan", "gold")]))
        .set_prompt_session_attributes(pairs(&[("mood", "good")]))
        .build();
    let heard = hear(asked().session_state(state)).await.unwrap();
    let expected = "Session attributes: plan=gold, tenant=acme. Prompt attributes: mood=good.";
    assert_eq!(heard.text(), expected);
    let heard = hear(asked()).await.unwrap();
    let expected = "Session attributes: plan=gold, tenant=acme. Prompt attributes: none.";
    assert_eq!(heard.text(), expected);
}

#[tokio::test]
async fn files_are_told_when_asked_for_and_kept_by_the_session() {
    let emulator = start().await;
    let call =
        emulator.call("files").session_state(with_files(vec![bytes("a.csv", 3), stored("b")]));
    hear(call.input_text("hello")).await.unwrap();
    let expected = "Files: a.csv (text/csv, 3 bytes, CHAT), b (s3://bucket/key, CHAT).";
    assert_eq!(emulator.say("files", "What are my files?").await, expected);
}

#[tokio::test]
async fn more_than_five_files_are_refused() {
    let emulator = start().await;
    let call = emulator.call("many").session_state(with_files(vec![bytes("a", 1); 6]));
    let error = hear(call.input_text("hello")).await.unwrap_err();
    assert_eq!(error.code(), Some("ValidationException"));
    assert!(error.message().unwrap().contains("files"), "{error:?}");
}

#[tokio::test]
async fn the_state_has_the_whole_request() {
    let emulator = start().await;
    let search = KnowledgeBaseVectorSearchConfiguration::builder().number_of_results(3).build();
    let retrieval =
        KnowledgeBaseRetrievalConfiguration::builder().vector_search_configuration(search).build();
    let base = KnowledgeBaseConfiguration::builder()
        .knowledge_base_id("KB12345678")
        .retrieval_configuration(retrieval)
        .build()
        .unwrap();
    let performance =
        PerformanceConfiguration::builder().latency(PerformanceConfigLatency::Optimized).build();
    let call = emulator
        .call("whole")
        .input_text("hello")
        .memory_id("ann")
        .streaming_configurations(
            StreamingConfigurations::builder()
                .stream_final_response(true)
                .apply_guardrail_interval(80)
                .build(),
        )
        .prompt_creation_configurations(
            PromptCreationConfigurations::builder()
                .previous_conversation_turns_to_include(2)
                .exclude_previous_thinking_steps(true)
                .build(),
        )
        .bedrock_model_configurations(
            BedrockModelConfigurations::builder().performance_config(performance).build(),
        )
        .session_state(SessionState::builder().knowledge_base_configurations(base).build());
    hear(call).await.unwrap();
    let shown = emulator.state().await;
    let call = &shown["calls"][0];
    assert_eq!(call["operation"], "InvokeAgent");
    assert_eq!(
        call["body"],
        json!({
            "inputText": "hello",
            "memoryId": "ann",
            "streamingConfigurations": {"streamFinalResponse": true, "applyGuardrailInterval": 80},
            "promptCreationConfigurations": {
                "previousConversationTurnsToInclude": 2,
                "excludePreviousThinkingSteps": true,
            },
            "bedrockModelConfigurations": {"performanceConfig": {"latency": "optimized"}},
            "sessionState": {"knowledgeBaseConfigurations": [{
                "knowledgeBaseId": "KB12345678",
                "retrievalConfiguration": {"vectorSearchConfiguration": {"numberOfResults": 3}},
            }]},
        })
    );
}

#[tokio::test]
async fn a_large_request_is_shown_without_its_long_texts() {
    let emulator = start().await;
    let call = emulator.call("large").session_state(with_files(vec![bytes("a", 100_000)]));
    hear(call.input_text("hello")).await.unwrap();
    let shown = emulator.state().await;
    let file = &shown["calls"][0]["body"]["sessionState"]["files"][0];
    assert_eq!(file["name"], "a");
    let data = file["source"]["byteContent"]["data"].as_str().unwrap();
    assert!(data.ends_with("bytes)") && data.len() < 200, "{data}");
}

#[tokio::test]
async fn an_ended_session_is_remembered_by_later_ones_with_its_memory() {
    let emulator = start().await;
    assert_eq!(emulator.recall("first", "ann").await, "I remember no earlier session.");
    hear(emulator.call("first").memory_id("ann").input_text("I am Ann, lend me $9,000"))
        .await
        .unwrap();
    emulator.end("first", "ann").await;
    let recalled = emulator.recall("second", "ann").await;
    assert!(recalled.starts_with("I remember 1 earlier: Ann called. They want to borrow $9,000."));
    assert_eq!(emulator.recall("third", "bob").await, "I remember no earlier session.");
    assert_eq!(emulator.say("fourth", "What do you remember?").await, "I have no memory for you.");
}

#[tokio::test]
async fn memories_are_listed_page_by_page_and_deleted() {
    let emulator = start().await;
    for (session, name) in [("one", "Ann"), ("two", "Bob")] {
        let call = emulator.call(session).memory_id("both").input_text(format!("I am {name}"));
        hear(call).await.unwrap();
        emulator.end(session, "both").await;
    }
    let texts = emulator.memories("both").await;
    assert!(texts.len() == 2 && texts[0].starts_with("Bob called."), "{texts:?}");
    let delete = || {
        let call = emulator.client.delete_agent_memory().agent_id("ABCDEF1234");
        call.agent_alias_id("TSTALIASID")
    };
    delete().memory_id("both").session_id("two").send().await.unwrap();
    assert_eq!(emulator.memories("both").await.len(), 1);
    delete().send().await.unwrap();
    assert!(emulator.memories("both").await.is_empty());
}

#[tokio::test]
async fn a_memory_is_asked_for_in_full() {
    let emulator = start().await;
    let path = "/agents/ABCDEF1234/agentAliases/TSTALIASID/memories";
    for (query, signed, status) in [
        ("?memoryId=ann&memoryType=SESSION_SUMMARY", Some("AWS4"), 200),
        ("?memoryId=ann&memoryType=SESSION_SUMMARY", None, 403),
        ("?memoryId=ann", Some("AWS4"), 400),
        ("?memoryId=a%20b&memoryType=SESSION_SUMMARY", Some("AWS4"), 400),
        ("?memoryId=ann&memoryType=OTHER", Some("AWS4"), 400),
        ("?memoryId=ann&memoryType=SESSION_SUMMARY&maxItems=0", Some("AWS4"), 400),
        ("?memoryId=ann&memoryType=SESSION_SUMMARY&nextToken=x", Some("AWS4"), 400),
        ("?memoryId=ann&memoryType=SESSION_SUMMARY&nextToken=7", Some("AWS4"), 200),
    ] {
        let path = format!("{path}{query}");
        let (head, _) = emulator.request(http::Method::GET, &path, signed, "").await;
        assert_eq!(head.status().as_u16(), status, "{query}");
    }
}
