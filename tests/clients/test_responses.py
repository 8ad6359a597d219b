"""OpenAI's Responses and Conversations by the official Python SDK, unmodified."""

import asyncio
import json

import openai
import pytest
from conftest import (
    BROKER,
    CLAUDE,
    GPT,
    MODEL,
    PRESENTED_KEY,
    each_model,
    emulator_settings,
)
from pydantic import BaseModel
from responses_schema import (
    EVENTS,
    check_conversation,
    check_events,
    check_item,
    check_page,
    check_response,
)

ONE_TO_FIVE = ["1", "2", "3", "4", "5"]
GET_WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


@pytest.fixture
def client():
    with openai.OpenAI(base_url=f"{BROKER}/v1", api_key=PRESENTED_KEY, timeout=30) as client:
        yield client


def text_of(events):
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


# --- answers -----------------------------------------------------------------------------------


def test_a_response_has_every_member_that_the_schema_wants(client, mark):
    made = client.responses.create(
        model=MODEL,
        input=f"count to 5 {mark}",
        instructions="be brief",
        metadata={"order": "7"},
    )
    check_response(made)
    assert made.status == "completed" and made.model == MODEL
    assert made.output_text.split() == ONE_TO_FIVE
    assert made.instructions == "be brief" and made.metadata == {"order": "7"}
    assert made._request_id
    kept = check_response(client.responses.retrieve(made.id))
    assert kept.output == made.output and kept.usage == made.usage


def test_a_stream_keeps_the_order_and_gathers_to_what_is_kept(client, mark):
    stream = client.responses.create(model=MODEL, input=f"count to 5 {mark}", stream=True)
    events = check_events(list(stream))
    assert text_of(events).split() == ONE_TO_FIVE
    kept = client.responses.retrieve(events[-1].response.id)
    assert kept.output_text == text_of(events)


@pytest.mark.parametrize("model", [MODEL, CLAUDE])
def test_the_stream_helper_gathers_the_same_answer(client, mark, model):
    with client.responses.stream(model=model, input=f"repeat: {mark}") as stream:
        text = text_of(stream)
        final = check_response(stream.get_final_response())
    assert final.output_text == text and final.status == "completed"


class Loan(BaseModel):
    product: str
    years: int


@each_model
def test_answers_are_parsed_into_a_type(client, mark, model):
    parsed = client.responses.parse(
        model=model, input=f"Which loan fits me? {mark}", text_format=Loan
    )
    assert isinstance(parsed.output_parsed, Loan)
    check_response(client.responses.retrieve(parsed.id))


def test_failures_are_the_sdks_own_errors(client, mark):
    unretrying = client.with_options(max_retries=0)
    with pytest.raises(openai.InternalServerError) as caught:
        unretrying.responses.create(
            model=MODEL, input=mark, extra_body=emulator_settings(fault="dependency")
        )
    assert caught.value.code == "upstream_dependency"
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODEL, input=mark, tools=[{"type": "web_search"}])
    assert caught.value.param == "tools[0].type"
    stream = client.responses.create(
        model=MODEL,
        input=f"count to 5 {mark}",
        stream=True,
        extra_body=emulator_settings(fault="cut:2"),
    )
    events = list(stream)
    assert events[-1].type == "response.failed"
    failed = client.responses.retrieve(events[-1].response.id)
    assert failed.status == "failed" and failed.error.code == "server_error"


# --- every event -------------------------------------------------------------------------------

