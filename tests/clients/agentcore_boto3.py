"""The emulator's AgentCore as boto3 sees it.

Needs what emulator_boto3.py does:

    EMULATOR_URL=http://127.0.0.1:4566 pytest tests/clients/agentcore_boto3.py
"""

import json
import os
import uuid
from urllib.request import urlopen

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

ACCOUNT = "arn:aws:bedrock-agentcore:us-east-1:123456789012"
RUNTIME = f"{ACCOUNT}:runtime/bank-Ab12Cd34Ef"
HARNESS = f"{ACCOUNT}:harness/bank-Ab12Cd34Ef"
WEATHER = {
    "type": "inline_function",
    "name": "weather",
    "config": {
        "inlineFunction": {
            "description": "Tells the weather of a city.",
            "inputSchema": {"type": "object", "properties": {"city": {"type": "string"}}},
        }
    },
}


@pytest.fixture(scope="session")
def url():
    try:
        return os.environ["EMULATOR_URL"].rstrip("/")
    except KeyError:
        pytest.skip("EMULATOR_URL is not set")


@pytest.fixture(scope="session")
def core(url):
    return boto3.client(
        "bedrock-agentcore",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key="secret",
        # The emulator is to refuse by itself what boto3 would not even send.
        config=Config(
            retries={"total_max_attempts": 1}, read_timeout=20, parameter_validation=False
        ),
    )


@pytest.fixture
def session():
    return f"boto3-{uuid.uuid4().hex}"


def state(url):
    with urlopen(f"{url}/_emulator/state", timeout=20) as reply:
        return json.load(reply)["agentcore"]


def invoke(core, session, text, **more):
    payload = json.dumps({"prompt": text}).encode()
    return core.invoke_agent_runtime(
        agentRuntimeArn=RUNTIME, runtimeSessionId=session, payload=payload, **more
    )


def data(reply):
    """The data of each event of a reply, without what ends OpenAI's streams."""
    lines = reply["response"].iter_lines()
    found = [line.removeprefix(b"data: ") for line in lines if line]
    return [json.loads(line) for line in found if line != b"[DONE]"]


def say(core, session, text):
    return "".join(data(invoke(core, session, text)))


def ask(core, session, *messages, **more):
    """Every event of one answer of the harness."""
    reply = core.invoke_harness(
        harnessArn=HARNESS, runtimeSessionId=session, messages=list(messages), **more
    )
    return list(reply["stream"])


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def text_of(events):
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    return "".join(delta.get("text", "") for delta in deltas)


def stop_reason(events):
    return [event["messageStop"]["stopReason"] for event in events if "messageStop" in event][-1]


def refusal(call, *args, **more):
    with pytest.raises(ClientError) as raised:
        call(*args, **more)
    answer = raised.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def test_a_runtime_streams_and_remembers(core, session):
    reply = invoke(core, session, "my name is Ann")
    assert reply["contentType"].startswith("text/event-stream")
    assert reply["runtimeSessionId"] == session
    assert "".join(data(reply)).startswith("Nice to meet you, Ann.")
    assert say(core, session, "what is my name?") == "Your name is Ann."


@pytest.mark.parametrize(
    ("shape", "content_type"),
    [
        ("strands", "text/event-stream"),
        ("openai", "text/event-stream"),
        ("agui", "text/event-stream"),
        ("anthropic", "text/event-stream"),
        ("langgraph", "text/event-stream"),
        ("lines", "application/x-ndjson"),
        ("json", "application/json"),
        ("plain", "text/plain"),
    ],
)
def test_a_runtime_answers_in_the_shape_that_is_asked_for(core, session, shape, content_type):
    reply = invoke(core, session, f"repeat: hello there as {shape}")
    assert reply["contentType"].startswith(content_type)
    assert b"hello" in reply["response"].read()


def test_session_ids_are_long(core):
    short = "x" * 32
    assert refusal(invoke, core, short, "hello") == (400, "ValidationException")
    assert refusal(ask, core, short, user({"text": "hello"})) == (400, "ValidationException")


def test_a_stopped_session_is_forgotten(core, session, url):
    say(core, session, "my name is Ann")
    stopped = core.stop_runtime_session(agentRuntimeArn=RUNTIME, runtimeSessionId=session)
    assert (stopped["statusCode"], stopped["runtimeSessionId"]) == (200, session)
    assert session in [stop["session"] for stop in state(url)["stopped"]]
    assert say(core, session, "what is my name?") == "You have not told me your name yet."
    gone = {"agentRuntimeArn": RUNTIME, "runtimeSessionId": f"boto3-{uuid.uuid4().hex}"}
    expected = (404, "ResourceNotFoundException")
    assert refusal(core.stop_runtime_session, **gone) == expected


