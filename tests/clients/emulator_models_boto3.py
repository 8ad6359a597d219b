"""Bedrock's models, as boto3 sees them. See emulator_boto3.py for how to run it."""

import base64
import json
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError, EventStreamError
from urllib3.exceptions import ProtocolError

from emulator_boto3 import client, state, url  # noqa: F401 (fixtures)

HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
PROFILE_ARN = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{SONNET}"
NEWEST = "us.anthropic.claude-opus-4-7"
NOVA = "amazon.nova-lite-v1:0"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)
FAULT = "outcrop-emulator-fault"


@pytest.fixture(scope="module")
def models(url):  # noqa: F811
    return client("bedrock-runtime", url)


def user(*content):
    return {"role": "user", "content": [{"text": c} if isinstance(c, str) else c for c in content]}


def ask(models, *messages, model=HAIKU, **more):
    found = [user(message) if isinstance(message, str) else message for message in messages]
    return models.converse(modelId=model, messages=found, **more)


def text(answer):
    return "".join(block.get("text", "") for block in answer["output"]["message"]["content"])


def calls(answer):
    content = answer["output"]["message"]["content"]
    return [block["toolUse"] for block in content if "toolUse" in block]


def tools(*names, choice=None):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    specs = [{"toolSpec": {"name": name, "inputSchema": {"json": schema}}} for name in names]
    return {"tools": specs} | ({"toolChoice": choice} if choice else {})


def refused(call):
    with pytest.raises(ClientError) as refusal:
        call()
    assert refusal.value.response["Error"]["Code"] == "ValidationException"
    return refusal.value.response["Error"]["Message"]


def test_a_tool_loop_ends_with_what_the_tools_said(models):
    question = user("say: Let me look; call: get_weather city=Oslo; call: get_time city=Oslo")
    config = tools("get_weather", "get_time")
    asked = ask(models, question, toolConfig=config)
    assert asked["stopReason"] == "tool_use"
    assert text(asked) == "Let me look"
    weather, time = calls(asked)
    results = user(
        {"toolResult": {"toolUseId": time["toolUseId"], "content": [{"json": {"h": 12}}]}},
        {
            "toolResult": {
                "toolUseId": weather["toolUseId"],
                "content": [{"text": "no luck"}, {"image": {"format": "png", "source": {"bytes": PIXEL}}}],
                "status": "error",
            }
        },
    )
    answered = ask(models, question, asked["output"]["message"], results, toolConfig=config)
    assert answered["stopReason"] == "end_turn"
    said = text(answered)
    assert 'get_time says: {"h":12}' in said
    assert f"get_weather failed: no luck image (png, {len(PIXEL)} bytes, 1x1)" in said


def test_a_chain_of_calls_goes_on_after_each_result(models):
    question = user("call: one; then call: two; then say: Done.")
    config = tools("one", "two")
    messages = [question]
    for name in ["one", "two"]:
        asked = models.converse(modelId=HAIKU, messages=messages, toolConfig=config)
        (call,) = calls(asked)
        assert call["name"] == name
        result = {"toolUseId": call["toolUseId"], "content": [{"text": f"{name} ok"}]}
        messages += [asked["output"]["message"], user({"toolResult": result})]
    last = models.converse(modelId=HAIKU, messages=messages, toolConfig=config)
    assert text(last) == "two says: two ok Done."


def test_a_stream_has_its_events_in_order(models):
    stream = models.converse_stream(
        modelId=HAIKU,
        messages=[user("say: one two; call: get_time city=Rome")],
        toolConfig=tools("get_time"),
    )["stream"]
    events = [next(iter(event)) for event in stream]
    assert events == [
        "messageStart",
        "contentBlockDelta",
        "contentBlockDelta",
        "contentBlockStop",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]


def test_thinking_comes_back_signed_and_is_checked(models):
    fields = {"thinking": {"type": "enabled", "budget_tokens": 2048}}
    question = user("think: Rome it is; call: get_time city=Rome")
    more = {
        "model": PROFILE_ARN,
        "toolConfig": tools("get_time"),
        "additionalModelRequestFields": fields,
    }
    asked = ask(models, question, **more)
    message = asked["output"]["message"]
    thought = message["content"][0]["reasoningContent"]["reasoningText"]
    assert thought["text"] == "Rome it is" and thought["signature"]
    (call,) = calls(asked)
    result = user({"toolResult": {"toolUseId": call["toolUseId"], "content": [{"text": "noon"}]}})
    assert text(ask(models, question, message, result, **more)) == "get_time says: noon"
    bare = {**message, "content": message["content"][1:]}
    assert "Expected `thinking`" in refused(lambda: ask(models, question, bare, result, **more))
    thought["text"] = "Paris it is"
    told = refused(lambda: ask(models, question, message, result, **more))
    assert "Invalid `signature`" in told


