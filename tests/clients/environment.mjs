// Where the broker and the emulator are, and what the emulator saw. conftest.py tells the
// environment.

import { randomUUID } from "node:crypto";

const address = (name, otherwise) => (process.env[name] ?? otherwise).replace(/\/$/, "");

export const BROKER = address("OUTCROP_URL", "http://127.0.0.1:8000");
export const EMULATOR = address("EMULATOR_URL", "http://127.0.0.1:4566");
export const KEY = process.env.OUTCROP_KEY ?? "";
export const MODEL = process.env.OUTCROP_MODEL ?? "demo-agent";
// The SDKs refuse to start without a key, open broker or not.
export const PRESENTED_KEY = KEY || "none-needed";

// The emulator's demo model, by Bedrock's Converse and by OpenAI's API.
export const MODELS = ["us.anthropic.claude-sonnet-4-20250514-v1:0", "openai/gpt-4o"];

/** A word that no other test says, so that no two tests share a conversation. */
export const mark = () => `ref-${randomUUID()}`;

const state = async () => (await fetch(`${EMULATOR}/_emulator/state`)).json();

/** The calls of agents whose message contains a text, oldest first. */
export async function callsWith(text) {
  const { calls } = await state();
  return calls.filter((call) => (call.input_text ?? "").includes(text));
}

/** The calls of models whose transcript contains a text, oldest first. */
export async function modelCallsWith(text) {
  const { models } = await state();
  return models.calls.filter((call) => JSON.stringify(call.request).includes(text));
}

/** Every call of the upstream session in which a text was said. */
export async function callsOfSessionWith(text) {
  const [{ session }] = await callsWith(text);
  return (await callsWith("")).filter((call) => call.session === session);
}
