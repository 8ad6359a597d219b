"""LangChain's OpenAI integration, unmodified, against a running broker: agents, and models."""

import asyncio

import pytest
import tool_loop
from conftest import BROKER, MODEL, PICTURE, PRESENTED_KEY, each_model
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


def chat_with(model, **more):
    return ChatOpenAI(
        model=model,
        base_url=f"{BROKER}/v1",
        api_key=PRESENTED_KEY,
        timeout=30,
        stream_usage=True,
        **more,
    )


@pytest.fixture
def chat():
    return chat_with(MODEL)


def test_invoke_gets_the_answer_and_its_usage(chat, mark):
    answer = chat.invoke(f"count to 5 {mark}")
    assert answer.content.split() == ["1", "2", "3", "4", "5"]
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata["total_tokens"] > 0


def test_stream_gets_it_piece_by_piece(chat, mark):
    pieces = list(chat.stream(f"count to 5 {mark}"))
    assert sum(1 for piece in pieces if piece.content) == 5
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert whole.content.split() == ["1", "2", "3", "4", "5"]
    assert whole.usage_metadata["total_tokens"] > 0


def test_astream_works_as_well(chat, mark):
    async def words():
        return "".join([piece.content async for piece in chat.astream(f"count to 5 {mark}")])

    assert asyncio.run(words()).split() == ["1", "2", "3", "4", "5"]


def test_a_history_kept_by_the_client_stays_one_conversation(chat, emulator, mark):
    history = [HumanMessage(f"My name is Eva. {mark}")]
    history.append(AIMessage(chat.invoke(history).content))
    history.append(HumanMessage("What is my name?"))
    assert "Eva" in chat.invoke(history).content
    assert len(emulator.calls_of_session_with(mark)) == 2


# --- tools -------------------------------------------------------------------------------------


@tool
def get_forecast(city: str, days: int, detailed: bool) -> str:
    """The weather of the next days."""
    return tool_loop.RESULTS["get_forecast"]


@tool
def get_rate(currency: str, note: str = "") -> str:
    """What a euro costs."""
    return tool_loop.RESULTS["get_rate"]


@tool
def book_trip(city: str, price: float) -> str:
    """Books a trip, once the user has agreed to it."""
    return tool_loop.RESULTS["book_trip"]


TOOLS = {tool.name: tool for tool in (get_forecast, get_rate, book_trip)}


def invoked(chat, messages):
    return chat.invoke(messages)


def gathered(chat, messages):
    first, *rest = chat.stream(messages)
    for piece in rest:
        first += piece
    return first


@pytest.mark.parametrize("ask", [invoked, gathered])
def test_bound_tools_are_called_until_the_agent_has_its_answer(chat, ask, emulator, mark):
    bound = chat.bind_tools(list(TOOLS.values()))
    messages = [HumanMessage(tool_loop.question(mark))]
    rounds = []
    for _ in range(5):
        answer = ask(bound, messages)
        messages.append(answer)
        if not answer.tool_calls:
            break
        assert answer.response_metadata["finish_reason"] == "tool_calls"
        rounds.append([call["name"] for call in answer.tool_calls])
        for call in answer.tool_calls:
            tool_loop.check_arguments(call["name"], call["args"], mark)
            messages.append(TOOLS[call["name"]].invoke(call))
    assert rounds == [["get_forecast", "get_rate"], ["book_trip"]]
    assert isinstance(messages[-2], ToolMessage)
    tool_loop.check_answer(answer.content)
    tool_loop.check_upstream(emulator, mark)


# --- models ------------------------------------------------------------------------------------


class Night(BaseModel):
    city: str
    count: int


class Trip(BaseModel):
    """Where to go."""

    title: str
    nights: list[Night]


@each_model
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_a_structured_answer_fits_its_class(model, method, mark):
    shaped = chat_with(model).with_structured_output(Trip, method=method, include_raw=True)
    answer = shaped.invoke(f"Plan-{mark} 5 days")
    assert answer["parsing_error"] is None
    assert answer["parsed"].title == f"Plan-{mark}"
    assert [night.count for night in answer["parsed"].nights] == [5, 5]


@each_model
def test_a_structured_answer_in_json_mode_is_a_json_object(model, mark):
    shaped = chat_with(model).with_structured_output(method="json_mode")
    assert shaped.invoke(f"Answer in JSON: what are loans? {mark}")["answer"]


@each_model
@pytest.mark.parametrize("ask", [invoked, gathered])
def test_a_model_calls_bound_tools_and_uses_their_results(model, ask, emulator, mark):
    bound = chat_with(model).bind_tools([get_forecast, get_rate])
    words = (
        "say: Let me look.; call: get_forecast city=Oslo days=3 detailed=true;"
        f" call: get_rate currency=NOK note={mark}; then say: Have a good trip."
    )
    messages = [SystemMessage("Be brief."), HumanMessage(words)]
    answer = ask(bound, messages)
    assert answer.content == "Let me look."
    assert [call["name"] for call in answer.tool_calls] == ["get_forecast", "get_rate"]
    messages.append(answer)
    for call in answer.tool_calls:
        tool_loop.check_arguments(call["name"], call["args"], mark)
        messages.append(TOOLS[call["name"]].invoke(call))
    answer = ask(bound, messages)
    for told in [tool_loop.FORECAST, tool_loop.RATE, "Have a good trip."]:
        assert answer.content.count(told) == 1
    assert not answer.tool_calls and answer.usage_metadata["output_tokens"] > 0
    assert len(emulator.model_calls(mark)) == 2


@each_model
def test_a_picture_is_looked_at_and_an_answer_is_streamed(model, mark):
    picture = {"type": "image_url", "image_url": {"url": PICTURE}}
    message = HumanMessage([{"type": "text", "text": f"Look {mark}"}, picture])
    pieces = list(chat_with(model).stream([message]))
    assert "I see image (png, 68 bytes, 1x1)" in "".join(piece.content for piece in pieces)
    assert sum(1 for piece in pieces if piece.content) > 1
