"""Requests as the Vapi voice platform sends them to a custom model.

Vapi appends `/chat/completions` to the configured URL and adds `call`, `customer` and
`phoneNumber` to the body; a call's turns share `call.id` and nothing else.
"""

import http.client
import json
import os
from urllib.parse import urlsplit

from conftest import BROKER, MODEL, PRESENTED_KEY

CALLER = "+15550100"
# A model of the voice profile.
VOICE = os.environ.get("OUTCROP_VOICE_MODEL", "hotline")


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


def session(mark):
    """What the broker holds of the call, if anything."""
    address = urlsplit(BROKER)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    headers = {"authorization": f"Bearer {PRESENTED_KEY}"}
    try:
        connection.request("GET", f"/v1/sessions/call-{mark}", headers=headers)
        reply = connection.getresponse()
        return json.loads(reply.read()) if reply.status == 200 else None
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


def test_metadata_that_is_spread_over_the_body_does_not_end_the_call(emulator, mark):
    ask = turn(mark, {"role": "user", "content": f"Hello {mark}"})
    spread = {"tier": "gold", "user": {"name": "Ann"}, "temperature": "warm", "session_id": 7}
    status, headers, lines = post("/api/chat/completions", {**ask, **spread})
    assert status == 200 and said(lines)
    assert headers["x-session-id"] == f"call-{mark}"


def test_without_metadata_the_transcript_is_the_session(mark):
    off = ("call", "phoneNumber", "customer", "metadata")
    hello = {"role": "user", "content": f"My name is Dee. {mark}"}

    def ask(*messages):
        body = {name: it for name, it in turn(mark, *messages).items() if name not in off}
        return post("/api/chat/completions", body)

    _, first, lines = ask(hello)
    answer = {"role": "assistant", "content": said(lines)}
    _, second, lines = ask(hello, answer, {"role": "user", "content": "What is my name?"})
    assert second["x-session-id"] == first["x-session-id"]
    assert "Dee" in said(lines)


def test_an_answer_that_was_cut_in_the_callers_ear_is_kept_so(mark):
    count = {"role": "user", "content": f"count to 30 {mark}"}
    body = {**turn(mark), "model": VOICE}
    greeting = body["messages"]
    _, _, lines = post("/api/chat/completions", {**body, "messages": [*greeting, count]})
    assert "30" in said(lines)
    heard = {"role": "assistant", "content": "1 2 3"}
    ask = {"role": "user", "content": "my name is Dee"}
    history = [*greeting, count, heard, ask]
    _, headers, _ = post("/api/chat/completions", {**body, "messages": history})
    assert headers["x-outcrop-session"] == "continued"
    held = session(mark)["messages"]
    assert {"role": "assistant", "content": "1 2 3", "status": "interrupted"}.items() <= held[2].items()


def test_a_failure_is_spoken(mark):
    hello = {"role": "user", "content": f"Hello {mark}"}
    fault = {"prompt_session_attributes": {"outcrop-emulator-fault": "internal"}}
    body = {**turn(mark, hello), "model": VOICE, "outcrop": fault}
    status, _, lines = post("/api/chat/completions", body)
    assert status == 200
    assert said(lines) == "I am sorry, something went wrong. Could you say that again?"


def test_the_end_of_a_call_is_the_end_of_its_session(mark):
    hello = {"role": "user", "content": f"Hello {mark}"}
    post("/api/chat/completions", turn(mark, hello))
    assert session(mark)["turns"] == 1
    call = turn(mark)["call"]
    for kind, has_ended in [("speech-update", False), ("end-of-call-report", True)]:
        message = {"type": kind, "call": call, "endedReason": "customer-ended-call"}
        status, _, lines = post("/v1/voice/vapi", {"message": message})
        assert status == 200 and json.loads(lines[0]) == {"session_ended": has_ended}
    assert session(mark) is None
