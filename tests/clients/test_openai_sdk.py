"""The official Python SDK, unmodified, against a running broker."""

import asyncio
import time

import openai
import pytest
from conftest import BROKER, KEY, MODEL, PRESENTED_KEY, emulator_settings

ONE_TO_FIVE = ["1", "2", "3", "4", "5"]


@pytest.fixture
def client():
    with openai.OpenAI(base_url=f"{BROKER}/v1", api_key=PRESENTED_KEY, timeout=30) as client:
        yield client


@pytest.fixture
def unretrying(client):
    return client.with_options(max_retries=0)


def ask(text):
    return [{"role": "user", "content": text}]


def text_of(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


# --- answers -----------------------------------------------------------------------------------


def test_models_can_be_listed_and_retrieved(client):
    models = {model.id: model for model in client.models.list()}
    assert MODEL in models
    assert models[MODEL].object == "model" and models[MODEL].owned_by
    assert client.models.retrieve(MODEL).id == MODEL


def test_a_whole_answer_has_every_member_that_the_schema_wants(client, mark):
    answer = client.chat.completions.create(model=MODEL, messages=ask(f"count to 5 {mark}"))
    assert answer.object == "chat.completion" and answer.model == MODEL
    assert abs(answer.created - time.time()) < 60
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert choice.message.role == "assistant" and choice.message.refusal is None
    assert choice.message.content.split() == ONE_TO_FIVE
    assert choice.message.tool_calls is None
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0
    assert answer._request_id


def test_a_stream_opens_with_the_role_and_ends_with_a_finish_reason(client, mark):
    messages = ask(f"count to 5 {mark}")
    chunks = list(client.chat.completions.create(model=MODEL, messages=messages, stream=True))
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    roles = [chunk.choices[0].delta.role for chunk in chunks]
    assert roles[0] == "assistant" and not any(roles[1:])
    finishes = [chunk.choices[0].finish_reason for chunk in chunks]
    assert finishes[-1] == "stop" and not any(finishes[:-1])
    assert text_of(chunks).split() == ONE_TO_FIVE
    assert sum(1 for chunk in chunks if chunk.choices[0].delta.content) == 5
    assert all("usage" not in chunk.model_fields_set for chunk in chunks)


def test_usage_comes_last_when_asked_for(client, mark):
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=ask(f"count to 5 {mark}"),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert all(chunk.usage is None and chunk.choices for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0


def test_the_stream_helper_gathers_the_same_answer(client, mark):
    deltas = []
    with client.chat.completions.stream(
        model=MODEL, messages=ask(f"count to 5 {mark}"), stream_options={"include_usage": True}
    ) as stream:
        deltas.extend(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion()
    assert "".join(deltas).split() == ONE_TO_FIVE
    message = final.choices[0].message
    assert message.role == "assistant" and message.content == "".join(deltas)
    assert final.usage.total_tokens > 0


def test_characters_of_several_bytes_arrive_whole(client, mark):
    words = f"Grüße, 世界 👩🏽‍🚀 – “x\\n\"y\" {mark}"
    chunks = client.chat.completions.create(
        model=MODEL, messages=ask(f"repeat: {words}"), stream=True
    )
    assert text_of(chunks) == words


def test_the_async_client_gets_both_kinds_of_answer(mark):
    async def both():
        async with openai.AsyncOpenAI(
            base_url=f"{BROKER}/v1", api_key=PRESENTED_KEY, timeout=30
        ) as client:
            whole = client.chat.completions.create(
                model=MODEL, messages=ask(f"count to 5 whole-{mark}")
            )
            stream = await client.chat.completions.create(
                model=MODEL, messages=ask(f"count to 5 stream-{mark}"), stream=True
            )
            chunks = [chunk async for chunk in stream]
            return (await whole).choices[0].message.content, text_of(chunks)

    whole, streamed = asyncio.run(both())
    assert whole.split() == streamed.split() == ONE_TO_FIVE


def test_many_conversations_at_once_do_not_mix(mark):
    async def one(client, number):
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=ask(f"repeat: {number}-{mark}"),
            stream=True,
            extra_body=emulator_settings(chunk_ms=2),
        )
        return text_of([chunk async for chunk in stream])

    async def all_at_once():
        async with openai.AsyncOpenAI(
            base_url=f"{BROKER}/v1", api_key=PRESENTED_KEY, timeout=60
        ) as client:
            return await asyncio.gather(*(one(client, number) for number in range(40)))

    assert asyncio.run(all_at_once()) == [f"{number}-{mark}" for number in range(40)]


def test_a_slow_first_token_is_bridged_by_keep_alives(client, mark):
    """The runner sets the keep-alive to a fraction of this delay."""
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=ask(f"count to 5 {mark}"),
            stream=True,
            extra_body=emulator_settings(first_token_ms=1500, chunk_ms=500),
        )
    )
    assert text_of(chunks).split() == ONE_TO_FIVE


