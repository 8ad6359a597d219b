"""LangChain's OpenAI integration, unmodified, against a running broker."""

import asyncio

import pytest
import tool_loop
from conftest import BROKER, MODEL, PRESENTED_KEY
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@pytest.fixture
def chat():
    return ChatOpenAI(
        model=MODEL, base_url=f"{BROKER}/v1", api_key=PRESENTED_KEY, timeout=30, stream_usage=True
    )


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
