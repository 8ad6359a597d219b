// Vercel's AI SDK, unmodified, against a running broker: text, streams, and the tool loop that
// tool_loop.py tells of.

import assert from "node:assert/strict";
import test from "node:test";

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

import { BROKER, MODEL, PRESENTED_KEY, callsOfSessionWith, mark } from "./environment.mjs";

const FORECAST = "light rain, 7 degrees";
const RATE = "1 EUR is 11.40 NOK";

const outcrop = createOpenAICompatible({
  name: "outcrop",
  baseURL: `${BROKER}/v1`,
  apiKey: PRESENTED_KEY,
  includeUsage: true,
});
const model = outcrop(MODEL);

/** What the user says: the emulator's phrases for two calls, a confirmation, and words. */
const question = (reference) =>
  "call: get_forecast city=Oslo days:integer=3 detailed:boolean=true;" +
  ` call: get_rate currency=NOK note=${reference};` +
  " then call: book_trip city=Oslo price:number=129.5 @confirm; then say: Have a good trip.";

/** The tools, and what they were called with. */
function tools() {
  const called = [];
  const answers = (name, result) => async (input) => {
    called.push([name, input]);
    return result;
  };
  const declared = {
    get_forecast: tool({
      description: "The weather of the next days.",
      inputSchema: z.object({ city: z.string(), days: z.number().int(), detailed: z.boolean() }),
      execute: answers("get_forecast", FORECAST),
    }),
    get_rate: tool({
      description: "What a euro costs.",
      inputSchema: z.object({ currency: z.string(), note: z.string().optional() }),
      execute: answers("get_rate", RATE),
    }),
    book_trip: tool({
      description: "Books a trip, once the user has agreed to it.",
      inputSchema: z.object({ city: z.string(), price: z.number() }),
      execute: answers("book_trip", { confirmationState: "CONFIRM" }),
    }),
  };
  return { called, declared };
}

function checkCalls(called, reference) {
  assert.deepEqual(called, [
    ["get_forecast", { city: "Oslo", days: 3, detailed: true }],
    ["get_rate", { currency: "NOK", note: reference }],
    ["book_trip", { city: "Oslo", price: 129.5 }],
  ]);
}

async function checkAnswer(text, reference) {
  for (const told of [FORECAST, RATE, "confirmed", "Have a good trip."]) {
    assert.ok(text.includes(told), `${told} is not in ${text}`);
  }
  const calls = await callsOfSessionWith(reference);
  assert.deepEqual(
    calls.map((call) => [call.results, call.history_messages]),
    [
      [0, 0],
      [2, 0],
      [1, 0],
    ],
  );
}

test("generateText gets the answer and its usage", async () => {
  const answer = await generateText({ model, prompt: `count to 5 ${mark()}` });
  assert.deepEqual(answer.text.split(/\s+/).filter(Boolean), ["1", "2", "3", "4", "5"]);
  assert.equal(answer.finishReason, "stop");
  assert.ok(answer.usage.totalTokens > 0);
});

test("streamText gets it piece by piece", async () => {
  const answer = streamText({ model, prompt: `count to 5 ${mark()}` });
  const pieces = [];
  for await (const piece of answer.textStream) pieces.push(piece);
  assert.deepEqual(pieces.join("").split(/\s+/).filter(Boolean), ["1", "2", "3", "4", "5"]);
  assert.equal(pieces.length, 5);
  assert.equal(await answer.finishReason, "stop");
  assert.ok((await answer.usage).totalTokens > 0);
});

test("generateText runs tools until the agent has its answer", async () => {
  const reference = mark();
  const { called, declared } = tools();
  const answer = await generateText({
    model,
    tools: declared,
    stopWhen: stepCountIs(5),
    prompt: question(reference),
  });
  checkCalls(called, reference);
  assert.deepEqual(
    answer.steps.map((step) => step.finishReason),
    ["tool-calls", "tool-calls", "stop"],
  );
  await checkAnswer(answer.text, reference);
});

test("streamText runs them as well", async () => {
  const reference = mark();
  const { called, declared } = tools();
  const answer = streamText({
    model,
    tools: declared,
    stopWhen: stepCountIs(5),
    prompt: question(reference),
  });
  let text = "";
  for await (const piece of answer.textStream) text += piece;
  checkCalls(called, reference);
  assert.deepEqual(
    (await answer.steps).map((step) => step.finishReason),
    ["tool-calls", "tool-calls", "stop"],
  );
  await checkAnswer(text, reference);
});