def test_hidden_thoughts_survive_the_round_trip(models):
    question = user("hide: a secret; call: get_time city=Rome")
    more = {
        "model": NEWEST,
        "toolConfig": tools("get_time"),
        "additionalModelRequestFields": {"thinking": {"type": "adaptive"}},
    }
    asked = ask(models, question, **more)
    message = asked["output"]["message"]
    assert isinstance(message["content"][0]["reasoningContent"]["redactedContent"], bytes)
    (call,) = calls(asked)
    result = user({"toolResult": {"toolUseId": call["toolUseId"], "content": [{"text": "noon"}]}})
    assert text(ask(models, question, message, result, **more)) == "get_time says: noon"
    bare = {**message, "content": message["content"][1:]}
    refused(lambda: ask(models, question, bare, result, **more))


@pytest.mark.parametrize(
    ("model", "more", "told"),
    [
        (NEWEST, {"inferenceConfig": {"temperature": 0.5}}, "deprecated for this model"),
        (SONNET, {"inferenceConfig": {"temperature": 0.5, "topP": 0.5}}, "cannot both"),
        (
            NEWEST,
            {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2048}}},
            "not supported for this model",
        ),
        (
            SONNET,
            {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 9}}},
            "greater than or equal to 1024",
        ),
        (
            SONNET,
            {
                "additionalModelRequestFields": {
                    "thinking": {"type": "enabled", "budget_tokens": 2048}
                },
                "inferenceConfig": {"maxTokens": 2048},
            },
            "must be greater than",
        ),
        (
            SONNET,
            {
                "additionalModelRequestFields": {
                    "thinking": {"type": "enabled", "budget_tokens": 2048}
                },
                "toolConfig": tools("get_time", choice={"any": {}}),
            },
            "forces tool use",
        ),
        (HAIKU, {"serviceTier": {"type": "priority"}}, "service tier"),
        (SONNET, {"performanceConfig": {"latency": "optimized"}}, "Latency performance"),
        ("meta.llama3-8b-instruct-v1:0", {"toolConfig": tools("a", choice={"any": {}})}, "toolChoice"),
        ("amazon.titan-text-express-v1", {"system": [{"text": "hi"}]}, "system messages"),
        ("mistral.mistral-large-2407-v1:0", {"system": [{"cachePoint": {"type": "default"}}]}, "caching"),
        ("no-such-model", {}, "The provided model identifier is invalid."),
    ],
)
def test_what_a_model_does_not_take_is_refused(models, model, more, told):
    assert told in refused(lambda: ask(models, "hello", model=model, **more))


def test_documents_are_read_and_cited(models):
    document = {
        "format": "txt",
        "name": "House rules",
        "source": {"bytes": b"No smoking."},
        "citations": {"enabled": True},
    }
    answer = ask(models, user("Read this", {"document": document}))
    content = answer["output"]["message"]["content"]
    assert 'document "House rules" (txt, 11 bytes)' in content[0]["text"]
    (citation,) = content[1]["citationsContent"]["citations"]
    assert citation["sourceContent"] == [{"text": "No smoking."}]
    assert citation["location"]["documentChar"] == {"documentIndex": 0, "start": 0, "end": 11}
    lonely = {"role": "user", "content": [{"document": document}]}
    assert "text content block" in refused(lambda: ask(models, lonely))
    document["name"] = "rules.txt"
    assert "document name" in refused(lambda: ask(models, user("Read", {"document": document})))
    cited = ask(models, "cite: https://example.com/a An example")["output"]["message"]["content"]
    web = cited[0]["citationsContent"]["citations"][0]["location"]["web"]
    assert web == {"url": "https://example.com/a", "domain": "example.com"}


def test_a_long_answer_is_long(models):
    answer = ask(models, "words: 9000", model=NOVA, inferenceConfig={"maxTokens": 10_000})
    assert answer["usage"]["outputTokens"] == 9000
    assert len(text(answer).split()) == 9000


def test_instructions_tools_and_messages_are_told(models):
    system = [{"text": "Be brief."}, {"text": "Be kind."}]
    answer = ask(models, "What are your instructions?", system=system)
    assert text(answer) == "My instructions are: Be brief. | Be kind."
    answer = ask(models, "Which tools do you have?", toolConfig=tools("a", "b"))
    assert text(answer) == "My tools are: a, b."


