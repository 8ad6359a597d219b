// Vercel's AI SDK, unmodified, against a running broker: text, streams, and the tool loop that
// tool_loop.py tells of, with an agent; objects, tools and thoughts with models.

import assert from "node:assert/strict";
import test from "node:test";

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import {
  Output,
  generateObject,
  generateText,
  stepCountIs,
  streamObject,
  streamText,
  tool,
} from "ai";
import { z } from "zod";

import {
  BROKER,
  MODEL,
  MODELS,
  PRESENTED_KEY,
  callsOfSessionWith,
  mark,
  modelCallsWith,
} from "./environment.mjs";

const FORECAST = "light rain, 7 degrees";
const RATE = "1 EUR is 11.40 NOK";

const outcrop = createOpenAICompatible({
  name: "outcrop",
  baseURL: `${BROKER}/v1`,
  apiKey: PRESENTED_KEY,
  includeUsage: true,
  supportsStructuredOutputs: true,
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

// --- models ------------------------------------------------------------------------------------

const Trip = z.object({
  title: z.string(),
  nights: z.array(z.object({ city: z.string(), count: z.number().int() })),
});

function checkTrip(trip, reference) {
  assert.equal(trip.title, `Plan-${reference}`);
  assert.deepEqual(
    trip.nights.map((night) => night.count),
    [5, 5],
  );
}

/** Tools for models, and what they were called with. */
function cityTools() {
  const called = [];
  const telling = (name, told) =>
    tool({
      description: `Tells the ${name} of a city.`,
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => {
        called.push([name, city]);
        return told;
      },
    });
  const declared = { get_weather: telling("weather", "rain"), get_time: telling("time", "noon") };
  return { called, declared };
}

for (const name of MODELS) {
  const model = outcrop(name);

  test(`generateObject and streamObject with ${name}`, async () => {
    const reference = mark();
    const request = { model, schema: Trip, prompt: `Plan-${reference} 5 days` };
    const whole = await generateObject(request);
    checkTrip(whole.object, reference);
    assert.equal(whole.finishReason, "stop");
    const streamed = streamObject(request);
    let pieces = 0;
    for await (const _ of streamed.partialObjectStream) pieces += 1;
    assert.ok(pieces > 1);
    checkTrip(await streamed.object, reference);
  });

  test(`an object of no particular shape with ${name}`, async () => {
    const prompt = `Answer in JSON: what are loans? ${mark()}`;
    const { object } = await generateObject({ model, output: "no-schema", prompt });
    assert.ok(object.answer);
  });

  test(`streamText takes steps with ${name}`, async () => {
    const reference = mark();
    const { called, declared } = cityTools();
    const answer = streamText({
      model,
      tools: declared,
      stopWhen: stepCountIs(5),
      prompt:
        `say: Let me look.; call: get_weather city=Oslo; call: get_time city=${reference};` +
        " then call: get_time city=Rome; then say: Have a good trip.",
    });
    const parts = [];
    for await (const part of answer.fullStream) parts.push(part.type);
    assert.equal(parts.filter((type) => type === "tool-call").length, 3);
    assert.ok(!parts.includes("error"));
    assert.deepEqual(called, [
      ["weather", "Oslo"],
      ["time", reference],
      ["time", "Rome"],
    ]);
    const steps = await answer.steps;
    assert.deepEqual(
      steps.map((step) => step.finishReason),
      ["tool-calls", "tool-calls", "stop"],
    );
    assert.equal(steps[0].text, "Let me look.");
    assert.match(await answer.text, /get_time says: noon.*Have a good trip\./);
    assert.equal((await modelCallsWith(reference)).length, 3);
    assert.ok((await answer.totalUsage).outputTokens > 0);
  });

  test(`tools come before an object with ${name}`, async () => {
    const reference = mark();
    const { called, declared } = cityTools();
    const answer = await generateText({
      model,
      tools: declared,
      stopWhen: stepCountIs(5),
      output: Output.object({ schema: Trip }),
      prompt: `call: get_time city=${reference}`,
    });
    assert.deepEqual(called, [["time", reference]]);
    assert.equal(answer.output.nights.length, 2);
  });

  test(`thoughts come apart from the text with ${name}`, async () => {
    const answer = await generateText({
      model,
      prompt: `think: step by step; say: ${mark()}`,
      providerOptions: { outcrop: { reasoningEffort: "low" } },
    });
    assert.equal(answer.reasoningText, "step by step");
    assert.match(answer.text, /^ref-/);
  });
}
