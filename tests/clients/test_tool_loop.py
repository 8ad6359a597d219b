"""Tool calls through the official Python SDK, unmodified: an agent's return of control."""

import json

import openai
import pytest
import tool_loop
from conftest import BROKER, MODEL, PRESENTED_KEY
from tool_loop import FORECAST, RATE, RESULTS, TOOLS

# The loop ends after three answers; a broken one must not go on for ever.
MOST_ROUNDS = 5


@pytest.fixture
def client():
    with openai.OpenAI(
        base_url=f"{BROKER}/v1", api_key=PRESENTED_KEY, timeout=30, max_retries=0
    ) as client:
        yield client


def whole(client, messages, **more):
    """An answer in one piece: the message as a client keeps it, and why it ended."""
    answer = client.chat.completions.create(
        model=MODEL, messages=messages, tools=TOOLS, **more
    )
    (choice,) = answer.choices
    return choice.message.model_dump(exclude_none=True), choice.finish_reason


def streamed(client, messages, **more):
    """The same put together from the chunks of a stream."""
    message = {"role": "assistant", "content": ""}
    calls, finish = [], None
    for chunk in client.chat.completions.create(
        model=MODEL, messages=messages, tools=TOOLS, stream=True, **more
    ):
        (choice,) = chunk.choices
        assert finish is None, "nothing follows the finish reason"
        finish = choice.finish_reason
        message["content"] += choice.delta.content or ""
        for delta in choice.delta.tool_calls or []:
            piece = delta.model_dump(exclude_none=True)
            assert piece.pop("index") == len(calls) - (0 if "id" in piece else 1)
            if "id" in piece:
                assert piece["type"] == "function" and piece["function"]["arguments"] == ""
                calls.append(piece)
            else:
                calls[-1]["function"]["arguments"] += piece["function"]["arguments"]
    if calls:
        message["tool_calls"] = calls
    return message, finish


both_ways = pytest.mark.parametrize("ask", [whole, streamed])


def names(message):
    return [call["function"]["name"] for call in message["tool_calls"]]


def result(call, content=None, **more):
    """The tool message that answers a call."""
    content = RESULTS[call["function"]["name"]] if content is None else content
    return {"role": "tool", "tool_call_id": call["id"], "content": content, **more}


def to_the_confirmation(client, ask, mark):
    """The transcript up to the call that a person has to agree to, and that call."""
    messages = [{"role": "user", "content": tool_loop.question(mark)}]
    message, _ = ask(client, messages)
    messages += [message, *(result(call) for call in message["tool_calls"])]
    message, finish = ask(client, messages)
    assert finish == "tool_calls"
    messages.append(message)
    (call,) = message["tool_calls"]
    return messages, call


@both_ways
def test_two_calls_then_a_confirmation_then_the_answer(client, ask, emulator, mark):
    messages = [{"role": "user", "content": tool_loop.question(mark)}]
    rounds = []
    for _ in range(MOST_ROUNDS):
        message, finish = ask(client, messages)
        messages.append(message)
        if finish != "tool_calls":
            break
        rounds.append(names(message))
        for call in message["tool_calls"]:
            arguments = json.loads(call["function"]["arguments"])
            tool_loop.check_arguments(call["function"]["name"], arguments, mark)
            messages.append(result(call))
    assert rounds == [["get_forecast", "get_rate"], ["book_trip"]]
    assert finish == "stop"
    tool_loop.check_answer(message["content"])
    ids = [call["id"] for said in messages for call in said.get("tool_calls", [])]
    assert len(set(ids)) == 3
    tool_loop.check_upstream(emulator, mark)


@both_ways
def test_a_call_that_a_person_has_to_agree_to_says_so(client, ask, mark):
    messages, call = to_the_confirmation(client, ask, mark)
    assert call["outcrop"] == {"confirmation": "decision"}
    plain = [call for said in messages[:-1] for call in said.get("tool_calls", [])]
    assert len(plain) == 2 and not any("outcrop" in call for call in plain)


