"""Pipecat and LiveKit Agents hold conversations in which somebody is interrupted.

Both are frameworks that run in a worker of their users' own and speak OpenAI's chat. No audio is
made: what a caller would have heard is what was taken from the stream before the interruption.
"""

import asyncio
import json
import os
import urllib.request

from conftest import BROKER, PRESENTED_KEY
from livekit.agents import llm as livekit
from livekit.plugins import openai as livekit_openai
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.workers.runner import WorkerRunner

# A model of the voice profile, with this filler.
MODEL = os.environ.get("OUTCROP_VOICE_MODEL", "hotline")
FILLER = "One moment, please."
# How the emulator answers: late enough for the filler, and slowly enough to be interrupted.
PACE = {
    "outcrop-emulator-first-token-ms": "700",
    "outcrop-emulator-chunk-ms": "20",
}
PATIENCE = 20


def body(pace=None):
    return {"outcrop": {"prompt_session_attributes": pace or {}}}


def session(name):
    """What the broker holds of a conversation, as pairs of role and text."""
    headers = {"authorization": f"Bearer {PRESENTED_KEY}"}
    request = urllib.request.Request(f"{BROKER}/v1/sessions/{name}", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as reply:
        held = json.load(reply)
    return [(message["role"], message["content"], message["status"]) for message in held["messages"]]


def expect_only_what_was_spoken(name, spoken, last):
    """Of the interrupted answer the session holds what was spoken, and of the filler nothing."""
    held = session(name)
    assert held[1][0] == "assistant" and held[1][2] == "interrupted"
    assert held[1][1].split() == spoken.removeprefix(FILLER).split()
    assert held[-1][1] == last
    assert not any(FILLER in text for _, text, _ in held)
    assert [role for role, _, _ in held] == ["user", "assistant"] * (len(held) // 2)


async def livekit_conversation(name, mark):
    model = livekit_openai.LLM(
        model=MODEL,
        base_url=f"{BROKER}/v1",
        api_key=PRESENTED_KEY,
        extra_headers={"x-session-id": name},
    )
    history = livekit.ChatContext.empty()
    history.add_message(role="system", content="Be brief.")

    async def say(text, words=None, pace=None):
        """Says something and listens to so many words of the answer, or to all of it."""
        history.add_message(role="user", content=text)
        heard = ""
        stream = model.chat(chat_ctx=history, extra_kwargs={"extra_body": body(pace)})
        async with stream:
            async for chunk in stream:
                heard += (chunk.delta.content or "") if chunk.delta else ""
                if words and len(heard.split()) >= words:
                    break
        history.add_message(role="assistant", content=heard.strip(), interrupted=bool(words))
        return heard.strip()

    spoken = await say(f"count to 400 {mark}", words=9, pace=PACE)
    name_told = await say("my name is Ann")
    answer = await say("what is my name?")
    await model.aclose()
    return spoken, name_told, answer


def test_livekit_is_interrupted_and_goes_on(emulator, mark):
    name = f"livekit-{mark}"
    conversation = livekit_conversation(name, mark)
    spoken, _, answer = asyncio.run(asyncio.wait_for(conversation, PATIENCE))
    assert spoken.startswith(FILLER), "the agent was slow to begin"
    assert answer == "Your name is Ann."
    expect_only_what_was_spoken(name, spoken, answer)
    assert emulator.until_ended(mark)["ended"] == "disconnected", "the agent was stopped"


class Ear(FrameProcessor):
    """Hears what the service says, and tells when it was enough."""

    def __init__(self):
        super().__init__()
        self.heard = ""
        self.words = None
        self.enough = asyncio.Event()

    def listen(self, words=None):
        self.heard, self.words = "", words
        self.enough.clear()

    async def process_frame(self, frame: Frame, direction: FrameDirection):
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMTextFrame):
            self.heard += frame.text
            if self.words and len(self.heard.split()) >= self.words:
                self.enough.set()
        if isinstance(frame, LLMFullResponseEndFrame):
            self.enough.set()
        await self.push_frame(frame, direction)


async def pipecat_conversation(name, mark):
    service = OpenAILLMService(
        api_key=PRESENTED_KEY,
        base_url=f"{BROKER}/v1",
        default_headers={"x-session-id": name},
        settings=OpenAILLMService.Settings(model=MODEL, system_instruction="Be brief."),
    )
    context = LLMContext()
    aggregators = LLMContextAggregatorPair(context)
    ear = Ear()
    worker = PipelineWorker(Pipeline([service, ear, aggregators.assistant()]))
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())

    def last_role():
        return context.get_messages()[-1]["role"]

    async def say(text, words=None, pace=None):
        context.add_message({"role": "user", "content": text})
        service._settings.extra = {"extra_body": body(pace)}
        ear.listen(words)
        await worker.queue_frame(LLMContextFrame(context))
        await ear.enough.wait()
        if words:
            await worker.queue_frame(InterruptionFrame())
        while last_role() != "assistant":
            await asyncio.sleep(0.01)
        return context.get_messages()[-1]["content"].strip()

    spoken = await say(f"count to 400 {mark}", words=9, pace=PACE)
    name_told = await say("my name is Ann")
    answer = await say("what is my name?")
    await worker.queue_frame(EndFrame())
    await running
    return spoken, name_told, answer


def test_pipecat_is_interrupted_and_goes_on(emulator, mark):
    name = f"pipecat-{mark}"
    conversation = pipecat_conversation(name, mark)
    spoken, _, answer = asyncio.run(asyncio.wait_for(conversation, PATIENCE))
    assert spoken.startswith(FILLER), "the agent was slow to begin"
    assert answer == "Your name is Ann."
    expect_only_what_was_spoken(name, spoken, answer)
    assert emulator.until_ended(mark)["ended"] == "disconnected", "the agent was stopped"
