"""One session in a terminal, from signing in to signing out, and another terminal that follows.

What is typed is what a person types into a shell; what both screens show at the end is compared
with what stands here, line by line. Nothing depends on how fast anything is: each step waits for
what the one before it shows, and the answer that is interrupted would go on for minutes.
"""

import json
import re
import urllib.request

import pytest
from conftest import EMULATOR
from terminal import BIN, Served, Terminal

CONFIG = """
[server]
listen = "127.0.0.1:0"

[store]
kind = "memory"

[[models]]
name = "q"
backend = "codewhisperer"

[[models]]
name = "assistant"
backend = "bedrock-agent"
agent_id = "DEMOAGENT1"
"""

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "forecast",
            "description": "Looks the weather up.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]

# `COUNT` stands for as many numbers as came until the interrupt, `ID` for the session.
EXPECTED = r"""
$ outcrop login --status
nobody has signed in; run `outcrop login`
$ outcrop models --server-url $URL
NAME       BACKEND        UPSTREAM               HEALTHY
q          codewhisperer  -                      no: its sign-in is missing or cannot be used: nobody has signed in; run `outcrop login`
assistant  bedrock-agent  DEMOAGENT1/TSTALIASID  not known: nobody has asked it yet
$ outcrop login
To sign in, open this link in a browser, on this machine or another:

  LINK

and confirm within 10 minutes that the code is

  CODE

Waiting …
signed in to AWS Builder ID
$ outcrop login --status
signed in to AWS Builder ID; the token is good for N minutes and renews itself
$ outcrop chat --model q --server-url $URL
q at URL/v1; /help says what can be typed
you> My name is Ann.
Nice to meet you, Ann. How can I help you today?
you> repeat: one \
two
one
two
you> /tools tools.json
1 tool is offered from now on
you> /tools
forecast  Looks the weather up.
you> call: forecast city="Oslo"; then say: Done.

calls forecast({"city":"Oslo"})
what does forecast say? rain
forecast says: rain Done.
you> /tools off
no tools are offered from now on
you> /session
ID  q  idle  4 turns
you> count to 1000; outcrop-emulator-chunk-ms: 100
COUNT
interrupted; Ctrl-C again leaves
you> What is my name?
Your name is Ann.
you> /model
* q
  assistant
you> /model assistant
assistant answers from now on
you> What is my name?
Your name is Ann.
you> /session
ID  assistant  idle  7 turns
you> /save said.json
written to said.json
you> /save said.md
written to said.md
you>
$ outcrop models --server-url $URL
NAME       BACKEND        UPSTREAM               HEALTHY
q          codewhisperer  -                      yes: it answered when it was last asked
assistant  bedrock-agent  DEMOAGENT1/TSTALIASID  yes: it answered when it was last asked
$ outcrop logout
removed HOME/.local/state/outcrop/tokens.json
removed HOME/.local/state/outcrop/registration.json
$ exit
"""

FOLLOWED = r"""
assistant
COUNT
interrupted
"""


@pytest.fixture
def place(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "tools.json").write_text(json.dumps(TOOLS))
    served = Served(home, CONFIG, EMULATOR)
    opened = []

    def open_terminal(*command):
        terminal = Terminal(
            home,
            command,
            AWS_ENDPOINT_URL=EMULATOR,
            URL=served.address,
            PS1="$ ",
        )
        opened.append(terminal)
        return terminal

    yield home, served, open_terminal
    for terminal in opened:
        terminal.close()
    served.stop()


def confirm_codes_at_once():
    body = json.dumps({"polls": ["authorization_pending"], "interval": 1}).encode()
    request = urllib.request.Request(f"{EMULATOR}/_emulator/sign-in", data=body, method="POST")
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.status == 200


def held(served, session):
    with urllib.request.urlopen(f"{served.address}/v1/sessions/{session}", timeout=10) as reply:
        return json.load(reply)


def counted(text):
    """The run of numbers in a transcript: 1 2 3 and so on, whatever stands before and after."""
    return re.search(r"\b1 2 3(?: \d+)*", text)[0]


