// The official Node SDK, unmodified, against a running broker.

import assert from "node:assert/strict";
import test from "node:test";

import OpenAI from "openai";

import {
  BROKER,
  KEY,
  MODEL,
  PRESENTED_KEY,
  callsOfSessionWith,
  callsWith,
  mark,
} from "./environment.mjs";

const ONE_TO_FIVE = ["1", "2", "3", "4", "5"];

const options = { baseURL: `${BROKER}/v1`, apiKey: PRESENTED_KEY, timeout: 30_000 };
const client = new OpenAI(options);
const unretrying = new OpenAI({ ...options, maxRetries: 0 });

const ask = (text) => [{ role: "user", content: text }];
const words = (text) => text.split(/\s+/).filter(Boolean);

/** The body member that tells the emulator how to behave in this session. */
const emulatorSettings = (settings) => ({
  outcrop: {
    session_attributes: Object.fromEntries(
      Object.entries(settings).map(([name, value]) => [`outcrop-emulator-${name}`, `${value}`]),
    ),
  },
});

async function gather(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const textOf = (chunks) =>
  chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta.content ?? "")).join("");

test("models can be listed and retrieved", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes(MODEL));
  assert.equal((await client.models.retrieve(MODEL)).id, MODEL);
});

test("a whole answer comes with its usage and its headers", async () => {
  const { data, response, request_id } = await client.chat.completions
    .create({ model: MODEL, messages: ask(`count to 5 ${mark()}`) })
    .withResponse();
  assert.deepEqual(words(data.choices[0].message.content), ONE_TO_FIVE);
  assert.equal(data.choices[0].finish_reason, "stop");
  assert.ok(data.usage.total_tokens > 0);
  assert.ok(request_id && request_id === response.headers.get("x-request-id"));
  assert.ok(response.headers.get("x-session-id"));
  assert.equal(response.headers.get("x-outcrop-session"), "new");
});

test("a stream says the same, with the usage last when asked for", async () => {
  const chunks = await gather(
    await client.chat.completions.create({
      model: MODEL,
      messages: ask(`count to 5 ${mark()}`),
      stream: true,
      stream_options: { include_usage: true },
    }),
  );
  assert.deepEqual(words(textOf(chunks)), ONE_TO_FIVE);
  assert.equal(chunks[0].choices[0].delta.role, "assistant");
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.ok(chunks.at(-1).usage.completion_tokens > 0);
  assert.equal(chunks.at(-2).choices[0].finish_reason, "stop");
});

test("the stream helper gathers the whole answer", async () => {
  const stream = client.chat.completions.stream({
    model: MODEL,
    messages: ask(`count to 5 ${mark()}`),
  });
  let heard = "";
  stream.on("content", (delta) => {
    heard += delta;
  });
  const final = await stream.finalChatCompletion();
  assert.deepEqual(words(heard), ONE_TO_FIVE);
  assert.equal(final.choices[0].message.content, heard);
  assert.equal(final.choices[0].finish_reason, "stop");
});

test("a slow first token is bridged by keep-alives", async () => {
  const chunks = await gather(
    await client.chat.completions.create({
      model: MODEL,
      messages: ask(`count to 5 ${mark()}`),
      stream: true,
      ...emulatorSettings({ "first-token-ms": 1500, "chunk-ms": 500 }),
    }),
  );
  assert.deepEqual(words(textOf(chunks)), ONE_TO_FIVE);
});

test("a client that resends its transcript continues one conversation", async () => {
  const reference = mark();
  const first = `My name is Ann. My reference is ${reference}`;
  const messages = ask(first);
  const answer = await client.chat.completions.create({ model: MODEL, messages });
  messages.push({ role: "assistant", content: answer.choices[0].message.content });
  messages.push({ role: "user", content: "What is my name?" });
  const { data, response } = await client.chat.completions
    .create({ model: MODEL, messages })
    .withResponse();
  assert.match(data.choices[0].message.content, /Ann/);
  assert.equal(response.headers.get("x-outcrop-session"), "continued");

  const calls = await callsOfSessionWith(reference);
  assert.deepEqual(
    calls.map((call) => [call.input_text, call.history_messages]),
    [
      [first, 0],
      ["What is my name?", 0],
    ],
  );
});

test("a client that leaves stops the upstream", async () => {
  const reference = mark();
  const stream = await client.chat.completions.create({
    model: MODEL,
    messages: ask(`count to 500 ${reference}`),
    stream: true,
    ...emulatorSettings({ "chunk-ms": 20 }),
  });
  for await (const chunk of stream) if (textOf([chunk])) break;
  const deadline = Date.now() + 2000;
  let ended = null;
  while (ended === null && Date.now() < deadline) {
    ended = (await callsWith(reference))[0]?.ended ?? null;
  }
  assert.equal(ended, "disconnected");
});

test("an unknown model is not found", async () => {
  await assert.rejects(
    client.chat.completions.create({ model: "no-such-model", messages: ask("Hello") }),
    (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found",
  );
});

test("more than one choice is refused by name", async () => {
  await assert.rejects(
    client.chat.completions.create({ model: MODEL, messages: ask("Hello"), n: 2 }),
    (error) => error instanceof OpenAI.BadRequestError && error.param === "n",
  );
});

test("a wrong key is refused", { skip: KEY ? false : "the broker is open" }, async () => {
  await assert.rejects(
    new OpenAI({ ...options, apiKey: "a-wrong-key" }).models.list(),
    (error) => error instanceof OpenAI.AuthenticationError && error.code === "invalid_api_key",
  );
});

test("a throttled upstream is a rate limit, and a short one is ridden out", async () => {
  const request = (fault) => ({
    model: MODEL,
    messages: ask(`count to 5 ${mark()}`),
    ...emulatorSettings({ fault }),
  });
  await assert.rejects(
    unretrying.chat.completions.create(request("throttle")),
    (error) => error instanceof OpenAI.RateLimitError && error.headers.get("retry-after") > 0,
  );
  const answer = await client.chat.completions.create(request("throttle:1"));
  assert.deepEqual(words(answer.choices[0].message.content), ONE_TO_FIVE);
});

test("a stream that breaks raises after the text that came", async () => {
  const stream = await client.chat.completions.create({
    model: MODEL,
    messages: ask(`count to 5 ${mark()}`),
    stream: true,
    ...emulatorSettings({ fault: "exception:throttlingException:2" }),
  });
  const chunks = [];
  await assert.rejects(
    async () => {
      for await (const chunk of stream) chunks.push(chunk);
    },
    (error) => error instanceof OpenAI.APIError && error.code === "upstream_throttled",
  );
  assert.deepEqual(words(textOf(chunks)), ["1", "2"]);
});
