"""LangChain's OpenAI integration, unmodified, against a running broker."""

import asyncio

import pytest
from conftest import BROKER, MODEL, PRESENTED_KEY
from langchain_core.messages import AIMessage, HumanMessage
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
