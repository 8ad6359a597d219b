// The official Node SDK, unmodified, with models behind the broker instead of agents: what its
// helpers add to plain requests. The demo model follows the emulator's phrases
// (docs/emulator.md, "A model's phrases").

import assert from "node:assert/strict";
import test from "node:test";

import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

import { BROKER, MODELS, PRESENTED_KEY, mark, modelCallsWith } from "./environment.mjs";

const client = new OpenAI({
  baseURL: `${BROKER}/v1`,
  apiKey: PRESENTED_KEY,
  timeout: 30_000,
  maxRetries: 0,
});
const chat = client.chat.completions;

const ask = (content) => [{ role: "user", content }];

const Night = z.object({ city: z.string(), count: z.number().int() });
const Trip = z.object({
  title: z.string(),
  kind: z.enum(["work", "leisure"]),
  nights: z.array(Night),
  price: z.number().nullable(),
});
const City = z.object({ city: z.string() });

function checkTrip(trip, reference) {
  assert.equal(trip.title, `Plan-${reference}`);
  assert.deepEqual(
    trip.nights.map((night) => night.count),
    [5, 5],
  );
}

/** Two calls at once, words before them, and words that use their results. */
const twoCalls = (reference) =>
  "say: Let me look.; call: get_weather city=Oslo; call: get_time city=" +
  `${reference}; then say: Have a good trip.`;

/** Tools that the SDK runs itself, and what they were called with. */
function tools() {
  const called = [];
  const answering = (name, told) =>
    zodFunction({
      name,
      parameters: City,
      function: ({ city }) => {
        called.push([name, city]);
        return told;
      },
    });
  return { called, declared: [answering("get_weather", "rain"), answering("get_time", "noon")] };
}

async function checkRun(runner, called, reference) {
  const text = await runner.finalContent();
  for (const told of ["get_weather says: rain", "get_time says: noon", "Have a good trip."]) {
    assert.equal(text.split(told).length, 2, `${told} is not once in ${text}`);
  }
  assert.deepEqual(called, [
    ["get_weather", "Oslo"],
    ["get_time", reference],
  ]);
  assert.equal((await modelCallsWith(reference)).length, 2);
}

for (const model of MODELS) {
  test(`parse() of ${model}`, async () => {
    const reference = mark();
    const answer = await chat.parse({
      model,
      messages: ask(`Plan-${reference} 5 days`),
      response_format: zodResponseFormat(Trip, "trip"),
    });
    const [{ message, finish_reason }] = answer.choices;
    assert.equal(finish_reason, "stop");
    checkTrip(message.parsed, reference);
  });

  test(`stream() with a schema of ${model}`, async () => {
    const reference = mark();
    const stream = chat.stream({
      model,
      messages: ask(`Plan-${reference} 5 days`),
      response_format: zodResponseFormat(Trip, "trip"),
      stream_options: { include_usage: true },
    });
    let pieces = 0;
    stream.on("content.delta", () => {
      pieces += 1;
    });
    const final = await stream.finalChatCompletion();
    assert.ok(pieces > 1);
    checkTrip(final.choices[0].message.parsed, reference);
    assert.ok(final.usage.completion_tokens > 0);
  });

  test(`stream() with tools of ${model}`, async () => {
    const reference = mark();
    const done = [];
    const stream = chat.stream({
      model,
      messages: ask(twoCalls(reference)),
      tools: tools().declared,
    });
    stream.on("tool_calls.function.arguments.done", (call) => {
      done.push([call.name, call.parsed_arguments?.city]);
    });
    const [{ message, finish_reason }] = (await stream.finalChatCompletion()).choices;
    assert.deepEqual([message.content, finish_reason], ["Let me look.", "tool_calls"]);
    assert.deepEqual(done, [
      ["get_weather", "Oslo"],
      ["get_time", reference],
    ]);
  });

  test(`runTools() of ${model}`, async () => {
    const reference = mark();
    const { called, declared } = tools();
    const request = { model, messages: ask(twoCalls(reference)), tools: declared };
    await checkRun(chat.runTools(request), called, reference);
  });

  test(`runTools() of ${model}, streamed`, async () => {
    const reference = mark();
    const { called, declared } = tools();
    const request = { model, messages: ask(twoCalls(reference)), tools: declared, stream: true };
    await checkRun(chat.runTools(request), called, reference);
  });

  test(`a stream of ${model} that breaks`, async () => {
    const text = `count to 9 ${mark()}; outcrop-emulator-fault: cut:2`;
    const stream = chat.stream({ model, messages: ask(text) });
    let heard = "";
    stream.on("content", (delta) => {
      heard += delta;
    });
    await assert.rejects(
      stream.finalChatCompletion(),
      (error) => error instanceof OpenAI.APIError && error.code === "upstream_protocol",
    );
    assert.deepEqual(heard.split(/\s+/).filter(Boolean), ["1", "2"]);
  });
}