# --- headers -----------------------------------------------------------------------------------


def test_replies_name_their_request_and_their_session(client, mark):
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=ask(f"count to 5 {mark}")
    )
    assert raw.headers["x-request-id"] == raw.parse()._request_id
    assert raw.headers["x-session-id"]
    assert raw.headers["x-outcrop-session"] == "new"


def test_streams_are_sent_unbuffered_and_uncached(client, mark):
    with client.chat.completions.with_streaming_response.create(
        model=MODEL, messages=ask(f"count to 5 {mark}"), stream=True
    ) as raw:
        assert raw.headers["content-type"].startswith("text/event-stream")
        assert "no-cache" in raw.headers["cache-control"]
        assert raw.headers["x-accel-buffering"] == "no"
        assert raw.headers["x-request-id"] and raw.headers["x-session-id"]
        lines = list(raw.iter_lines())
    assert [line for line in lines if line.strip()][-1] == "data: [DONE]"


# --- sessions ----------------------------------------------------------------------------------


def test_a_client_that_resends_its_transcript_continues_one_conversation(client, emulator, mark):
    first = f"My name is Ann. My reference is {mark}"
    second = "What is my name?"
    messages = ask(first)
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=messages)
    assert raw.headers["x-outcrop-session"] == "new"
    session = raw.headers["x-session-id"]

    messages.append({"role": "assistant", "content": raw.parse().choices[0].message.content})
    messages.append({"role": "user", "content": second})
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=messages)
    assert raw.headers["x-outcrop-session"] == "continued"
    assert raw.headers["x-session-id"] == session
    assert "Ann" in raw.parse().choices[0].message.content

    calls = emulator.calls_of_session_with(mark)
    assert [call["input_text"] for call in calls] == [first, second]
    assert [call["history_messages"] for call in calls] == [0, 0]


def test_a_session_named_by_header_needs_no_transcript(client, mark):
    named = {"x-session-id": f"named-{mark}"}
    for text in ("My name is Bea.", "What is my name?"):
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=ask(text), extra_headers=named
        )
        assert raw.headers["x-session-id"] == named["x-session-id"]
    assert raw.headers["x-outcrop-session"] == "continued"
    assert "Bea" in raw.parse().choices[0].message.content


def test_a_session_named_in_the_body_is_the_same_as_one_named_by_header(client, mark):
    body = {"session_id": f"body-{mark}"}
    client.chat.completions.create(model=MODEL, messages=ask("My name is Cy."), extra_body=body)
    answer = client.chat.completions.create(
        model=MODEL,
        messages=ask("What is my name?"),
        extra_headers={"x-session-id": body["session_id"]},
    )
    assert "Cy" in answer.choices[0].message.content


def test_strangers_who_say_the_same_do_not_share_a_session(client, mark):
    ids = set()
    for user in ("one", "two"):
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=ask(f"Hello {mark}"), user=user
        )
        assert raw.headers["x-outcrop-session"] == "new"
        ids.add(raw.headers["x-session-id"])
    assert len(ids) == 2


def test_a_client_that_leaves_stops_the_upstream(client, emulator, mark):
    stream = client.chat.completions.create(
        model=MODEL,
        messages=ask(f"count to 500 {mark}"),
        stream=True,
        extra_body=emulator_settings(chunk_ms=20),
    )
    assert next(chunk for chunk in stream if text_of([chunk]))
    stream.close()
    assert emulator.until_ended(mark)["ended"] == "disconnected"


# --- failures ----------------------------------------------------------------------------------


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such-model", messages=ask("Hello"))
    assert caught.value.code == "model_not_found"
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_more_than_one_choice_is_refused_by_name(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=ask("Hello"), n=2)
    assert caught.value.param == "n"


def test_an_empty_list_of_messages_is_refused_by_name(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=[])
    assert caught.value.param == "messages"


@pytest.mark.skipif(not KEY, reason="the broker is open")
@pytest.mark.parametrize("wrong", ["a-wrong-key", PRESENTED_KEY[:-1], PRESENTED_KEY + "x"])
def test_a_wrong_key_is_refused_and_not_repeated(client, wrong):
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key=wrong).models.list()
    assert caught.value.code == "invalid_api_key"
    assert wrong not in str(caught.value)