def test_what_was_asked_can_be_read(core, session, url):
    invoke(core, session, "hello", runtimeUserId="ann", qualifier="prod")["response"].read()
    asked = [each for each in state(url)["invocations"] if each["session"] == session][0]
    assert (asked["user"], asked["qualifier"], asked["arn"]) == ("ann", "prod", RUNTIME)
    assert asked["body"] == {"prompt": "hello"}


def test_a_runtime_may_fail_before_its_answer_and_in_it(core, session):
    throttled = refusal(invoke, core, session, "hello with fault throttle:1")
    assert throttled == (429, "ThrottlingException")
    events = data(invoke(core, session, "count to 5 with fault exception:ValueError:2"))
    assert events[:2] == ["1 ", "2 "] and events[2]["error_type"] == "ValueError"
    payload = {"agentRuntimeArn": RUNTIME, "runtimeSessionId": session, "payload": b"hello"}
    assert refusal(core.invoke_agent_runtime, **payload) == (424, "RuntimeClientError")


def test_a_harness_streams_and_remembers(core, session):
    events = ask(core, session, user({"text": "my name is Ann"}))
    assert text_of(events).startswith("Nice to meet you, Ann.")
    assert stop_reason(events) == "end_turn"
    usage = events[-1]["metadata"]["usage"]
    assert usage["inputTokens"] + usage["outputTokens"] == usage["totalTokens"] > 0
    asked = user({"text": "what is my name?"})
    assert text_of(ask(core, session, asked)) == "Your name is Ann."


def test_inline_functions_are_handed_over_and_their_results_taken_back(core, session):
    asked = user({"text": "call: weather city=Oslo call: weather city=Rome"})
    events = ask(core, session, asked, tools=[WEATHER])
    assert stop_reason(events) == "tool_use"
    starts = [event["contentBlockStart"] for event in events if "contentBlockStart" in event]
    uses = [start["start"]["toolUse"] for start in starts]
    assert [(use["name"], use["type"]) for use in uses] == [("weather", "tool_use")] * 2
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    inputs = "".join(delta["toolUse"]["input"] for delta in deltas if "toolUse" in delta)
    assert inputs == '{"city":"Oslo"}{"city":"Rome"}'

    def result(use, status, text):
        content = [{"text": text}]
        return {"toolResult": {"toolUseId": use["toolUseId"], "status": status, "content": content}}

    called = {
        "role": "assistant",
        "content": [
            {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"], "input": {}}}
            for use in uses
        ],
    }
    results = user(result(uses[0], "success", "rain"), result(uses[1], "error", "no data"))
    # A session keeps no call of an inline function: results alone answer nothing.
    alone = refusal(ask, core, session, results, tools=[WEATHER])
    assert alone == (400, "ValidationException")
    events = ask(core, session, called, results, tools=[WEATHER])
    assert text_of(events) == "weather says: rain weather failed: no data"


def test_tools_that_the_service_runs_are_in_the_stream(core, session):
    events = ask(core, session, user({"text": "run: shell cmd=ls"}))
    starts = [event["contentBlockStart"]["start"] for event in events if "contentBlockStart" in event]
    assert starts[0]["toolUse"]["type"] == "server_tool_use"
    assert starts[1]["toolResult"]["status"] == "success"
    assert text_of(events).endswith("shell has run.")


def test_a_harness_thinks_aloud_and_ends_as_asked(core, session):
    events = ask(core, session, user({"text": "repeat: hi aloud ending max_tokens"}))
    reasoning = [
        event["contentBlockDelta"]["delta"]["reasoningContent"]["text"]
        for event in events
        if "reasoningContent" in event.get("contentBlockDelta", {}).get("delta", {})
    ]
    assert reasoning and stop_reason(events) == "max_tokens"


@pytest.mark.parametrize(
    "name", ["runtimeClientError", "internalServerException", "validationException"]
)
def test_an_exception_may_come_in_the_stream_of_a_harness(core, session, name):
    with pytest.raises(EventStreamError) as raised:
        ask(core, session, user({"text": f"repeat: hi with fault exception:{name}:2"}))
    assert name in str(raised.value)


def test_resources_that_are_missing_do_not_exist(core, session):
    missing = f"{ACCOUNT}:runtime/missing-Ab12Cd34Ef"
    asked = {"agentRuntimeArn": missing, "runtimeSessionId": session, "payload": b"{}"}
    expected = (404, "ResourceNotFoundException")
    assert refusal(core.invoke_agent_runtime, **asked) == expected
