"""The emulator as boto3 sees it.

Needs boto3 and pytest, and a running emulator: `outcrop emulate --listen 127.0.0.1:0` prints its
address, which goes into EMULATOR_URL.

    EMULATOR_URL=http://127.0.0.1:4566 pytest tests/clients/emulator_boto3.py
"""

import json
import os
import uuid
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.config import Config
from botocore.eventstream import ChecksumMismatch
from botocore.exceptions import ClientError, EventStreamError
from urllib3.exceptions import ProtocolError

AGENT = {"agentId": "ABCDEF1234", "agentAliasId": "TSTALIASID"}
FAULT = "outcrop-emulator-fault"


@pytest.fixture(scope="session")
def url():
    try:
        return os.environ["EMULATOR_URL"].rstrip("/")
    except KeyError:
        pytest.skip("EMULATOR_URL is not set")


def client(service, url, access_key="AKIAEXAMPLE"):
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=20),
    )


@pytest.fixture(scope="session")
def agents(url):
    return client("bedrock-agent-runtime", url)


@pytest.fixture
def session():
    return f"boto3-{uuid.uuid4().hex}"


def state(url):
    with urlopen(f"{url}/_emulator/state", timeout=20) as reply:
        return json.load(reply)


def events(agents, session, text=None, stream=False, **more):
    """Every event of one answer, as boto3 yields them."""
    if text is not None:
        more["inputText"] = text
    if stream:
        more["streamingConfigurations"] = {"streamFinalResponse": True}
    return list(agents.invoke_agent(**AGENT, sessionId=session, **more)["completion"])


def chunks(agents, session, text=None, **more):
    found = events(agents, session, text, **more)
    return [event["chunk"]["bytes"] for event in found if "chunk" in event]


def say(agents, session, text, **more):
    return b"".join(chunks(agents, session, text, **more)).decode()


def attributes(**values):
    return {"sessionAttributes": values}


def faulty(fault):
    return attributes(**{FAULT: fault})


def test_an_answer_that_is_not_streamed_is_one_chunk(agents, session):
    assert chunks(agents, session, "count to 3") == [b"1 2 3 "]


def test_a_count_is_streamed_as_one_chunk_a_word(agents, session):
    pieces = chunks(agents, session, "count to 64", stream=True)
    assert pieces == [f"{number} ".encode() for number in range(1, 65)]


def test_characters_may_straddle_chunks_and_are_whole_in_the_end(agents, session):
    text = "Grüße aus 日本 👩‍👩‍👧"
    assert say(agents, session, f"repeat: {text}", stream=True) == text


def test_the_reply_names_its_session(agents, session):
    reply = agents.invoke_agent(**AGENT, sessionId=session, inputText="hello")
    assert reply["sessionId"] == session
    assert reply["contentType"] == "application/json"
    assert reply["ResponseMetadata"]["RequestId"]
    list(reply["completion"])


def test_a_session_remembers_over_turns(agents, session):
    told = say(agents, session, "My name is Ann and I want to borrow 25,000 dollars", stream=True)
    assert told.startswith("Nice to meet you, Ann.")
    assert say(agents, session, "What is my name?") == "Your name is Ann."
    assert say(agents, session, "How much did I want to borrow?") == "You want to borrow $25,000."
    assert "$500.95" in say(agents, session, "What would the monthly payment be?")
    assert "I hold 4 turns" in say(agents, session, "How many turns do you hold?")
    assert say(agents, session + "-other", "Who am I?") == "You have not told me your name yet."


def test_session_attributes_are_kept_and_prompt_attributes_are_not(agents, session):
    say(agents, session, "hello", sessionState=attributes(phone_number="+15550100"))
    reply = say(agents, session, "What number am I calling from?")
    assert reply == "You are calling from +15550100."
    prompt = {"promptSessionAttributes": {FAULT: "empty"}}
    assert say(agents, session, "hello", sessionState=prompt) == ""
    assert say(agents, session, "hello") != ""


