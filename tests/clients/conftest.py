"""What every suite needs: where the broker and the emulator are, and what the emulator saw.

OUTCROP_URL     the broker, such as http://127.0.0.1:8000
EMULATOR_URL    the emulator behind it, whose `/_emulator/state` tells what went up
OUTCROP_KEY     the key to present; empty when the broker is open
OUTCROP_MODEL   the model to ask for; `demo-agent` unless told
"""

import json
import os
import time
import urllib.request
import uuid

import pytest

BROKER = os.environ.get("OUTCROP_URL", "http://127.0.0.1:8000").rstrip("/")
EMULATOR = os.environ.get("EMULATOR_URL", "http://127.0.0.1:4566").rstrip("/")
KEY = os.environ.get("OUTCROP_KEY", "")
MODEL = os.environ.get("OUTCROP_MODEL", "demo-agent")

# The SDKs refuse to start without a key, open broker or not.
PRESENTED_KEY = KEY or "none-needed"

# The emulator's demo model, which remembers nothing: by Bedrock's Converse, and by OpenAI's API.
# Both are names that `routing.allow_direct` knows.
CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
GPT = "openai/gpt-4o"
each_model = pytest.mark.parametrize("model", [CLAUDE, GPT], ids=["bedrock", "openai"])

# A picture of one dot.
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY"
    "42YAAAAASUVORK5CYII="
)


def emulator_settings(**settings):
    """The body extension that tells the emulator how to behave in this session."""
    attributes = {
        f"outcrop-emulator-{name.replace('_', '-')}": str(value) for name, value in settings.items()
    }
    return {"outcrop": {"session_attributes": attributes}}


class Emulator:
    """What the emulator saw."""

    def state(self):
        """All that it tells."""
        with urllib.request.urlopen(f"{EMULATOR}/_emulator/state", timeout=10) as reply:
            return json.load(reply)

    def calls(self, text):
        """The calls of agents whose message contains `text`, oldest first."""
        return [call for call in self.state()["calls"] if text in (call["input_text"] or "")]

    def model_calls(self, text):
        """The calls of models whose transcript contains `text`, oldest first."""
        calls = self.state()["models"]["calls"]
        return [call for call in calls if text in json.dumps(call["request"])]

    def calls_of_session_with(self, text):
        """Every call of the upstream session in which `text` was said."""
        session = self.calls(text)[0]["session"]
        return [call for call in self.calls("") if call["session"] == session]

    def until_ended(self, text, within=2.0):
        """The first call with `text`, once it is over."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            calls = self.calls(text)
            if calls and calls[0]["ended"] is not None:
                return calls[0]
            time.sleep(0.01)
        raise AssertionError(f"the call with {text!r} was still open after {within} s")


@pytest.fixture
def emulator():
    return Emulator()


@pytest.fixture
def mark():
    """A word that no other test says, so that no two tests share a conversation."""
    return f"ref-{uuid.uuid4().hex}"
