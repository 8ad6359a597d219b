"""What comes with a call, as boto3 sends it. See emulator_boto3.py for how to run it."""

import pytest
from botocore.exceptions import ClientError

from emulator_boto3 import AGENT, agents, attributes, events, say, session, state, url  # noqa: F401


def content(name, data, use="CHAT"):
    source = {"sourceType": "BYTE_CONTENT", "byteContent": {"mediaType": "text/csv", "data": data}}
    return {"name": name, "useCase": use, "source": source}


def stored(name):
    source = {"sourceType": "S3", "s3Location": {"uri": "s3://bucket/key"}}
    return {"name": name, "useCase": "CODE_INTERPRETER", "source": source}


def refused(agents, session, **wrong):
    with pytest.raises(ClientError) as refusal:
        say(agents, session, "hello", **wrong)
    assert refusal.value.response["Error"]["Code"] == "ValidationException"
    return refusal.value.response["Error"]["Message"]


def test_attributes_of_session_and_prompt(agents, session):
    asked = "What are my attributes?"
    both = attributes(tenant="acme") | {"promptSessionAttributes": {"mood": "good"}}
    told = say(agents, session, asked, sessionState=both)
    assert told == "Session attributes: tenant=acme. Prompt attributes: mood=good."
    told = say(agents, session, asked)
    assert told == "Session attributes: tenant=acme. Prompt attributes: none."


def test_files_in(agents, session):
    files = [content("a.csv", b"1,2"), stored("b")]
    told = say(agents, session, "What are my files?", sessionState={"files": files})
    assert told == "Files: a.csv (text/csv, 3 bytes, CHAT), b (s3://bucket/key, CODE_INTERPRETER)."
    assert "a.csv" in say(agents, session, "What are my files?")


def test_files_past_the_limits(agents, session):
    half = 5 << 20
    for files in (
        [content("a", b"x")] * 6,
        [content("a", b"x" * half), content("b", b"x" * (half + 1))],
        [content("a", b"x", use="LUNCH")],
        [content("a", b"x") | {"source": {"sourceType": "S3"}}],
    ):
        refused(agents, session, sessionState={"files": files})


def test_the_state_has_the_whole_request(agents, url, session):
    sent = {
        "memoryId": "ann",
        "streamingConfigurations": {"streamFinalResponse": True, "applyGuardrailInterval": 80},
        "promptCreationConfigurations": {"previousConversationTurnsToInclude": 2},
        "bedrockModelConfigurations": {"performanceConfig": {"latency": "optimized"}},
        "sessionState": {
            "knowledgeBaseConfigurations": [
                {
                    "knowledgeBaseId": "KB12345678",
                    "retrievalConfiguration": {
                        "vectorSearchConfiguration": {"numberOfResults": 3}
                    },
                }
            ]
        },
    }
    say(agents, session, "hello", **sent)
    [call] = [call for call in state(url)["calls"] if call["session"] == session]
    assert call["operation"] == "InvokeAgent"
    assert call["body"] == {"inputText": "hello", **sent}


def test_configurations_outside_the_model(agents, session):
    performance = {"performanceConfig": {"latency": "fast"}}
    assert "latency" in refused(agents, session, bedrockModelConfigurations=performance)
    search = {"vectorSearchConfiguration": {"numberOfResults": 3}}
    base = {"knowledgeBaseId": "not-an-id", "retrievalConfiguration": search}
    state = {"knowledgeBaseConfigurations": [base]}
    assert "knowledgeBaseId" in refused(agents, session, sessionState=state)


def test_long_term_memory(agents, session):
    memory = f"{session}-memory"[-100:]
    asked = "What do you remember?"
    assert say(agents, session, asked) == "I have no memory for you."
    for name in ("Ann", "Bob"):
        say(agents, f"{session}-{name}", f"I am {name}", memoryId=memory)
        assert events(agents, f"{session}-{name}", endSession=True, memoryId=memory) == []
    told = say(agents, f"{session}-later", asked, memoryId=memory)
    assert told.startswith("I remember 2 earlier: Bob called.") and "Ann called." in told

    def texts():
        listed = agents.get_agent_memory(**AGENT, memoryId=memory, memoryType="SESSION_SUMMARY")
        return [kept["sessionSummary"]["summaryText"] for kept in listed["memoryContents"]]

    assert len(texts()) == 2
    page = agents.get_agent_memory(
        **AGENT, memoryId=memory, memoryType="SESSION_SUMMARY", maxItems=1
    )
    [kept] = page["memoryContents"]
    assert kept["sessionSummary"]["sessionId"] == f"{session}-Bob" and page["nextToken"]
    assert kept["sessionSummary"]["sessionStartTime"].tzinfo is not None
    agents.delete_agent_memory(**AGENT, memoryId=memory, sessionId=f"{session}-Bob")
    [left] = texts()
    assert left.startswith("Ann called.")
    agents.delete_agent_memory(**AGENT, memoryId=memory)
    assert texts() == []


def test_agents_that_do_not_exist(agents, session):
    with pytest.raises(ClientError) as refusal:
        agents.invoke_agent(
            agentId="NOSUCHAGNT", agentAliasId="TSTALIASID", sessionId=session, inputText="hello"
        )
    assert refusal.value.response["Error"]["Code"] == "ResourceNotFoundException"
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
