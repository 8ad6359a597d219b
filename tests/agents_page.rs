//! The table of `docs/agents.md` is whole, and what it says is shown by tests.
//!
//! Each row names tests that are there, unless it says that something is not sent or not shown.
//! Each member of the operations' inputs and outputs, as the AWS SDK has them, stands in it; so
//! a release of the SDK that knows more fails here. The SDK tells the names of members in what
//! its types say of themselves for debugging.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::Path;

use aws_sdk_bedrockagentcore::operation::invoke_agent_runtime::builders as runtime;
use aws_sdk_bedrockagentcore::operation::invoke_harness::builders as harness;
use aws_sdk_bedrockagentcore::operation::stop_runtime_session::builders as stop;
use aws_sdk_bedrockagentruntime::operation::invoke_agent::builders as agent;
use aws_sdk_bedrockagentruntime::operation::invoke_inline_agent::builders as inline;
use aws_sdk_bedrockagentruntime::types::builders as shapes;

/// A row of the table.
#[derive(Debug)]
struct Row {
    of: String,
    members: String,
    becomes: String,
    tests: Vec<String>,
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rows() -> Vec<Row> {
    let page = read(&root().join("docs/agents.md"));
    let (_, table) = page.split_once("\n| of | field or event |").expect("the table is there");
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| "));
    rows.map(|row| {
        let cells: Vec<_> = row.split(" |").map(str::trim).collect();
        let [of, members, becomes, tests, ""] = cells[..] else { panic!("not a row: {row}") };
        Row {
            of: of.to_owned(),
            members: members.to_owned(),
            becomes: becomes.to_owned(),
            tests: spans(tests).map(str::to_owned).collect(),
        }
    })
    .collect()
}

fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The names of all tests below a folder.
fn tests_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            names.extend(tests_of(&read(&path)));
        }
    }
}

/// The functions that stand right behind the attribute of a test.
fn tests_of(source: &str) -> Vec<String> {
    let behind = source.split("test]\n").skip(1).filter_map(|after| {
        let line = after.lines().find(|line| !line.trim_start().starts_with("#["))?;
        let (_, name) = line.split_once("fn ")?;
        name.split('(').next().map(str::to_owned)
    });
    behind.collect()
}

#[test]
fn every_row_names_tests_that_are_there() {
    let mut known = BTreeSet::new();
    for folder in ["src", "tests"] {
        tests_below(&root().join(folder), &mut known);
    }
    assert!(known.len() > 500, "only {} tests found", known.len());
    let rows = rows();
    assert!(rows.len() > 80, "only {} rows found", rows.len());
    for Row { members, becomes, tests, .. } in rows {
        let is_left_out = ["not sent", "not shown"].iter().any(|said| becomes.contains(said));
        assert!(is_left_out || !tests.is_empty(), "nothing shows what becomes of {members}");
        for test in tests {
            assert!(known.contains(&test), "there is no test {test}: {members}");
        }
    }
}

/// The members of a type of the SDK.
fn members(of: &dyn Debug) -> Vec<String> {
    let told = format!("{of:#?}");
    // Those of members within it are deeper.
    let lines = told.lines().filter_map(|line| line.strip_prefix("    "));
    let names = lines.filter(|line| !line.starts_with([' ', '}', ']', ')']));
    names.filter_map(|line| Some(line.split_once(": ")?.0.replace("r#", ""))).collect()
}

/// Without what differs between spellings of a name.
fn bare(name: &str) -> String {
    name.replace('_', "").to_lowercase()
}

/// A type of the SDK, and which rows its members must stand in.
type Shape = (&'static str, Box<dyn Debug>);

fn of<T: Debug + Default + 'static>(of: &'static str) -> Shape {
    (of, Box::new(T::default()))
}

