"""Agents that come with the call, as boto3 sees them. See emulator_boto3.py for how to run it."""

import json

import pytest
from botocore.exceptions import ClientError, EventStreamError

from emulator_boto3 import agents, session, state, url  # noqa: F401 (fixtures)

AGENT = {
    "foundationModel": "anthropic.claude-3-haiku",
    "instruction": "You are an assistant that helps people to plan their travels.",
}
CONTROL = {"customControl": "RETURN_CONTROL"}
TRAVEL = {
    "actionGroupName": "Travel",
    "description": "Weather and tickets",
    "actionGroupExecutor": CONTROL,
    "functionSchema": {
        "functions": [
            {
                "name": "forecast",
                "description": "The weather of some days",
                "parameters": {"days": {"type": "string", "description": "How many"}},
            },
            {"name": "book", "requireConfirmation": "ENABLED"},
        ]
    },
}
BODY = {"type": "object", "properties": {"stops": {"type": "array", "items": {"type": "string"}}}}
ROUTES = {
    "actionGroupName": "Routes",
    "actionGroupExecutor": CONTROL,
    "apiSchema": {
        "payload": json.dumps(
            {
                "openapi": "3.0.0",
                "info": {"title": "Routes", "version": "1"},
                "paths": {
                    "/routes": {
                        "post": {
                            "operationId": "plan_route",
                            "parameters": [
                                {"name": "depth", "in": "query", "schema": {"type": "integer"}}
                            ],
                            "requestBody": {"content": {"application/json": {"schema": BODY}}},
                        }
                    }
                },
            }
        )
    },
}


def heard(agents, session, text=None, groups=(), **more):
    if text is not None:
        more["inputText"] = text
    reply = agents.invoke_inline_agent(
        sessionId=session, actionGroups=list(groups), **{**AGENT, **more}
    )
    assert reply["sessionId"] == session
    return list(reply["completion"])


def said(found):
    return b"".join(event["chunk"]["bytes"] for event in found if "chunk" in event).decode()


def bring(agents, session, found, *results, groups=()):
    state = {
        "invocationId": found[-1]["returnControl"]["invocationId"],
        "returnControlInvocationResults": list(results),
    }
    return heard(agents, session, groups=groups, inlineSessionState=state)


def test_a_session_with_the_same_events(agents, url, session):
    found = heard(
        agents, session, "I am Ann", enableTrace=True,
        streamingConfigurations={"streamFinalResponse": True},
    )  # fmt: skip
    traces = [event["trace"] for event in found if "trace" in event]
    assert len(traces) == 3 and all(trace["sessionId"] == session for trace in traces)
    assert said(heard(agents, session, "Who am I?")) == "Your name is Ann."
    found = heard(agents, session, "cite: s3; file: a.csv; ask: Researcher b", enableTrace=True)
    assert {kind for event in found for kind in event} == {"trace", "chunk", "files"}
    named = {event["trace"].get("collaboratorName") for event in found if "trace" in event}
    assert named == {None, "Researcher"}
    [first, *_] = [call for call in state(url)["calls"] if call["session"] == session]
    assert first["operation"] == "InvokeInlineAgent"
    assert first["body"]["instruction"] == AGENT["instruction"]


def test_a_tool_loop_with_functions_and_an_operation(agents, session):
    groups = (TRAVEL, ROUTES)
    text = "call: forecast days=3; call: plan_route depth=2 stops='[\"Oslo\"]'; then call: book"
    found = heard(agents, session, text, groups)
    given = found[-1]["returnControl"]["invocationInputs"]
    forecast = given[0]["functionInvocationInput"]
    assert forecast["actionGroup"] == "Travel"
    assert forecast["parameters"] == [{"name": "days", "type": "string", "value": "3"}]
    route = given[1]["apiInvocationInput"]
    assert (route["httpMethod"], route["apiPath"]) == ("POST", "/routes")
    assert route["parameters"] == [{"name": "depth", "type": "integer", "value": "2"}]
    assert route["requestBody"]["content"]["application/json"]["properties"] == [
        {"name": "stops", "type": "array", "value": '["Oslo"]'}
    ]
    rain = {"actionGroup": "Travel", "function": "forecast"}
    rain["responseBody"] = {"TEXT": {"body": "rain"}}
    way = {"actionGroup": "Routes", "apiPath": "/routes", "httpMethod": "POST"}
    way |= {"httpStatusCode": 200, "responseBody": {"application/json": {"body": "[]"}}}
    found = bring(
        agents, session, found, {"functionResult": rain}, {"apiResult": way}, groups=groups
    )
    [book] = found[-1]["returnControl"]["invocationInputs"]
    asked = book["functionInvocationInput"]
    assert asked["actionInvocationType"] == "USER_CONFIRMATION_AND_RESULT"
    denied = {"actionGroup": "Travel", "function": "book", "confirmationState": "DENY"}
    answer = said(bring(agents, session, found, {"functionResult": denied}, groups=groups))
    assert answer == "forecast says: rain\nPOST /routes (200) says: []\nbook was denied"


def test_a_function_that_is_not_declared(agents, session):
    found = heard(agents, session, "call: weather", [TRAVEL])
    assert said(found) == "I do not know the function weather."


def changed(**change):
    [function, *_] = TRAVEL["functionSchema"]["functions"]
    schema = {"functions": [function | change]}
    return [TRAVEL | {"functionSchema": schema}]


@pytest.mark.parametrize(
    ("member", "wrong"),
    [
        ("foundationModel", {"foundationModel": "x" * 2049}),
        ("actionGroups", {"groups": [TRAVEL, TRAVEL]}),
        ("actionGroupName", {"groups": [TRAVEL | {"actionGroupName": "a__b"}]}),
        ("description", {"groups": [TRAVEL | {"description": "x" * 201}]}),
        ("name", {"groups": changed(name="get.forecast")}),
        ("description", {"groups": changed(description="x" * 1201)}),
        ("type", {"groups": changed(parameters={"where": {"type": "object"}})}),
        ("description", {"groups": changed(parameters={"a": {"type": "string", "description": "x" * 501}})}),
        ("OpenAPI", {"groups": [ROUTES | {"apiSchema": {"payload": "openapi: 3.0.0"}}]}),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_of_the_model(agents, session, member, wrong):
    with pytest.raises(ClientError, match=member) as refusal:
        heard(agents, session, "hello", **wrong)
    assert refusal.value.response["Error"]["Code"] == "ValidationException"


def test_an_exception_in_the_stream(agents, session):
    with pytest.raises(EventStreamError) as broken:
        heard(agents, session, "say: a; fail: throttlingException")
    assert broken.value.response["Error"]["Code"] == "throttlingException"
