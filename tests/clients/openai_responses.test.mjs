// OpenAI's Responses and Conversations by the official SDK for Node, unmodified.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

import {
  BROKER,
  MODEL,
  MODELS,
  PRESENTED_KEY,
  callsOfSessionWith,
  callsWith,
  mark,
} from "./environment.mjs";

const client = new OpenAI({ baseURL: `${BROKER}/v1`, apiKey: PRESENTED_KEY, timeout: 30_000 });
const slow = (ms) => ({
  outcrop: { session_attributes: { "outcrop-emulator-chunk-ms": String(ms) } },
});
const counted = (until) => Array.from({ length: until }, (_, at) => String(at + 1));
const words = (text) => text.trim().split(/\s+/);
const isDelta = (event) => event.type === "response.output_text.delta";
const textOf = (events) => events.filter(isDelta).map((event) => event.delta).join("");

/** Holds a whole stream to its order, its numbers and its ids. */
function check(events) {
  assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, at) => at));
  assert.equal(events[0].type, "response.created");
  const last = events.at(-1);
  assert.equal(last.type, "response.completed");
  const done = events.filter((event) => event.type === "response.output_item.done");
  assert.deepEqual(last.response.output, done.map((event) => event.item));
  return events;
}

async function gather(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

test("a response is made, kept, gone on from and deleted", async () => {
  const ref = mark();
  const first = await client.responses.create({ model: MODEL, input: `My name is Ann. ${ref}` });
  assert.equal(first.status, "completed");
  const kept = await client.responses.retrieve(first.id);
  assert.deepEqual(kept.output, first.output);
  const second = await client.responses.create({
    model: MODEL,
    input: "What is my name?",
    previous_response_id: first.id,
  });
  assert.match(second.output_text, /Ann/);
  const calls = await callsOfSessionWith(ref);
  assert.deepEqual(calls.map((call) => call.input_text), [`My name is Ann. ${ref}`, "What is my name?"]);
  await client.responses.delete(first.id);
  await assert.rejects(client.responses.retrieve(first.id), { status: 404, code: "response_not_found" });
});

test("a stream keeps its order, and the helper gathers it", async () => {
  const input = `count to 5 ${mark()}`;
  const events = check(await gather(await client.responses.create({ model: MODEL, input, stream: true })));
  assert.deepEqual(words(textOf(events)), counted(5));
  const helper = client.responses.stream({ model: MODEL, input });
  const final = await helper.finalResponse();
  assert.deepEqual(words(final.output_text), counted(5));
});

for (const model of [MODEL, MODELS[0]]) {
  test(`functions of ${model} are called and answered`, async () => {
    const tools = [
      {
        type: "function",
        name: "get_weather",
        parameters: {
          type: "object",
          properties: { city: { type: "string" } },
          required: ["city"],
          additionalProperties: false,
        },
        strict: true,
      },
    ];
    const input = "call: get_weather city=Oslo; then say: Done.";
    const asked = await client.responses.create({ model, input, tools });
    const [call] = asked.output.filter((item) => item.type === "function_call");
    assert.deepEqual(JSON.parse(call.arguments), { city: "Oslo" });
    const done = await client.responses.create({
      model,
      tools,
      previous_response_id: asked.id,
      input: [{ type: "function_call_output", call_id: call.call_id, output: "rain" }],
    });
    assert.match(done.output_text, /Done\./);
  });
}

test("a background response survives broken connections, and another is cancelled", async () => {
  const ref = mark();
  let stream = await client.responses.create({
    model: MODEL,
    input: `count to 80 ${ref}`,
    background: true,
    stream: true,
    ...slow(5),
  });
  const events = [];
  for (let connection = 0; connection < 4; connection += 1) {
    let deltas = 0;
    for await (const event of stream) {
      events.push(event);
      deltas += isDelta(event) ? 1 : 0;
      if (connection < 3 && deltas === 10) break;
    }
    if (connection < 3) {
      stream = await client.responses.retrieve(events[0].response.id, {
        stream: true,
        starting_after: events.at(-1).sequence_number,
      });
    }
  }
  check(events);
  assert.deepEqual(words(textOf(events)), counted(80));

  const other = mark();
  const running = await client.responses.create({
    model: MODEL,
    input: `count to 500 ${other}`,
    background: true,
    ...slow(20),
  });
  assert.match(running.status, /queued|in_progress/);
  assert.equal((await client.responses.cancel(running.id)).status, "cancelled");
  for (const call of await callsWith(other)) assert.notEqual(call.ended, null);
});

test("a conversation holds what was said in it", async () => {
  const ref = mark();
  const items = [{ type: "message", role: "user", content: `My name is Ann. ${ref}` }];
  const conversation = await client.conversations.create({ items, metadata: { topic: ref } });
  const input = "What is my name?";
  const answer = await client.responses.create({ model: MODEL, input, conversation: conversation.id });
  assert.match(answer.output_text, /Ann/);
  const texts = [];
  for await (const item of client.conversations.items.list(conversation.id, { order: "asc", limit: 2 })) {
    texts.push(item.content[0].text);
  }
  assert.deepEqual(texts, [`My name is Ann. ${ref}`, input, answer.output_text]);
  assert.equal((await client.conversations.delete(conversation.id)).deleted, true);
  await assert.rejects(client.conversations.retrieve(conversation.id), { status: 404 });
});

test("what is to be included is asked for as the SDK writes lists", async () => {
  const model = "openai/gpt-4o";
  const include = ["message.output_text.logprobs"];
  const made = await client.responses.create({ model, input: "count to 3", include, top_logprobs: 2 });
  const { text, logprobs } = made.output[0].content[0];
  assert.equal(logprobs.map((entry) => entry.token).join(""), text);
  const kept = await client.responses.retrieve(made.id, { include });
  assert.deepEqual(kept.output, made.output);
  await assert.rejects(client.responses.retrieve(made.id, { include: ["everything"] }), {
    status: 400,
    param: "include",
  });
});

test("the input of a response comes page by page", async () => {
  const input = ["one", "two", "three"].map((content) => ({ role: "user", content }));
  const made = await client.responses.create({ model: MODEL, input });
  const texts = [];
  for await (const item of client.responses.inputItems.list(made.id, { limit: 1 })) {
    texts.push(item.content[0].text);
  }
  assert.deepEqual(texts, ["three", "two", "one"]);
});