NOTE = {"type": "custom", "name": "note"}
LOGPROBS = "message.output_text.logprobs"
THINKS = {"model": CLAUDE, "input": "think: Hm.; say: Yes.", "reasoning": {"effort": "low"}}
SEALED = {"reasoning": {"effort": "low", "summary": "auto"}}
EVERY_KIND = [
    {"input": "count to 3"},
    {"input": "count to 3", "background": True},
    {"input": "say: Good news.; cite: all Boats: no fees."},
    {"input": "count to 5", "extra_body": emulator_settings(fault="cut:2")},
    {"input": "call: forecast city=Oslo; call: flights to=Oslo"},
    THINKS,
    {**THINKS, **SEALED, "include": ["reasoning.encrypted_content"]},
    {"model": CLAUDE, "input": "call: note input=hello", "tools": [NOTE]},
    {"model": GPT, "input": "count to 50", "max_output_tokens": 16},
    {"model": GPT, "input": "say: well; stop: content_filtered"},
    {"model": GPT, "input": "count to 3", "include": [LOGPROBS], "top_logprobs": 2},
]


def test_every_kind_of_event_is_sent_and_holds_to_the_schema(client):
    sent, items = set(), set()
    for members in EVERY_KIND:
        events = list(client.responses.create(**{"model": MODEL, **members}, stream=True))
        check_events(events)
        sent.update(event.type for event in events)
        kept = check_response(client.responses.retrieve(events[0].response.id))
        items.update(item.type for item in kept.output)
        assert kept.output == events[-1].response.output
        again = list(client.responses.retrieve(kept.id, stream=True))
        assert again == events
    assert sent == set(EVENTS), "the table has every event that is sent, and no other"
    assert items == {"message", "function_call", "custom_tool_call", "reasoning"}


def test_what_is_in_no_table_fails_the_check(client):
    events = [event.to_dict(mode="json") for event in client.responses.create(
        model=MODEL, input="count to 3", stream=True
    )]
    check_events(events)
    delta = next(event for event in events if event["type"] == "response.output_text.delta")
    spoiled = [
        {**delta, "type": "response.output_text.spoken"},
        {**delta, "delta": 5},
        {**delta, "logprobs": [{"token": "x"}]},
        {name: value for name, value in delta.items() if name != "item_id"},
    ]
    for event in spoiled:
        at = event["sequence_number"]
        with pytest.raises(AssertionError):
            check_events([*events[:at], event, *events[at + 1 :]])
    message = events[-1]["response"]["output"][0]
    for item in [{**message, "type": "sermon"}, {**message, "content": [{"type": "song"}]}]:
        with pytest.raises(AssertionError):
            check_item(item)


def test_what_is_to_be_included_is_asked_for_as_the_sdk_writes_lists(client):
    made = client.responses.create(**THINKS)
    assert made.output[0].type == "reasoning" and made.output[0].encrypted_content is None
    include = ["reasoning.encrypted_content"]
    assert client.responses.retrieve(made.id, include=include).output[0].encrypted_content
    *_, last = client.responses.retrieve(made.id, include=include, stream=True)
    assert last.response.output[0].encrypted_content
    check_page(client.responses.input_items.list(made.id, include=include))
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.retrieve(made.id, include=["everything"])
    assert caught.value.param == "include"
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODEL, input="hello", include=[LOGPROBS])
    assert caught.value.param == "include"


# --- going on ----------------------------------------------------------------------------------


def test_a_chain_sends_only_what_is_new_upstream(client, emulator, mark):
    first = client.responses.create(model=MODEL, input=f"My name is Ann. {mark}")
    second = client.responses.create(
        model=MODEL, input="What is my name?", previous_response_id=first.id
    )
    check_response(second)
    assert "Ann" in second.output_text and second.previous_response_id == first.id
    calls = emulator.calls_of_session_with(mark)
    assert [call["input_text"] for call in calls] == [f"My name is Ann. {mark}", "What is my name?"]
    assert [call["history_messages"] for call in calls] == [0, 0]


def test_an_unknown_response_is_a_bad_request_to_go_on_from_and_not_found_else(client):
    nobodys = "resp_" + "0" * 32
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODEL, input="hello", previous_response_id=nobodys)
    assert caught.value.code == "previous_response_not_found"
    assert caught.value.param == "previous_response_id"
    for call in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError) as caught:
            call(nobodys)
        assert caught.value.code == "response_not_found"