def test_a_history_seeds_a_new_session_only(agents, session):
    def seed(name):
        messages = [
            {"role": "user", "content": [{"text": f"I am {name}"}]},
            {"role": "assistant", "content": [{"text": f"Hello {name}"}]},
        ]
        return {"conversationHistory": {"messages": messages}}

    asked = "What is my name?"
    assert say(agents, session, asked, sessionState=seed("Ann")) == "Your name is Ann."
    assert say(agents, session, asked, sessionState=seed("Bob")) == "Your name is Ann."


def test_an_ended_session_is_forgotten(agents, session):
    say(agents, session, "I am Ann")
    assert events(agents, session, endSession=True) == []
    assert say(agents, session, "Who am I?") == "You have not told me your name yet."


def test_traces_carry_usage(agents, session):
    found = events(agents, session, "hello", stream=True, enableTrace=True)
    kinds = ["trace" if "trace" in event else "chunk" for event in found]
    assert kinds[:3] == ["trace", "trace", "chunk"] and kinds[-1] == "trace"
    traces = [event["trace"] for event in found if "trace" in event]
    assert all(trace["sessionId"] == session and trace["eventTime"] for trace in traces)
    steps = [trace["trace"]["orchestrationTrace"] for trace in traces]
    assert steps[0]["rationale"]["text"]
    usages = [
        step["modelInvocationOutput"]["metadata"]["usage"]
        for step in steps
        if "modelInvocationOutput" in step
    ]
    assert len(usages) == 2
    assert all(usage["inputTokens"] > 0 and usage["outputTokens"] > 0 for usage in usages)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("throttle", 429, "ThrottlingException"),
        ("access-denied", 403, "AccessDeniedException"),
        ("not-found", 404, "ResourceNotFoundException"),
        ("validation", 400, "ValidationException"),
        ("conflict", 409, "ConflictException"),
        ("dependency", 424, "DependencyFailedException"),
        ("quota", 400, "ServiceQuotaExceededException"),
        ("model-not-ready", 424, "ModelNotReadyException"),
        ("internal", 500, "InternalServerException"),
        ("bad-gateway", 502, "BadGatewayException"),
        ("expired-token", 403, "ExpiredTokenException"),
        ("503", 503, "503"),
    ],
)
def test_a_refusal_has_its_status_and_type(agents, session, fault, status, code):
    with pytest.raises(ClientError) as refused:
        say(agents, session, "hello", sessionState=faulty(fault))
    response = refused.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert response["Error"]["Code"] == code


def test_a_refusal_may_be_for_the_first_calls_only(agents, session):
    for _ in range(2):
        with pytest.raises(ClientError):
            say(agents, session, "hello", sessionState=faulty("throttle:2"))
    assert say(agents, session, "hello", sessionState=faulty("throttle:2"))


def test_a_missing_streaming_permission_leaves_whole_answers(agents, session):
    state = faulty("access-denied-streaming")
    with pytest.raises(ClientError, match="bedrock:InvokeModelWithResponseStream"):
        say(agents, session, "hello", stream=True, sessionState=state)
    assert say(agents, session, "hello", sessionState=state)


def test_an_unknown_fault_is_named(agents, session):
    with pytest.raises(ClientError, match="explode") as refused:
        say(agents, session, "hello", sessionState=faulty("explode"))
    assert refused.value.response["Error"]["Code"] == "ValidationException"


@pytest.mark.parametrize(
    "name",
    [
        "accessDeniedException",
        "badGatewayException",
        "conflictException",
        "dependencyFailedException",
        "internalServerException",
        "modelNotReadyException",
        "resourceNotFoundException",
        "serviceQuotaExceededException",
        "throttlingException",
        "validationException",
    ],
)
def test_an_exception_in_the_stream_comes_after_its_chunks(agents, session, name):
    reply = agents.invoke_agent(
        **AGENT,
        sessionId=session,
        inputText="count to 5",
        streamingConfigurations={"streamFinalResponse": True},
        sessionState=faulty(f"exception:{name}:2"),
    )
    heard = []
    with pytest.raises(EventStreamError) as broken:
        for event in reply["completion"]:
            heard.append(event["chunk"]["bytes"])
    assert heard == [b"1 ", b"2 "]
    assert broken.value.response["Error"]["Code"] == name


