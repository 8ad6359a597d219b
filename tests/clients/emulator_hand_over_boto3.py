"""Return of control, as boto3 sees it. See emulator_boto3.py for how to run it."""

import pytest
from botocore.exceptions import ClientError, EventStreamError

from emulator_boto3 import agents, events, say, session, url  # noqa: F401 (fixtures)


def text_of(found):
    return b"".join(event["chunk"]["bytes"] for event in found if "chunk" in event).decode()


def control_of(found):
    return found[-1]["returnControl"]


def function(name, group="demo", body=None, **more):
    result = {"actionGroup": group, "function": name, **more}
    if body is not None:
        result["responseBody"] = {"TEXT": {"body": body}}
    return {"functionResult": result}


def bring(agents, session, control, *results, **more):
    state = {
        "invocationId": control["invocationId"],
        "returnControlInvocationResults": list(results),
    }
    return events(agents, session, sessionState=state, **more)


def refused(agents, session, control, *results):
    with pytest.raises(ClientError) as refusal:
        bring(agents, session, control, *results)
    assert refusal.value.response["Error"]["Code"] == "ValidationException"
    return refusal.value.response["Error"]["Message"]


def test_a_tool_loop_of_two_calls_then_a_confirmation(agents, session):
    found = events(
        agents,
        session,
        "say: One moment.; call: get_forecast city=Oslo days=3; call: get_time city=Oslo;"
        " then call: book_trip city=Oslo @confirm; then say: Done.",
        stream=True,
    )
    assert text_of(found) == "One moment."
    inputs = [given["functionInvocationInput"] for given in control_of(found)["invocationInputs"]]
    assert [given["function"] for given in inputs] == ["get_forecast", "get_time"]
    assert inputs[0]["parameters"] == [
        {"name": "city", "type": "string", "value": "Oslo"},
        {"name": "days", "type": "integer", "value": "3"},
    ]
    results = [function("get_forecast", body="rain"), function("get_time", body="noon")]
    [asked] = bring(agents, session, control_of(found), *results)
    given = asked["returnControl"]["invocationInputs"][0]["functionInvocationInput"]
    assert given["actionInvocationType"] == "USER_CONFIRMATION"
    decided = function("book_trip", confirmationState="CONFIRM")
    answer = text_of(bring(agents, session, asked["returnControl"], decided))
    assert answer == "get_forecast says: rain\nget_time says: noon\nbook_trip was confirmed Done."


def test_an_operation_of_an_api_with_a_body_and_a_collaborator(agents, session):
    phrase = (
        "api: POST /orders/{orderId}/notes orderId=42 body note='call back' urgent=true"
        " @group=Orders @by=Night-Desk @confirm-run"
    )
    control = control_of(events(agents, session, phrase))
    [given] = control["invocationInputs"]
    asked = given["apiInvocationInput"]
    assert asked["collaboratorName"] == "Night-Desk" and asked["agentId"] == "NIGHTDESK0"
    assert asked["requestBody"]["content"]["application/json"]["properties"] == [
        {"name": "note", "type": "string", "value": "call back"},
        {"name": "urgent", "type": "boolean", "value": "true"},
    ]
    result = {key: asked[key] for key in ("actionGroup", "apiPath", "httpMethod", "agentId")}
    result |= {
        "httpStatusCode": 200,
        "confirmationState": "CONFIRM",
        "responseBody": {"application/json": {"body": "{}"}},
    }
    answer = text_of(bring(agents, session, control, {"apiResult": result}))
    assert answer == "POST /orders/{orderId}/notes (200) was confirmed and says: {}"


def test_results_that_do_not_fit_are_refused_and_still_waited_for(agents, session):
    control = control_of(events(agents, session, "call: a; call: b @confirm"))
    right = [function("a", body="1"), function("b", confirmationState="DENY")]
    wrong_id = {**control, "invocationId": "another"}
    assert "invocationId" in refused(agents, session, wrong_id, *right)
    for wrong in (
        right[:1],
        [right[0], right[0]],
        [right[0], function("b", body="yes")],
        [*right, function("c", body="3")],
        [function("a", group="other", body="1"), right[1]],
        [right[0]] * 6,
    ):
        refused(agents, session, control, *wrong)
    with pytest.raises(ClientError, match="waits for the results of a, b"):
        say(agents, session, "never mind")
    answer = text_of(bring(agents, session, control, *right, text="ignored"))
    assert answer == "a says: 1\nb was denied"
    assert "no results" in refused(agents, session, control, *right)


def test_response_states(agents, session):
    control = control_of(events(agents, session, "call: a"))
    with pytest.raises(EventStreamError) as broken:
        bring(agents, session, control, function("a", body="down", responseState="FAILURE"))
    assert broken.value.response["Error"]["Code"] == "dependencyFailedException"

    control = control_of(events(agents, session, "call: a"))
    again = bring(agents, session, control, function("a", body="down", responseState="REPROMPT"))
    assert text_of(again) == "a did not work, so I try it otherwise: down"


def test_a_phrase_that_cannot_be_read_is_answered_with_the_reason(agents, session):
    assert say(agents, session, "call: a; dance: b").startswith("I cannot follow this: ")
