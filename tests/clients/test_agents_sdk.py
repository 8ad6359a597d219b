"""OpenAI's Agents SDK for Python, which speaks Responses, against a running broker."""

import asyncio

import openai
import pytest
from agents import (
    Agent,
    OpenAIConversationsSession,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from conftest import BROKER, CLAUDE, MODEL, PRESENTED_KEY
from responses_schema import check_response

# Traces go to OpenAI.
set_tracing_disabled(True)


def in_a_client(work):
    """Runs an asynchronous test with a client of its own."""

    async def run():
        async with openai.AsyncOpenAI(
            base_url=f"{BROKER}/v1", api_key=PRESENTED_KEY, timeout=30
        ) as client:
            return await work(client)

    return asyncio.run(run())


def agent(client, model=MODEL, **settings):
    spoken = OpenAIResponsesModel(model=model, openai_client=client)
    return Agent(name="banker", instructions="You are a banker.", model=spoken, **settings)


def tool_with(heard):
    @function_tool
    def get_weather(city: str) -> str:
        """The weather in a city."""
        heard.append(city)
        return f"rain in {city}"

    return get_weather


def test_turns_go_on_by_the_last_response(emulator, mark):
    async def work(client):
        banker = agent(client)
        first = await Runner.run(banker, f"My name is Ann. {mark}")
        second = await Runner.run(
            banker, "What is my name?", previous_response_id=first.last_response_id
        )
        third = await Runner.run(
            banker, "what was my last message?", previous_response_id=second.last_response_id
        )
        check_response(await client.responses.retrieve(third.last_response_id))
        return second.final_output, third.final_output

    name, message = in_a_client(work)
    assert "Ann" in name and "What is my name?" in message
    assert len(emulator.calls_of_session_with(mark)) == 3


@pytest.mark.parametrize("model", [MODEL, CLAUDE])
def test_tools_run_until_the_answer_is_there(mark, model):
    heard = []

    async def work(client):
        script = (
            "call: get_weather city=Oslo; call: get_weather city=Bergen; "
            f'then call: get_weather city=Rome; then say: "Done, {mark}."'
        )
        banker = agent(client, model, tools=[tool_with(heard)])
        resent = await Runner.run(banker, script)
        chained = await Runner.run(banker, script, auto_previous_response_id=True)
        streamed = Runner.run_streamed(banker, script)
        kinds = [event.type async for event in streamed.stream_events()]
        assert "raw_response_event" in kinds and "run_item_stream_event" in kinds
        return [resent.final_output, chained.final_output, streamed.final_output]

    for answer in in_a_client(work):
        assert f"Done, {mark}." in answer
    assert sorted(heard) == ["Bergen"] * 3 + ["Oslo"] * 3 + ["Rome"] * 3


def test_a_conversation_by_its_id_is_kept_by_the_broker(emulator, mark):
    async def work(client):
        heard = []
        banker = agent(client, tools=[tool_with(heard)])
        conversation = await client.conversations.create()
        asked = [f"My name is Ann. {mark}", "call: get_weather city=Oslo; then say: Done."]
        for text in [*asked, "What is my name?"]:
            told = await Runner.run(banker, text, conversation_id=conversation.id)
        assert heard == ["Oslo"] and "Ann" in told.final_output
        listed = client.conversations.items.list(conversation.id, order="asc", limit=3)
        return [item.type async for item in listed]

    kinds = in_a_client(work)
    assert kinds.count("message") == 6
    assert kinds.count("function_call") == kinds.count("function_call_output") == 1
    assert len(emulator.calls_of_session_with(mark)) == 4


@pytest.mark.parametrize("model", [MODEL, CLAUDE])
def test_a_session_of_the_sdk_is_kept_as_a_conversation(mark, model):
    async def work(client):
        heard = []
        banker = agent(client, model, tools=[tool_with(heard)])
        session = OpenAIConversationsSession(openai_client=client)
        asked = [f"my name is Ann, {mark}", "call: get_weather city=Oslo; then say: Done."]
        for text in [*asked, "what is my name?"]:
            told = await Runner.run(banker, text, session=session)
        assert heard == ["Oslo"]
        kept = await session.get_items()
        popped = await session.pop_item()
        left = await session.get_items()
        await session.clear_session()
        return told.final_output, kept, popped, left

    answer, kept, popped, left = in_a_client(work)
    assert "Ann" in answer
    assert [item["type"] for item in kept].count("message") >= 6
    assert popped["content"][0]["text"] == answer and len(left) == len(kept) - 1
