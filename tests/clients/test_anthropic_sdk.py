"""Anthropic's official Python SDK, unmodified, against a running broker."""

import anthropic
import pytest
from conftest import BROKER, KEY, MODEL, PRESENTED_KEY, emulator_settings


@pytest.fixture
def client():
    with anthropic.Anthropic(
        base_url=BROKER, api_key=PRESENTED_KEY, timeout=30, max_retries=0
    ) as client:
        yield client


def ask(*texts):
    """Messages of these texts, user and assistant in turn."""
    roles = ["user", "assistant"]
    return [{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)]


def asked(text, **more):
    return {"model": MODEL, "max_tokens": 500, "messages": ask(text), **more}


def test_a_whole_answer_is_a_message(client, mark):
    message = client.messages.create(**asked(f"count to 5 {mark}"))
    assert message.type == "message" and message.role == "assistant" and message.model == MODEL
    assert message.content[0].text.split() == ["1", "2", "3", "4", "5"]
    assert message.stop_reason == "end_turn" and message.stop_sequence is None
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0
    assert message._request_id


def test_the_stream_helper_gathers_text_and_the_final_message(client, mark):
    with client.messages.stream(**asked(f"count to 64 {mark}")) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()
    assert len(pieces) > 10
    assert "".join(pieces) == message.content[0].text
    assert message.stop_reason == "end_turn" and message.usage.output_tokens > 0


def test_raw_events_come_in_their_order(client, mark):
    events = [event.type for event in client.messages.create(**asked(f"hi {mark}"), stream=True)]
    assert events[0] == "message_start" and events[-2:] == ["message_delta", "message_stop"]
    assert events.count("content_block_start") == events.count("content_block_stop") == 1


def test_a_resent_transcript_is_one_session_and_only_what_is_new_goes_up(client, emulator, mark):
    said = f"My name is Ann {mark}"
    first = client.messages.create(**asked(said))
    messages = [*ask(said), {"role": "assistant", "content": first.content}]
    messages.append({"role": "user", "content": "What is my name?"})
    second = client.messages.create(model=MODEL, max_tokens=500, messages=messages)
    assert second.content[0].text == "Your name is Ann."
    texts = [call["input_text"] for call in emulator.calls_of_session_with(mark)]
    assert texts == [said, "What is my name?"]


def test_a_handed_over_call_is_a_tool_use_block_whole_and_streamed(client, mark):
    said = f"call: get_forecast city=Oslo days=3 ref={mark}"
    whole = client.messages.create(**asked(said))
    with client.messages.stream(**asked(said)) as stream:
        streamed = stream.get_final_message()
    for message in (whole, streamed):
        call = message.content[-1]
        assert message.stop_reason == "tool_use" and call.type == "tool_use"
        assert call.id and call.input["city"] == "Oslo"


def test_system_blocks_tools_and_further_members_are_taken(client, mark):
    message = client.messages.create(
        **asked(f"count to 3 {mark}"),
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        stop_sequences=["END"],
        metadata={"user_id": "ann"},
        service_tier="auto",
    )
    assert message.content[0].text.split() == ["1", "2", "3"]


def test_tokens_are_counted(client):
    counted = client.messages.count_tokens(model=MODEL, messages=ask("How are you today?"))
    assert 3 <= counted.input_tokens <= 30


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"model": "no-such-model"}, anthropic.NotFoundError),
        ({"messages": []}, anthropic.BadRequestError),
        ({"tool_choice": {"type": "any"}}, anthropic.BadRequestError),
    ],
)
def test_what_is_wrong_is_an_error_of_its_class(client, change, error):
    with pytest.raises(error) as caught:
        client.messages.create(**{**asked("hello"), **change})
    assert caught.value.body["type"] == "error"
    assert caught.value.request_id


@pytest.mark.skipif(not KEY, reason="the broker is open")
def test_a_wrong_key_is_refused(client):
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key="wrong").messages.create(**asked("hello"))


def test_a_failure_in_the_stream_is_raised(client, mark):
    fault = emulator_settings(fault="cut:2")
    with pytest.raises(anthropic.APIStatusError):
        with client.messages.stream(**asked(f"count to 9 {mark}"), extra_body=fault) as stream:
            list(stream)