@pytest.mark.parametrize("fault", ["cut:2", "garbage:2", "error-frame:2"])
def test_a_broken_stream_is_noticed(models, fault):
    heard = []
    with pytest.raises(Exception):
        stream = models.converse_stream(
            modelId=HAIKU, messages=[user("count to 9")], requestMetadata={FAULT: fault}
        )
        for event in stream["stream"]:
            heard.append(event)
    assert not any("messageStop" in event for event in heard)


def test_an_exception_in_a_stream_is_typed(models):
    stream = models.converse_stream(
        modelId=HAIKU,
        messages=[user("count to 9")],
        requestMetadata={FAULT: "exception:throttlingException:3"},
    )["stream"]
    with pytest.raises(EventStreamError, match="throttlingException"):
        list(stream)


def test_refusals_are_typed(models):
    for fault, kind in [
        ("throttle", "ThrottlingException"),
        ("model-not-ready", "ModelNotReadyException"),
        ("model-timeout", "ModelTimeoutException"),
        ("model-error", "ModelErrorException"),
        ("internal", "InternalServerException"),
    ]:
        with pytest.raises(ClientError) as refusal:
            ask(models, "hello", requestMetadata={FAULT: fault})
        assert refusal.value.response["Error"]["Code"] == kind


def test_claude_and_titan_answer_in_their_own_formats(models):
    body = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "count to 3"}],
    }
    reply = models.invoke_model(modelId=HAIKU, body=json.dumps(body))
    answer = json.load(reply["body"])
    assert answer["content"] == [{"type": "text", "text": "1 2 3 "}]
    headers = reply["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amzn-bedrock-output-token-count"] == "3"
    stream = models.invoke_model_with_response_stream(modelId=HAIKU, body=json.dumps(body))
    objects = [json.loads(event["chunk"]["bytes"]) for event in stream["body"]]
    assert objects[0]["type"] == "message_start" and objects[-1]["type"] == "message_stop"
    titan = "amazon.titan-text-express-v1"
    reply = models.invoke_model(modelId=titan, body=json.dumps({"inputText": "count to 3"}))
    assert json.load(reply["body"])["results"][0]["outputText"] == "1 2 3 "


def test_embeddings_and_counts(models):
    body = {"inputText": "a home loan", "dimensions": 256}
    reply = models.invoke_model(modelId="amazon.titan-embed-text-v2:0", body=json.dumps(body))
    answer = json.load(reply["body"])
    assert len(answer["embedding"]) == 256 and answer["inputTextTokenCount"] == 3
    count = models.count_tokens(
        modelId=HAIKU, input={"converse": {"messages": [user("count to 3")]}}
    )
    assert count["inputTokens"] == ask(models, "count to 3")["usage"]["inputTokens"]


def test_the_catalogue(url):  # noqa: F811
    catalogue = client("bedrock", url)
    found = catalogue.list_foundation_models(byOutputModality="TEXT")["modelSummaries"]
    assert HAIKU in [model["modelId"] for model in found]
    pages = catalogue.get_paginator("list_inference_profiles").paginate(
        PaginationConfig={"PageSize": 7}
    )
    ids = [p["inferenceProfileId"] for page in pages for p in page["inferenceProfileSummaries"]]
    assert SONNET in ids and len(ids) == len(set(ids)) > 7
    assert catalogue.get_foundation_model(modelIdentifier=HAIKU)["modelDetails"]["modelId"] == HAIKU


def test_a_bearer_key_is_as_good_as_a_signature(url):  # noqa: F811
    # boto3 itself sends a key over TLS alone.
    marked = "repeat: sent with a key"
    body = json.dumps({"messages": [user(marked)]}).encode()
    headers = {"authorization": "Bearer a-bedrock-key", "content-type": "application/json"}
    with urlopen(Request(f"{url}/model/{HAIKU}/converse", body, headers), timeout=20) as reply:
        assert text(json.load(reply)) == "sent with a key"
    seen = [call for call in state(url)["models"]["calls"] if call["text"] == marked]
    assert seen[-1]["authorization"] == "bearer"
    assert seen[-1]["tokens"]["output"] == 4


def test_a_client_that_hangs_up_is_seen(url, models):  # noqa: F811
    text = "count to 2000 and be left"
    stream = models.converse_stream(
        modelId=HAIKU,
        messages=[user(text)],
        requestMetadata={"outcrop-emulator-chunk-ms": "20"},
    )["stream"]
    next(iter(stream))
    stream.close()
    for _ in range(200):
        (call,) = [call for call in state(url)["models"]["calls"] if call["text"] == text]
        if call["ended"] == "disconnected":
            return
    pytest.fail(f"still {call['ended']}")


def test_a_severed_body_is_noticed(models):
    with pytest.raises((ProtocolError, Exception)):
        ask(models, "hello", requestMetadata={FAULT: "cut"})
