"""CodeWhisperer through the broker, by OpenAI's SDK: tools, streams, and tokens that expire.

The broker was signed in by `outcrop login` against the emulator.
"""

import json
import time
import urllib.request

import pytest
from conftest import BROKER, EMULATOR, PICTURE, PRESENTED_KEY
from openai import BadRequestError, OpenAI

MODEL = "codewhisperer"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Looks {name} up.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    for name in ("forecast", "flights")
]


@pytest.fixture
def client():
    return OpenAI(base_url=f"{BROKER}/v1", api_key=PRESENTED_KEY, max_retries=0)


def set_up_sign_in(**settings):
    request = urllib.request.Request(
        f"{EMULATOR}/_emulator/sign-in", data=json.dumps(settings).encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.status == 200


def renewals(emulator):
    return emulator.state()["sign_in"]["calls"].get("Renewals", 0)


def streamed(client, messages, **options):
    """The message that a stream amounts to, and why it ended."""
    text, calls, finish = "", [], None
    stream = client.chat.completions.create(
        model=MODEL, messages=messages, stream=True, **options
    )
    for chunk in stream:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            for call in choice.delta.tool_calls or []:
                if call.index == len(calls):
                    calls.append({"id": call.id, "name": call.function.name, "arguments": ""})
                calls[call.index]["arguments"] += call.function.arguments or ""
            finish = choice.finish_reason or finish
    return text, calls, finish


def test_a_loop_of_tools_goes_on_across_expiries(client, emulator, mark):
    before = renewals(emulator)
    messages = [
        {
            "role": "user",
            "content": f'say: {mark}; call: forecast city="Oslo"; call: flights city="Rome"; '
            "then say: Done.",
        }
    ]
    set_up_sign_in(expire=True)
    text, calls, finish = streamed(client, messages, tools=TOOLS)
    assert (text, finish) == (mark, "tool_calls")
    assert [(call["name"], json.loads(call["arguments"])) for call in calls] == [
        ("forecast", {"city": "Oslo"}),
        ("flights", {"city": "Rome"}),
    ]
    messages.append(
        {
            "role": "assistant",
            "content": text,
            "tool_calls": [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": call["arguments"]},
                }
                for call in calls
            ],
        }
    )
    # In the other order, as tools may finish.
    for call, result in zip(reversed(calls), ("full", "rain"), strict=True):
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    set_up_sign_in(expire=True)
    text, calls, finish = streamed(client, messages, tools=TOOLS)
    assert finish == "stop" and not calls
    assert "forecast says: rain" in text and "flights says: full" in text and "Done." in text
    assert renewals(emulator) == before + 2


def test_the_session_remembers_and_a_model_may_be_named(client, emulator, mark):
    headers = {"x-session-id": mark}

    def say(text):
        return client.chat.completions.create(
            model=f"{MODEL}/claude-sonnet-4",
            messages=[{"role": "user", "content": text}],
            extra_headers=headers,
        )

    say(f"My name is Ann. {mark}")
    answer = say("What is my name?")
    assert answer.choices[0].message.content == "Your name is Ann."
    assert answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens == 4
    states = [call["request"]["conversationState"] for call in emulator.model_calls(mark)]
    assert states[0]["conversationId"] == states[1]["conversationId"]
    current = states[1]["currentMessage"]["userInputMessage"]
    assert current["modelId"] == "claude-sonnet-4"


def test_the_models_of_the_sign_in_are_listed(client):
    # The list is asked for by a task of its own, soon after somebody has signed in.
    for _ in range(100):
        names = {model.id for model in client.models.list()}
        if f"{MODEL}/auto" in names:
            break
        time.sleep(0.1)
    assert {MODEL, f"{MODEL}/auto", f"{MODEL}/claude-sonnet-4"} <= names
    assert client.models.retrieve(f"{MODEL}/auto").owned_by == "codewhisperer"


def test_pictures_and_instructions_are_seen(client):
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "system", "content": "You are kind."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": PICTURE}},
                ],
            },
        ],
    )
    assert "image (png" in answer.choices[0].message.content


def test_code_of_others_is_annotated(client):
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "cite: https://github.com/acme/tool fn main() {}"}],
    )
    message = answer.choices[0].message
    assert message.content == "fn main() {}"
    assert message.annotations[0].url_citation.url == "https://github.com/acme/tool"


def test_what_cannot_be_honoured_is_refused_by_name(client):
    with pytest.raises(BadRequestError) as refused:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "hi"}], logprobs=True
        )
    assert refused.value.param == "logprobs"
