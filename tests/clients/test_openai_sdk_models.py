"""The official Python SDK, unmodified, with models behind the broker instead of agents.

What the SDK adds to plain requests works over both kinds of upstream: answers that are parsed,
the stream helper, declared tools. The demo model follows the emulator's phrases
(docs/emulator.md, "A model's phrases").
"""

import enum
import json

import openai
import pytest
from conftest import BROKER, CLAUDE, GPT, PICTURE, PRESENTED_KEY, each_model
from pydantic import BaseModel, Field

# How Bedrock's families are made to answer in a schema: by a tool, natively, by a tool without
# definitions, and in words.
SHAPED = [
    CLAUDE,
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "us.amazon.nova-lite-v1:0",
    "us.deepseek.r1-v1:0",
    GPT,
]


class Kind(enum.StrEnum):
    work = "work"
    leisure = "leisure"


class Night(BaseModel):
    city: str
    count: int


class Trip(BaseModel):
    """Where to go."""

    title: str
    kind: Kind
    nights: list[Night]
    price: float | None


class GetWeather(BaseModel):
    """The weather of the next days."""

    city: str
    days: int = Field(description="how many")


class GetTime(BaseModel):
    """The time of day."""

    city: str


TOOLS = [openai.pydantic_function_tool(GetWeather), openai.pydantic_function_tool(GetTime)]
TOLD = {"GetWeather": "rain", "GetTime": "noon"}


@pytest.fixture
def chat():
    with openai.OpenAI(
        base_url=f"{BROKER}/v1", api_key=PRESENTED_KEY, timeout=30, max_retries=0
    ) as client:
        yield client.chat.completions


def ask(content):
    return [{"role": "user", "content": content}]


def two_calls(mark):
    """What makes the model say something, call two tools at once, and use what they say."""
    return (
        f"say: Let me look.; call: GetWeather city=Oslo days=3; call: GetTime city={mark};"
        " then say: Have a good trip."
    )


