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

/** A word that no other test says, so that no two tests share a conversation. */
export const mark = () => `ref-${randomUUID()}`;

/** The calls that the emulator saw whose message contains a text, oldest first. */
export async function callsWith(text) {
  const state = await (await fetch(`${EMULATOR}/_emulator/state`)).json();
  return state.calls.filter((call) => (call.input_text ?? "").includes(text));
}

/** Every call of the upstream session in which a text was said. */
export async function callsOfSessionWith(text) {
  const [{ session }] = await callsWith(text);
  return (await callsWith("")).filter((call) => call.session === session);
}