def test_what_is_not_stored_cannot_be_retrieved(client, mark):
    made = client.responses.create(model=MODEL, input=f"count to 5 {mark}", store=False)
    assert check_response(made).store is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


@each_model
def test_a_client_that_keeps_its_state_itself_sends_output_back_as_it_came(client, mark, model):
    items = [{"role": "user", "content": f"my name is Ann, {mark}"}]
    first = client.responses.create(model=model, input=items, store=False)
    items += first.output
    items.append({"role": "user", "content": "what is my name?"})
    second = client.responses.create(model=model, input=items, store=False)
    assert second.output_text == "Your name is Ann."


# --- functions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [MODEL, CLAUDE])
@pytest.mark.parametrize("stream", [False, True])
def test_functions_are_called_and_their_outputs_sent(client, mark, model, stream):
    script = f'say: Let me look.; call: get_weather city=Oslo; then say: "Done, {mark}."'
    asked = client.responses.create(model=model, input=script, tools=[GET_WEATHER], stream=stream)
    if stream:
        asked = check_events(list(asked))[-1].response
    check_response(asked)
    (call,) = [item for item in asked.output if item.type == "function_call"]
    assert call.name == "get_weather" and json.loads(call.arguments) == {"city": "Oslo"}
    assert call.id != call.call_id
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(
            model=model, input="hello?", previous_response_id=asked.id, tools=[GET_WEATHER]
        )
    assert call.call_id in str(caught.value)
    done = client.responses.create(
        model=model, input=[output], previous_response_id=asked.id, tools=[GET_WEATHER]
    )
    assert f"Done, {mark}." in check_response(done).output_text
    page = check_page(client.responses.input_items.list(done.id))
    kinds = ["function_call_output", "function_call", "message", "message"]
    assert [item.type for item in page] == kinds
    assert page.data[0].output == "rain" and page.data[1].call_id == call.call_id


# --- in the background -------------------------------------------------------------------------


def test_a_background_response_is_polled_until_it_is_complete(client, mark):
    begun = client.responses.create(
        model=MODEL,
        input=f"count to 5 {mark}",
        background=True,
        extra_body=emulator_settings(first_token_ms=300),
    )
    assert check_response(begun).status in {"queued", "in_progress"}
    deadline = 200
    while (held := client.responses.retrieve(begun.id)).status in {"queued", "in_progress"}:
        check_response(held)
        deadline -= 1
        assert deadline, "it never ended"
    assert check_response(held).output_text.split() == ONE_TO_FIVE


def test_a_background_response_is_cancelled_upstream_too(client, emulator, mark):
    begun = client.responses.create(
        model=MODEL,
        input=f"count to 500 {mark}",
        background=True,
        extra_body=emulator_settings(chunk_ms=20),
    )
    cancelled = check_response(client.responses.cancel(begun.id))
    assert cancelled.status == "cancelled"
    assert client.responses.cancel(begun.id).status == "cancelled"
    assert client.responses.retrieve(begun.id).output == cancelled.output
    finished = client.responses.create(model=MODEL, input=f"hello {mark}")
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(finished.id)
    assert all(call["ended"] for call in emulator.calls(mark))


def test_a_background_response_survives_five_broken_connections(mark):
    async def assemble():
        async with openai.AsyncOpenAI(
            base_url=f"{BROKER}/v1", api_key=PRESENTED_KEY, timeout=30
        ) as client:
            stream = await client.responses.create(
                model=MODEL,
                input=f"count to 120 {mark}",
                background=True,
                stream=True,
                extra_body=emulator_settings(chunk_ms=5),
            )
            events = []
            for connection in range(6):
                deltas = 0
                async for event in stream:
                    events.append(event)
                    deltas += event.type == "response.output_text.delta"
                    if connection < 5 and deltas == 10:
                        break
                await stream.close()
                if connection < 5:
                    stream = await client.responses.retrieve(
                        events[0].response.id,
                        stream=True,
                        starting_after=events[-1].sequence_number,
                    )
            return events, await client.responses.retrieve(events[0].response.id)

    events, kept = asyncio.run(assemble())
    check_events(events)
    assert text_of(events) == kept.output_text
    assert kept.output_text.split() == [str(number) for number in range(1, 121)]