def text_of(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


# --- answers that are parsed -------------------------------------------------------------------


def check_trip(trip, mark):
    assert isinstance(trip, Trip) and trip.kind is Kind.work
    assert trip.title == f"Plan-{mark}" and [night.count for night in trip.nights] == [5, 5]


@pytest.mark.parametrize("model", SHAPED)
def test_an_answer_is_parsed(chat, model, mark):
    answer = chat.parse(model=model, messages=ask(f"Plan-{mark} 5 days"), response_format=Trip)
    (choice,) = answer.choices
    assert choice.finish_reason == "stop" and not choice.message.tool_calls
    check_trip(choice.message.parsed, mark)


@pytest.mark.parametrize("model", SHAPED)
def test_a_streamed_answer_is_parsed_as_it_comes(chat, model, mark):
    with chat.stream(
        model=model, messages=ask(f"Plan-{mark} 5 days"), response_format=Trip
    ) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    deltas = [event for event in events if event.type == "content.delta"]
    (done,) = [event for event in events if event.type == "content.done"]
    assert len(deltas) > 1 and done.content == "".join(event.delta for event in deltas)
    check_trip(done.parsed, mark)
    check_trip(final.choices[0].message.parsed, mark)


@each_model
def test_a_conversation_goes_on_after_a_parsed_answer(chat, model, mark):
    messages = ask(f"I am Ann. Plan-{mark} 5 days")
    raw = chat.with_raw_response.parse(model=model, messages=messages, response_format=Trip)
    said = raw.parse().choices[0].message.content
    messages += [{"role": "assistant", "content": said}, *ask("What is my name?")]
    raw = chat.with_raw_response.create(model=model, messages=messages)
    assert raw.headers["x-outcrop-session"] == "continued"
    assert raw.parse().choices[0].message.content == "Your name is Ann."


@each_model
def test_an_answer_that_is_cut_off_or_filtered_is_not_parsed(chat, model, mark):
    with pytest.raises(openai.LengthFinishReasonError):
        chat.parse(
            model=model,
            messages=ask(f"Plan-{mark} 5 days"),
            response_format=Trip,
            max_completion_tokens=2,
        )
    with pytest.raises(openai.ContentFilterFinishReasonError):
        chat.parse(
            model=model,
            messages=ask(f"say: {mark}; stop: content_filtered"),
            response_format=Trip,
        )


@each_model
@pytest.mark.parametrize("stream", [False, True])
def test_a_json_object_has_members_of_the_models_own(chat, model, stream, mark):
    answer = chat.create(
        model=model,
        messages=ask(f"Answer in JSON: what are loans? {mark}"),
        response_format={"type": "json_object"},
        stream=stream,
    )
    text = text_of(answer) if stream else answer.choices[0].message.content
    assert json.loads(text)["answer"]


# --- tools -------------------------------------------------------------------------------------


def results(message):
    """What the client's functions say to the calls of a message."""
    for call in message.tool_calls:
        content = TOLD[call.function.name]
        yield {"role": "tool", "tool_call_id": call.id, "content": content}


def check_two_calls(message, mark):
    assert message.content == "Let me look."
    parsed = [call.function.parsed_arguments for call in message.tool_calls]
    assert parsed == [GetWeather(city="Oslo", days=3), GetTime(city=mark)]


def parsed(chat, **request):
    return chat.parse(**request).choices[0]


def gathered(chat, **request):
    with chat.stream(**request) as stream:
        return stream.get_final_completion().choices[0]


@each_model
@pytest.mark.parametrize("ask_once", [parsed, gathered])
def test_two_tools_are_called_at_once_and_their_results_are_used(
    chat, emulator, model, ask_once, mark
):
    messages = ask(two_calls(mark))
    choice = ask_once(chat, model=model, messages=messages, tools=TOOLS)
    assert choice.finish_reason == "tool_calls"
    check_two_calls(choice.message, mark)
    messages += [choice.message, *results(choice.message)]
    choice = ask_once(chat, model=model, messages=messages, tools=TOOLS)
    assert choice.finish_reason == "stop" and not choice.message.tool_calls
    for told in ["GetWeather says: rain", "GetTime says: noon", "Have a good trip."]:
        assert choice.message.content.count(told) == 1
    assert len(emulator.model_calls(mark)) == 2


@each_model
def test_the_helper_tells_text_first_and_then_call_after_call(chat, model, mark):
    with chat.stream(model=model, messages=ask(two_calls(mark)), tools=TOOLS) as stream:
        types = [event.type for event in stream if event.type != "chunk"]
        check_two_calls(stream.get_final_completion().choices[0].message, mark)
    done = "tool_calls.function.arguments.done"
    assert types[0] == "content.delta" and types[-1] == done
    assert types.count("content.done") == 1 and types.count(done) == 2


@each_model
def test_an_answer_that_begins_with_a_call_has_its_index_and_no_text(chat, model, mark):
    chunks = list(
        chat.create(
            model=model,
            messages=ask(f"call: GetTime city={mark}; call: GetTime city=Rome"),
            tools=TOOLS,
            stream=True,
        )
    )
    deltas = [chunk.choices[0].delta for chunk in chunks]
    calls = [call for delta in deltas for call in delta.tool_calls or []]
    assert [call.index for call in calls if call.id] == [0, 1]
    assert {call.index for call in calls} == {0, 1}
    assert not text_of(chunks) and chunks[-1].choices[0].finish_reason == "tool_calls"


@each_model
def test_the_choice_of_tools_is_the_clients(chat, model, mark):
    def called(text, **more):
        choice = chat.create(model=model, messages=ask(f"{text} {mark}"), tools=TOOLS, **more)
        return [call.function.name for call in choice.choices[0].message.tool_calls or []]

    both = "Tell me the weather and the time in Oslo"
    assert called(both) == ["GetWeather", "GetTime"]
    assert called(both, parallel_tool_calls=False) == ["GetWeather"]
    assert called(both, tool_choice="none") == []
    assert called("Hello", tool_choice="required") == ["GetWeather"]
    named = {"type": "function", "function": {"name": "GetTime"}}
    assert called("Hello", tool_choice=named) == ["GetTime"]


@each_model
def test_a_tool_may_be_called_before_an_answer_is_parsed(chat, model, mark):
    messages = ask(f"call: GetTime city={mark}")
    request = {"model": model, "tools": TOOLS, "response_format": Trip}
    message = parsed(chat, messages=messages, **request).message
    assert message.tool_calls[0].function.parsed_arguments == GetTime(city=mark)
    messages += [message, *results(message), *ask(f"Plan-{mark} 5 days")]
    check_trip(parsed(chat, messages=messages, **request).message.parsed, mark)


# --- the rest of what models do ----------------------------------------------------------------


@each_model
def test_thoughts_come_apart_from_the_answer(chat, model, mark):
    request = {
        "model": model,
        "messages": ask(f"think: step by step; say: {mark}"),
        "reasoning_effort": "low",
    }
    message = chat.create(**request).choices[0].message
    assert (message.reasoning_content, message.content) == ("step by step", mark)
    chunks = list(chat.create(**request, stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    thought = [getattr(delta, "reasoning_content", None) or "" for delta in deltas]
    assert "".join(thought) == "step by step" and sum(map(bool, thought)) > 1
    assert text_of(chunks) == mark


@each_model
def test_a_model_that_thinks_keeps_its_thoughts_over_a_call(chat, model, mark):
    """Claude refuses results of calls whose signed thoughts are gone; the session has them."""
    request = {"model": model, "tools": TOOLS, "reasoning_effort": "low"}
    messages = ask(f"think: where is it; call: GetTime city={mark}; then say: Done.")
    message = parsed(chat, messages=messages, **request).message
    assert message.reasoning_content == "where is it"
    messages += [message, *results(message)]
    assert parsed(chat, messages=messages, **request).message.content.endswith("Done.")


@each_model
def test_usage_is_the_upstreams(chat, emulator, model, mark):
    request = {"model": model, "messages": ask(f"count to 5 {mark}")}
    whole = chat.create(**request).usage
    with chat.stream(**request, stream_options={"include_usage": True}) as stream:
        streamed = stream.get_final_completion().usage
    for usage, call in zip([whole, streamed], emulator.model_calls(mark), strict=True):
        tokens = call["tokens"]
        assert usage.prompt_tokens == tokens["input"] > 0
        assert usage.completion_tokens == tokens["output"] > 0
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@each_model
def test_pictures_and_files_are_looked_at(chat, model, mark):
    def shown(part):
        content = [{"type": "text", "text": f"Look {mark}"}, part]
        return chat.create(model=model, messages=ask(content)).choices[0].message.content

    picture = {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}}
    assert "I see image (png, 68 bytes, 1x1)" in shown(picture)
    file = {"filename": "a.txt", "file_data": "data:text/plain;base64,aGk="}
    assert "(txt, 2 bytes)" in shown({"type": "file", "file": file})
    false = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}
    with pytest.raises(openai.BadRequestError):
        shown(false)


@each_model
def test_developer_messages_limits_and_stops_are_heeded(chat, model, mark):
    told = [{"role": "developer", "content": f"Be brief {mark}"}]
    answer = chat.create(model=model, messages=told + ask("What are your instructions?"))
    assert mark in answer.choices[0].message.content
    (cut,) = chat.create(
        model=model, messages=ask(f"count to 9 {mark}"), max_completion_tokens=3
    ).choices
    assert (cut.message.content.split(), cut.finish_reason) == (["1", "2", "3"], "length")
    (stopped,) = chat.create(
        model=model, messages=ask(f"say: one {mark} two three"), stop=["two"]
    ).choices
    assert (stopped.message.content.strip(), stopped.finish_reason) == (f"one {mark}", "stop")


@each_model
@pytest.mark.parametrize(
    ("param", "more"),
    [
        ("n", {"n": 2}),
        ("tool_choice", {"tool_choice": "required"}),
        (
            "response_format.json_schema.schema",
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
        ),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(chat, model, param, more):
    with pytest.raises(openai.BadRequestError) as caught:
        chat.create(model=model, messages=ask("Hello"), **more)
    assert caught.value.param == param


def test_how_likely_tokens_were_is_told_by_whoever_knows(chat):
    (choice,) = chat.create(model=GPT, messages=ask("say: one two"), logprobs=True).choices
    told = "".join(entry.token for entry in choice.logprobs.content)
    assert told == choice.message.content
    with pytest.raises(openai.BadRequestError) as caught:
        chat.create(model=CLAUDE, messages=ask("Hello"), logprobs=True)
    assert caught.value.param == "logprobs"


@each_model
def test_a_conversation_that_is_too_long_says_so(chat, model, mark):
    with pytest.raises(openai.BadRequestError) as caught:
        chat.create(
            model=model, messages=ask(f"{mark}; outcrop-emulator-fault: context-overflow")
        )
    assert caught.value.code == "context_length_exceeded"


@each_model
def test_a_stream_that_breaks_is_raised_by_the_helper(chat, model, mark):
    words = f"count to 9 {mark}; outcrop-emulator-fault: cut:2"
    heard = []
    with pytest.raises(openai.APIError) as caught:
        with chat.stream(model=model, messages=ask(words)) as stream:
            heard.extend(event.delta for event in stream if event.type == "content.delta")
    assert "".join(heard).split() == ["1", "2"]
    assert caught.value.code == "upstream_protocol"
