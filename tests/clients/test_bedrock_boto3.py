"""boto3's client of Bedrock's models, unmodified, pointed at a running broker."""

import json

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from conftest import BROKER, KEY, MODEL, PRESENTED_KEY, emulator_settings


def runtime(headers):
    """A client that signs its requests and sends these headers besides.

    botocore has a bearer token too (AWS_BEARER_TOKEN_BEDROCK), but sends it over https only.
    """
    bedrock = boto3.client(
        "bedrock-runtime",
        endpoint_url=BROKER,
        region_name="us-east-1",
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key="example",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=30),
    )

    def put(request, **_):
        for name, value in headers.items():
            request.headers[name] = value

    bedrock.meta.events.register("before-send.bedrock-runtime.*", put)
    return bedrock


@pytest.fixture
def bedrock():
    return runtime({"x-api-key": PRESENTED_KEY})


def ask(text, **more):
    return {
        "modelId": MODEL,
        "messages": [{"role": "user", "content": [{"text": text}]}],
        **more,
    }


def claude(text):
    return json.dumps(
        {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 500,
            "messages": [{"role": "user", "content": text}],
        }
    )


def streamed(reply):
    """The text of a ConverseStream reply, why it stopped, and its usage."""
    events = list(reply["stream"])
    text = "".join(
        event["contentBlockDelta"]["delta"].get("text", "")
        for event in events
        if "contentBlockDelta" in event
    )
    (stop,) = [event["messageStop"]["stopReason"] for event in events if "messageStop" in event]
    return text, stop, events[-1]["metadata"]["usage"]


def chunks(reply):
    return [json.loads(event["chunk"]["bytes"]) for event in reply["body"]]


def test_converse_answers_with_usage(bedrock, mark):
    reply = bedrock.converse(
        **ask(f"count to 5 {mark}"),
        system=[{"text": "Be brief."}],
        inferenceConfig={"maxTokens": 500, "temperature": 0.5},
    )
    (block,) = reply["output"]["message"]["content"]
    assert block["text"].split() == ["1", "2", "3", "4", "5"]
    assert reply["stopReason"] == "end_turn"
    assert reply["usage"]["totalTokens"] > 0 and reply["metrics"]["latencyMs"] >= 0
    assert reply["ResponseMetadata"]["RequestId"]


def test_converse_streams(bedrock, mark):
    text, stop, usage = streamed(bedrock.converse_stream(**ask(f"count to 64 {mark}")))
    assert text.split() == [str(number) for number in range(1, 65)]
    assert stop == "end_turn" and usage["outputTokens"] > 0


def test_a_resent_conversation_is_one_session(bedrock, emulator, mark):
    said = f"My name is Ann {mark}"
    first = bedrock.converse(**ask(said))
    messages = ask(said)["messages"] + [first["output"]["message"]]
    messages.append({"role": "user", "content": [{"text": "What is my name?"}]})
    text, _, _ = streamed(bedrock.converse_stream(modelId=MODEL, messages=messages))
    assert text == "Your name is Ann."
    texts = [call["input_text"] for call in emulator.calls_of_session_with(mark)]
    assert texts == [said, "What is my name?"]


def test_a_handed_over_call_is_a_tool_use_block(bedrock, mark):
    reply = bedrock.converse(**ask(f"call: get_forecast city=Oslo days=3 ref={mark}"))
    use = reply["output"]["message"]["content"][-1]["toolUse"]
    assert reply["stopReason"] == "tool_use"
    assert use["toolUseId"] and use["input"]["city"] == "Oslo"


def test_a_model_is_named_by_an_id_with_slashes(bedrock, mark):
    model = "bedrock/agent/DEMOAGENT1/TSTALIASID"
    reply = bedrock.converse(**{**ask(f"count to 3 {mark}"), "modelId": model})
    assert reply["output"]["message"]["content"][0]["text"].split() == ["1", "2", "3"]


def test_claudes_own_body_is_invoked_whole_and_streamed(bedrock, mark):
    body = claude(f"count to 9 {mark}")
    whole = json.loads(bedrock.invoke_model(modelId=MODEL, body=body)["body"].read())
    assert whole["type"] == "message" and whole["stop_reason"] == "end_turn"
    found = chunks(bedrock.invoke_model_with_response_stream(modelId=MODEL, body=body))
    assert found[0]["type"] == "message_start" and found[-1]["type"] == "message_stop"
    assert found[-1]["amazon-bedrock-invocationMetrics"]["outputTokenCount"] > 0
    deltas = [chunk["delta"]["text"] for chunk in found if chunk["type"] == "content_block_delta"]
    assert "".join(deltas) == whole["content"][0]["text"]


def test_titans_own_body_is_invoked_whole_and_streamed(bedrock, mark):
    body = json.dumps({"inputText": f"count to 9 {mark}"})
    whole = json.loads(bedrock.invoke_model(modelId=MODEL, body=body)["body"].read())
    (result,) = whole["results"]
    assert result["completionReason"] == "FINISH" and result["tokenCount"] > 0
    found = chunks(bedrock.invoke_model_with_response_stream(modelId=MODEL, body=body))
    assert "".join(chunk["outputText"] for chunk in found) == result["outputText"]
    assert found[-1]["completionReason"] == "FINISH"


def test_what_is_wrong_is_an_exception_of_its_class(bedrock):
    with pytest.raises(bedrock.exceptions.ResourceNotFoundException):
        bedrock.converse(**{**ask("hello"), "modelId": "no-such-model"})
    with pytest.raises(bedrock.exceptions.ValidationException) as caught:
        bedrock.converse(**ask("hello", guardrailConfig={"guardrailIdentifier": "abc"}))
    assert "guardrail" in str(caught.value)


def test_a_failure_in_the_stream_is_raised(bedrock, mark):
    fields = emulator_settings(fault="cut:2")
    reply = bedrock.converse_stream(
        **ask(f"count to 9 {mark}"), additionalModelRequestFields=fields
    )
    with pytest.raises(EventStreamError) as caught:
        list(reply["stream"])
    assert caught.value.response["Error"]["Code"] == "modelStreamErrorException"


@pytest.mark.skipif(not KEY, reason="the broker is open")
def test_a_signature_alone_is_refused_and_says_where_the_key_goes():
    with pytest.raises(ClientError) as caught:
        runtime({}).converse(**ask("hello"))
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 401
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
    assert "x-api-key" in caught.value.response["Error"]["Message"]


def test_the_key_may_come_as_a_bearer_token(mark):
    bearing = runtime({"Authorization": f"Bearer {PRESENTED_KEY}"})
    reply = bearing.converse(**ask(f"count to 3 {mark}"))
    assert reply["output"]["message"]["content"][0]["text"].split() == ["1", "2", "3"]