def normal(text, home, served, session):
    """A transcript without what differs from run to run."""
    for what, name in [(served.address, "URL"), (str(home), "HOME"), (session, "ID")]:
        text = text.replace(what, name)
    text = re.sub(r"(?m)^  http\S+$", "  LINK", text)
    text = re.sub(r"(?m)^  [A-Z0-9]{4}-[A-Z0-9]{4}$", "  CODE", text)
    text = re.sub(r"good for \d+ minutes", "good for N minutes", text)
    # The terminal shows the key that was pressed, wherever the answer was by then.
    text = re.sub(r"(?m)^1 2 3[\d ]*$", "COUNT", text.replace("^C", ""))
    return re.sub(r"(?m) +$", "", text).strip("\n")


def test_from_signing_in_to_signing_out(place):
    home, served, open_terminal = place
    confirm_codes_at_once()
    shell = open_terminal("sh")

    def run(command, then=r"\$ "):
        shell.type(f"{command}\r")
        shell.waits_for(r"\n")
        shell.waits_for(then)

    def say(text, *shown):
        shell.type(f"{text}\r")
        for pattern in shown:
            shell.waits_for(pattern)
        shell.prompt()

    shell.waits_for(r"\$ ")
    run("outcrop login --status")
    run("outcrop models --server-url $URL")
    run("outcrop login", r"Waiting")
    shell.waits_for(r"\$ ")
    run("outcrop login --status")
    run("outcrop chat --model q --server-url $URL", r"you> ")
    say("My name is Ann.", "help you today")
    # What goes on is shown as it is typed, so the answer is what comes after it again.
    say("repeat: one \\\rtwo", r"\ntwo\r\n")
    say("/tools tools.json", "is offered")
    say("/tools", "Looks the weather up")
    shell.type('call: forecast city="Oslo"; then say: Done.\r')
    shell.waits_for(r"what does forecast say\? ")
    say("rain", "says: rain")
    say("/tools off", "no tools")
    shell.type("/session\r")
    session = shell.waits_for(r"(\S+)  q  idle")[1]
    shell.prompt()

    follower = open_terminal(BIN, "sessions", "follow", session, "--server-url", served.address)
    shell.type("count to 1000; outcrop-emulator-chunk-ms: 100\r")
    shell.waits_for(r"\b1 2 3 ")
    # It shows the answer while it is given: nothing but Ctrl-C below ends it.
    follower.waits_for(r"assistant\s+1 2 3 ")
    shell.type("\x03")
    shell.waits_for("interrupted")
    shell.prompt()
    follower.waits_for("interrupted")
    follower.type("\x03")
    assert follower.exit_code() == 0

    say("What is my name?", "Your name is Ann")
    say("/model", "assistant")
    say("/model assistant", "from now on")
    # Two steps back in the history is what was asked before.
    shell.type("\x1b[A\x1b[A\x1b[A")
    shell.waits_for("What is my name")
    say("", "Your name is Ann")
    say("/session", "turns")
    say("/save said.json", "written")
    say("/save said.md", "written")
    shell.type("\x04")
    shell.waits_for(r"\$ ")
    run("outcrop models --server-url $URL")
    run("outcrop logout")
    shell.type("exit\r")
    assert shell.exit_code() == 0

    shown = normal(shell.screen.text(), home, served, session)
    assert shown.splitlines() == EXPECTED.strip("\n").splitlines()
    followed = normal(follower.screen.text(), home, served, session)
    assert followed.splitlines() == FOLLOWED.strip("\n").splitlines()
    # Both screens, the session and the file have the same answer, word for word.
    kept = next(
        message
        for message in held(served, session)["messages"]
        if message.get("status") == "interrupted"
    )
    answer = counted(kept["content"])
    in_chat = counted(shell.screen.text().replace("^C", ""))
    saved = json.loads((home / "said.json").read_text())
    assert in_chat == counted(follower.screen.text().replace("^C", "")) == answer
    assert answer in json.dumps(saved) and saved["session"] == session
    assert "**user**\n\nMy name is Ann." in (home / "said.md").read_text()
    assert (home / ".local/state/outcrop/chat_history").exists()