# --- what is kept ------------------------------------------------------------------------------


def test_input_items_come_page_by_page(client, mark):
    items = [{"role": "user", "content": f"part {number} {mark}"} for number in range(5)]
    made = client.responses.create(model=MODEL, input=items)
    page = check_page(client.responses.input_items.list(made.id, limit=2, order="asc"))
    assert len(page.data) == 2 and page.has_more
    # The SDK fetches the pages that follow by itself.
    texts = [item.content[0].text for item in page]
    assert texts == [f"part {number} {mark}" for number in range(5)]
    newest = client.responses.input_items.list(made.id, limit=1).data[0]
    assert newest.content[0].text == f"part 4 {mark}"


def test_a_deleted_response_is_gone(client, mark):
    made = client.responses.create(model=MODEL, input=f"hello {mark}")
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_input_tokens_are_counted(client):
    counted = client.responses.input_tokens.count(model=MODEL, input="one two three")
    assert counted.object == "response.input_tokens" and counted.input_tokens >= 3


def test_a_repeated_request_is_run_once(client, emulator, mark):
    def ask():
        return client.responses.with_raw_response.create(
            model=MODEL, input=f"count to 5 {mark}", extra_headers={"idempotency-key": mark}
        )

    first, second = ask(), ask()
    assert first.parse().id == second.parse().id
    assert second.headers["idempotent-replayed"] == "true"
    assert len(emulator.calls(mark)) == 1


# --- conversations -----------------------------------------------------------------------------


def test_a_conversation_is_a_resource(client, mark):
    made = check_conversation(client.conversations.create(metadata={"topic": mark}))
    assert client.conversations.retrieve(made.id) == made
    changed = client.conversations.update(made.id, metadata={"topic": "cars"})
    assert check_conversation(changed).metadata == {"topic": "cars"}
    deleted = client.conversations.delete(made.id)
    assert deleted.deleted and deleted.object == "conversation.deleted"
    with pytest.raises(openai.NotFoundError) as caught:
        client.conversations.retrieve(made.id)
    assert caught.value.code == "conversation_not_found"


def test_items_of_a_conversation_are_put_in_listed_and_taken_out(client, mark):
    made = client.conversations.create(
        items=[{"type": "message", "role": "user", "content": f"My name is Ann. {mark}"}]
    )
    added = check_page(
        client.conversations.items.create(
            made.id, items=[{"type": "message", "role": "user", "content": "I like boats."}]
        )
    )
    item = client.conversations.items.retrieve(added.data[0].id, conversation_id=made.id)
    assert check_item(item.to_dict(mode="json")) and item.content[0].text == "I like boats."
    answer = client.responses.create(model=MODEL, input="What is my name?", conversation=made.id)
    assert "Ann" in check_response(answer).output_text and answer.conversation.id == made.id
    page = check_page(client.conversations.items.list(made.id, limit=2, order="asc"))
    texts = [item.content[0].text for item in page]
    assert texts[0].startswith("My name is Ann.") and texts[-1] == answer.output_text
    assert len(texts) == 4
    client.conversations.items.delete(item.id, conversation_id=made.id)
    texts = [item.content[0].text for item in client.conversations.items.list(made.id)]
    assert len(texts) == 3 and "I like boats." not in texts


def test_an_empty_conversation_has_an_empty_page(client):
    made = client.conversations.create()
    page = check_page(client.conversations.items.list(made.id))
    assert page.data == [] and not page.has_more
