"""Requests as the Vapi voice platform sends them to a custom model.

Vapi appends `/chat/completions` to the configured URL and adds `call`, `customer` and
`phoneNumber` to the body; a call's turns share `call.id` and nothing else.
"""

import http.client
import json
from urllib.parse import urlsplit

from conftest import BROKER, MODEL, PRESENTED_KEY

CALLER = "+15550100"


def post(path, body):
    """Status, headers and lines of the reply."""
    address = urlsplit(BROKER)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    headers = {"content-type": "application/json", "authorization": f"Bearer {PRESENTED_KEY}"}
    try:
        connection.request("POST", path, json.dumps(body), headers)
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read().decode().splitlines()
    finally:
        connection.close()


def said(lines):
    """The text of a stream's chunks, which must end as a chat stream ends."""
    frames = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert frames[-1] == "[DONE]"
    deltas = [choice["delta"] for frame in frames[:-1] for choice in json.loads(frame)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def turn(mark, *messages):
    return {
        "model": MODEL,
        "temperature": 0.5,
        "max_tokens": 250,
        "messages": [
            {"role": "system", "content": "You are a bank's voice assistant."},
            {"role": "assistant", "content": "Hello! How can I help?"},
            *messages,
        ],
        "call": {
            "id": f"call-{mark}",
            "orgId": "org",
            "type": "inboundPhoneCall",
            "status": "in-progress",
            "customer": {"number": CALLER},
        },
        "phoneNumber": {"number": "+15550199", "twilioAuthToken": f"secret-{mark}"},
        "customer": {"number": CALLER, "name": "Ann"},
        "metadata": {"tenant": "acme"},
    }


def test_a_call_streams_by_default_and_keeps_its_session(emulator, mark):
    hello = {"role": "user", "content": f"My name is Dee. {mark}"}
    status, headers, lines = post("/api/chat/completions/", turn(mark, hello))
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    # Vapi does not resend word for word what it was given: the call's id is the session.
    heard = {"role": "assistant", "content": said(lines)[:7]}
    ask = {"role": "user", "content": "What is my name?"}
    status, headers, lines = post("/api/chat/completions/", turn(mark, hello, heard, ask))
    assert status == 200 and headers["x-outcrop-session"] != "new"
    assert "Dee" in said(lines)


def test_the_callers_number_reaches_the_agent_and_the_platforms_secrets_do_not(emulator, mark):
    ask = {"role": "user", "content": f"What number am I calling from? {mark}"}
    _, _, lines = post("/api/chat/completions", turn(mark, ask))
    assert CALLER in said(lines)
    (call,) = emulator.calls(mark)
    assert call["attributes"]["phone_number"] == CALLER
    assert f"secret-{mark}" not in json.dumps(call)


def test_stream_false_is_obeyed_on_the_voice_path(mark):
    hello = {"role": "user", "content": f"Hello {mark}"}
    status, headers, lines = post("/api/chat/completions", {**turn(mark, hello), "stream": False})
    assert status == 200
    assert headers["content-type"].startswith("application/json")
    answer = json.loads("\n".join(lines))
    assert answer["choices"][0]["message"]["content"]