def test_a_throttled_upstream_is_a_rate_limit_that_says_when_to_come_back(unretrying, mark):
    with pytest.raises(openai.RateLimitError) as caught:
        unretrying.chat.completions.create(
            model=MODEL, messages=ask(mark), extra_body=emulator_settings(fault="throttle")
        )
    assert caught.value.code == "upstream_throttled"
    assert float(caught.value.response.headers["retry-after"]) > 0


def test_a_short_throttle_is_ridden_out(client, mark):
    answer = client.chat.completions.create(
        model=MODEL,
        messages=ask(f"count to 5 {mark}"),
        extra_body=emulator_settings(fault="throttle:1"),
    )
    assert answer.choices[0].message.content.split() == ONE_TO_FIVE


def test_the_sdk_retries_what_the_broker_gave_up(client, mark):
    """Four refusals are more than the broker's own attempts, so that the SDK has to repeat."""
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=ask(f"count to 5 {mark}"),
        extra_headers={"x-session-id": f"retry-{mark}"},
        extra_body=emulator_settings(fault="throttle:4"),
    )
    assert raw.retries_taken >= 1
    assert raw.parse().choices[0].message.content.split() == ONE_TO_FIVE


def test_an_upstream_that_refuses_our_credentials_is_our_problem(unretrying, mark):
    with pytest.raises(openai.InternalServerError) as caught:
        unretrying.chat.completions.create(
            model=MODEL, messages=ask(mark), extra_body=emulator_settings(fault="access-denied")
        )
    assert caught.value.status_code == 502 and caught.value.code == "upstream_denied"
    assert "arn:" not in str(caught.value)


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_before_the_first_token_is_a_status(unretrying, mark, stream):
    with pytest.raises(openai.APIStatusError) as caught:
        unretrying.chat.completions.create(
            model=MODEL,
            messages=ask(mark),
            stream=stream,
            extra_body=emulator_settings(fault="dependency"),
        )
    assert caught.value.status_code == 502 and caught.value.code == "upstream_dependency"


@pytest.mark.parametrize("fault", ["exception:throttlingException:2", "cut:2", "garbage:2"])
def test_a_stream_that_breaks_raises_after_the_text_that_came(client, mark, fault):
    stream = client.chat.completions.create(
        model=MODEL,
        messages=ask(f"count to 5 {mark}"),
        stream=True,
        extra_body=emulator_settings(fault=fault),
    )
    chunks = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in stream:
            chunks.append(chunk)
    assert text_of(chunks).split() == ["1", "2"]
    assert caught.value.code.startswith("upstream_")
    assert not any(chunk.choices[0].finish_reason for chunk in chunks)


# --- embeddings --------------------------------------------------------------------------------

TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-english-v3"
UPSTREAM = "openai/text-embedding-3-small"


def likeness(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("model", [TITAN, COHERE, UPSTREAM])
def test_embeddings_come_in_the_order_of_the_texts(client, model):
    texts = ["personal loans", "the weather in Oslo", "home loans"]
    # The SDK asks for base64 by itself, and turns it into numbers.
    made = client.embeddings.create(model=model, input=texts)
    assert made.object == "list" and made.model == model
    assert [item.index for item in made.data] == [0, 1, 2]
    loans, weather, homes = (item.embedding for item in made.data)
    assert all(isinstance(number, float) for number in loans)
    assert likeness(loans, homes) > likeness(loans, weather)
    assert made.usage.prompt_tokens == made.usage.total_tokens > 0
    numbers = client.embeddings.create(model=model, input=texts[0], encoding_format="float")
    assert numbers.data[0].embedding == pytest.approx(loans, abs=1e-6)


def test_embeddings_have_the_dimensions_asked_for(client):
    made = client.embeddings.create(model=TITAN, input="personal loans", dimensions=256)
    assert len(made.data[0].embedding) == 256
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=TITAN, input="personal loans", dimensions=7)
    assert refused.value.param == "dimensions"


def test_an_agent_makes_no_embeddings(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=MODEL, input="personal loans")
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "model")


def test_tokens_are_for_upstreams_that_know_them(client):
    made = client.embeddings.create(model=UPSTREAM, input=[[1, 2, 3], [4]])
    assert len(made.data) == 2
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=TITAN, input=[[1, 2, 3], [4]])
    assert refused.value.param == "input"