@both_ways
@pytest.mark.parametrize("decision", ['{"confirmationState":"DENY"}', "no"])
def test_what_a_person_does_not_agree_to_is_not_done(client, ask, decision, mark):
    messages, call = to_the_confirmation(client, ask, mark)
    message, finish = ask(client, [*messages, result(call, decision)])
    assert finish == "stop"
    tool_loop.check_answer(message["content"], denied=True)


def test_a_decision_that_is_none_is_refused_and_can_be_sent_again(client, mark):
    messages, call = to_the_confirmation(client, whole, mark)
    with pytest.raises(openai.BadRequestError) as refused:
        whole(client, [*messages, result(call, "perhaps")])
    assert "CONFIRM" in str(refused.value) and "DENY" in str(refused.value)
    message, _ = whole(client, [*messages, result(call, "yes")])
    tool_loop.check_answer(message["content"])


@both_ways
def test_results_may_come_one_after_the_other(client, ask, emulator, mark):
    messages = [{"role": "user", "content": tool_loop.question(mark)}]
    message, _ = ask(client, messages)
    first, second = message["tool_calls"]
    messages += [message, result(second)]
    message, finish = ask(client, messages)
    assert finish == "tool_calls"
    assert message["tool_calls"] == [first]
    messages += [message, result(first)]
    message, finish = ask(client, messages)
    assert (finish, names(message)) == ("tool_calls", ["book_trip"])
    assert [call["results"] for call in emulator.calls_of_session_with(mark)] == [0, 2]


def test_a_result_that_is_an_error_lets_the_agent_try_otherwise(client, mark):
    messages = [{"role": "user", "content": f"call: get_rate currency=NOK note={mark}"}]
    message, _ = whole(client, messages)
    (call,) = message["tool_calls"]
    broken = result(call, "the exchange is closed", is_error=True)
    message, finish = whole(client, [*messages, message, broken])
    assert finish == "stop"
    assert "did not work" in message["content"] and "the exchange is closed" in message["content"]


def test_results_that_answer_nothing_are_refused_and_the_session_goes_on(client, mark):
    messages = [{"role": "user", "content": tool_loop.question(mark)}]
    message, _ = whole(client, messages)
    messages.append(message)
    first, second = message["tool_calls"]
    stranger = {"role": "tool", "tool_call_id": "call_of_nobody", "content": FORECAST}
    nameless = {"role": "tool", "content": FORECAST}
    for wrong in [
        [result(first), result(second), stranger],
        [result(first), result(first)],
        [stranger],
        [nameless],
    ]:
        with pytest.raises(openai.BadRequestError) as refused:
            whole(client, [*messages, *wrong])
        assert refused.value.param.startswith("messages")
    message, finish = whole(client, [*messages, result(first), result(second)])
    assert (finish, names(message)) == ("tool_calls", ["book_trip"])


@both_ways
def test_a_user_who_does_not_wait_for_results_is_answered(client, ask, emulator, mark):
    messages = [{"role": "user", "content": f"My name is Eva. {mark}"}]
    message, _ = ask(client, messages)
    messages += [message, {"role": "user", "content": tool_loop.question(mark)}]
    message, finish = ask(client, messages)
    assert finish == "tool_calls"
    messages += [message, {"role": "user", "content": "Never mind. What is my name?"}]
    message, finish = ask(client, messages)
    assert (finish, "Eva" in message["content"]) == ("stop", True), message
    assert FORECAST not in message["content"] and RATE not in message["content"]
    session = emulator.calls(mark)[0]["session"]
    assert {call["session"] for call in emulator.calls(mark)} == {session}


def test_the_stream_helper_gathers_the_calls(client, mark):
    strict = [{**tool, "function": {**tool["function"], "strict": True}} for tool in TOOLS]
    with client.chat.completions.stream(
        model=MODEL,
        messages=[{"role": "user", "content": tool_loop.question(mark)}],
        tools=strict,
    ) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()
    assert [event.name for event in done] == ["get_forecast", "get_rate"]
    (choice,) = final.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls[0].function.parsed_arguments["days"] == 3