def test_an_error_frame_breaks_the_answer(agents, session):
    with pytest.raises(EventStreamError) as broken:
        say(agents, session, "count to 5", stream=True, sessionState=faulty("error-frame:1"))
    assert broken.value.response["Error"]["Code"] == "InternalFailure"


@pytest.mark.parametrize(("fault", "error"), [("cut:2", ProtocolError), ("garbage:2", ChecksumMismatch)])
def test_a_broken_frame_is_no_clean_end(agents, session, fault, error):
    with pytest.raises(error):
        say(agents, session, "count to 5", stream=True, sessionState=faulty(fault))


@pytest.mark.parametrize("fault", ["slow", "unknown-event", "thinking:100", "none"])
def test_what_a_client_must_bear_leaves_the_answer_whole(agents, session, fault):
    assert say(agents, session, "count to 5", stream=True, sessionState=faulty(fault)) == "1 2 3 4 5 "


def test_an_empty_answer_ends_cleanly(agents, session):
    assert events(agents, session, "hello", sessionState=faulty("empty")) == []


def test_the_service_checks_what_it_is_sent(agents, url, session):
    for wrong in ({"sessionState": {}}, {"inputText": "hello", "memoryId": "a b"}):
        with pytest.raises(ClientError) as refused:
            agents.invoke_agent(**AGENT, sessionId=session, **wrong)
        assert refused.value.response["Error"]["Code"] == "ValidationException"
    with pytest.raises(ClientError) as refused:
        agents.invoke_agent(
            agentId="MISSING404", agentAliasId="TSTALIASID", sessionId=session, inputText="hello"
        )
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"
    denied = client("bedrock-agent-runtime", url, access_key="AKIADENIED")
    with pytest.raises(ClientError) as refused:
        say(denied, session, "hello")
    assert refused.value.response["Error"]["Code"] == "AccessDeniedException"


def test_an_unsigned_request_is_refused(url, session):
    path = f"/agents/ABCDEF1234/agentAliases/TSTALIASID/sessions/{session}/text"
    request = Request(url + path, data=b'{"inputText":"hello"}', method="POST")
    with pytest.raises(OSError) as refused:
        urlopen(request, timeout=20)
    assert refused.value.code == 403
    assert refused.value.headers["x-amzn-errortype"] == "MissingAuthenticationTokenException"


def test_a_second_call_at_once_is_a_conflict(agents, session):
    open_reply = agents.invoke_agent(
        **AGENT, sessionId=session, inputText="hello", sessionState=faulty("stall")
    )
    with pytest.raises(ClientError) as refused:
        say(agents, session, "hello")
    assert refused.value.response["Error"]["Code"] == "ConflictException"
    open_reply["completion"].close()


def test_the_state_tells_what_was_asked(agents, url, session):
    say(agents, session, "I am Ann", sessionState=attributes(tenant="acme"))
    shown = state(url)
    call = [call for call in shown["calls"] if call["session"] == session][-1]
    assert call["input_text"] == "I am Ann" and call["ended"] == "ok"
    assert call["attributes"] == {"tenant": "acme"}
    held = next(held for held in shown["sessions"] if held["id"] == session)
    assert held["turns"] == 1 and held["facts"]["name"] == "Ann"


def test_sts_tells_who_the_caller_is(url):
    identity = client("sts", url).get_caller_identity()
    assert identity["Account"].isdigit() and len(identity["Account"]) == 12
    assert identity["Arn"].startswith(f"arn:aws:iam::{identity['Account']}:user/")