fn shapes_of_agents() -> Vec<Shape> {
    vec![
        of::<agent::InvokeAgentInputBuilder>("InvokeAgent"),
        of::<shapes::StreamingConfigurationsBuilder>("InvokeAgent"),
        of::<shapes::PromptCreationConfigurationsBuilder>("InvokeAgent"),
        of::<shapes::BedrockModelConfigurationsBuilder>("InvokeAgent"),
        of::<shapes::PerformanceConfigurationBuilder>("InvokeAgent"),
        of::<shapes::SessionStateBuilder>("sessionState"),
        of::<shapes::InputFileBuilder>("sessionState"),
        of::<shapes::FileSourceBuilder>("sessionState"),
        of::<shapes::ByteContentFileBuilder>("sessionState"),
        of::<shapes::S3ObjectFileBuilder>("sessionState"),
        of::<shapes::KnowledgeBaseConfigurationBuilder>("sessionState"),
        of::<shapes::ConversationHistoryBuilder>("sessionState"),
        of::<shapes::ApiResultBuilder>("result"),
        of::<shapes::FunctionResultBuilder>("result"),
        of::<shapes::ContentBodyBuilder>("result"),
        of::<agent::InvokeAgentOutputBuilder>("answer"),
        of::<shapes::PayloadPartBuilder>("chunk"),
        of::<shapes::AttributionBuilder>("chunk"),
        of::<shapes::CitationBuilder>("chunk"),
        of::<shapes::GeneratedResponsePartBuilder>("chunk"),
        of::<shapes::TextResponsePartBuilder>("chunk"),
        of::<shapes::SpanBuilder>("chunk"),
        of::<shapes::RetrievedReferenceBuilder>("chunk"),
        of::<shapes::RetrievalResultContentBuilder>("chunk"),
        of::<shapes::RetrievalResultLocationBuilder>("chunk"),
        of::<shapes::ReturnControlPayloadBuilder>("returnControl"),
        of::<shapes::ApiInvocationInputBuilder>("returnControl"),
        of::<shapes::FunctionInvocationInputBuilder>("returnControl"),
        of::<shapes::FunctionParameterBuilder>("returnControl"),
        of::<shapes::ApiParameterBuilder>("returnControl"),
        of::<shapes::ApiRequestBodyBuilder>("returnControl"),
        of::<shapes::FilePartBuilder>("files"),
        of::<shapes::OutputFileBuilder>("files"),
        of::<shapes::TracePartBuilder>("trace"),
        of::<shapes::GuardrailAssessmentBuilder>("trace"),
        of::<shapes::MetadataBuilder>("trace"),
        of::<inline::InvokeInlineAgentInputBuilder>("InvokeInlineAgent"),
        of::<inline::InvokeInlineAgentOutputBuilder>("InvokeInlineAgent"),
        of::<shapes::InlineSessionStateBuilder>("InvokeInlineAgent"),
        of::<shapes::AgentActionGroupBuilder>("InvokeInlineAgent"),
        of::<shapes::FunctionDefinitionBuilder>("InvokeInlineAgent"),
        of::<shapes::KnowledgeBaseBuilder>("InvokeInlineAgent"),
        of::<shapes::GuardrailConfigurationWithArnBuilder>("InvokeInlineAgent"),
    ]
}

fn shapes_of_agentcore() -> Vec<Shape> {
    vec![
        of::<runtime::InvokeAgentRuntimeInputBuilder>("InvokeAgentRuntime"),
        of::<runtime::InvokeAgentRuntimeOutputBuilder>("InvokeAgentRuntime"),
        of::<harness::InvokeHarnessInputBuilder>("InvokeHarness"),
        of::<harness::InvokeHarnessOutputBuilder>("InvokeHarness"),
        of::<stop::StopRuntimeSessionInputBuilder>("StopRuntimeSession"),
        of::<stop::StopRuntimeSessionOutputBuilder>("StopRuntimeSession"),
    ]
}

#[test]
fn every_member_of_the_operations_stands_in_the_table() {
    let rows = rows();
    for (of, shape) in shapes_of_agents().into_iter().chain(shapes_of_agentcore()) {
        let members = members(&shape);
        let named = rows.iter().filter(|row| row.of == of).flat_map(|row| spans(&row.members));
        let named: BTreeSet<_> = named.flat_map(|span| span.split('.')).map(bare).collect();
        assert!(!members.is_empty(), "{of} has no members");
        for member in members.iter().filter(|member| !member.starts_with("_request_id")) {
            assert!(named.contains(&bare(member)), "{of}: {member} does not stand in the table");
        }
    }
}
