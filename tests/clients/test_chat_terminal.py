"""`outcrop chat` in a terminal: a pty whose other end types and reads like a person.

OUTCROP_BIN     the program
"""

import fcntl
import json
import os
import pty
import re
import select
import stat
import subprocess
import termios
import time
import urllib.request

import pytest

from conftest import BROKER, GPT, MODEL, PRESENTED_KEY

PATIENCE = 20
BIN = os.environ.get("OUTCROP_BIN", "target/debug/outcrop")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """A chat, and what it has shown so far."""

    def __init__(self, home, *arguments):
        main, other = pty.openpty()
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TERM": "xterm",
            "OUTCROP_API_KEY": PRESENTED_KEY,
        }
        command = [os.path.abspath(BIN), "chat", "--server-url", BROKER, *arguments]
        # A session of its own, whose terminal this is, so that Ctrl-C is a signal.
        self.process = subprocess.Popen(
            command,
            stdin=other,
            stdout=other,
            stderr=other,
            cwd=home,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(other)
        self.main = main
        self.shown = ""

    def type(self, text):
        os.write(self.main, text.encode())

    def waits_for(self, pattern):
        """Reads on until what is new matches, and gives the match."""
        until = time.monotonic() + PATIENCE
        while not (match := re.search(pattern, self.shown, re.S)):
            left = until - time.monotonic()
            assert left > 0, f"waited in vain for {pattern!r} in {self.shown[-2000:]!r}"
            if select.select([self.main], [], [], left)[0]:
                try:
                    came = os.read(self.main, 65536)
                except OSError:
                    came = b""
                assert came, f"the chat ended before {pattern!r}: {self.shown[-2000:]!r}"
                self.shown += ESCAPES.sub("", came.decode(errors="replace"))
        self.shown = self.shown[match.end() :]
        return match

    def prompt(self):
        self.waits_for(r"you> ")

    def exit_code(self):
        # What is shown at the end must go somewhere.
        until = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < until:
            if select.select([self.main], [], [], 0.05)[0]:
                try:
                    os.read(self.main, 65536)
                except OSError:
                    break
        return self.process.wait(PATIENCE)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.main)


@pytest.fixture
def chat(tmp_path):
    opened = []

    def open_chat(*arguments):
        terminal = Terminal(tmp_path, *arguments)
        opened.append(terminal)
        terminal.prompt()
        return terminal

    yield open_chat
    for terminal in opened:
        terminal.close()


def held(session):
    """What the broker holds of a session."""
    head = {"authorization": f"Bearer {PRESENTED_KEY}"}
    request = urllib.request.Request(f"{BROKER}/v1/sessions/{session}", headers=head)
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def test_a_conversation_is_remembered_and_its_history_is_private(chat, tmp_path):
    terminal = chat("--model", MODEL)
    terminal.type("My name is Ann.\r")
    terminal.waits_for("Ann")
    terminal.prompt()
    terminal.type("What is my name?\r")
    terminal.waits_for("Your name is Ann")
    terminal.prompt()
    terminal.type("/session\r")
    terminal.waits_for(r"sess_\w+ .* 2 turns")
    terminal.prompt()
    terminal.type("/save said.md\r")
    terminal.waits_for("written to said.md")
    terminal.prompt()
    terminal.type("/quit\r")
    assert terminal.exit_code() == 0
    history = tmp_path / ".local/state/outcrop/chat_history"
    assert "What is my name?" in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "**user**\n\nMy name is Ann." in (tmp_path / "said.md").read_text()


def test_several_lines_are_one_message(chat):
    terminal = chat("--model", MODEL)
    terminal.type('repeat: one \\\rtwo\r')
    terminal.waits_for("one \r\ntwo\r\n")
    terminal.prompt()


def test_ctrl_c_interrupts_the_turn_and_the_session_goes_on(chat, mark):
    terminal = chat("--model", GPT, "--session", mark)
    terminal.type("count to 1000; outcrop-emulator-chunk-ms: 10\r")
    terminal.waits_for(r"\b1 2 3 ")
    terminal.type("\x03")
    terminal.waits_for("interrupted")
    terminal.prompt()
    session = held(mark)
    assert session["state"] == "idle"
    assert session["messages"][1]["status"] == "interrupted"
    terminal.type("what was my last message?\r")
    terminal.waits_for('"count to 1000')
    terminal.prompt()
    terminal.type("\x03")
    terminal.waits_for("Ctrl-C again leaves")
    terminal.prompt()
    terminal.type("\x03")
    assert terminal.exit_code() == 0


def test_a_second_ctrl_c_right_after_the_first_leaves(chat):
    terminal = chat("--model", GPT)
    terminal.type("count to 1000; outcrop-emulator-chunk-ms: 10\r")
    terminal.waits_for(r"\b1 2 3 ")
    terminal.type("\x03")
    terminal.waits_for("interrupted")
    terminal.prompt()
    terminal.type("\x03")
    assert terminal.exit_code() == 0


def test_calls_are_answered_by_hand(chat):
    terminal = chat("--model", MODEL)
    terminal.type("call: forecast city=Oslo; then say: Done.\r")
    terminal.waits_for(r"calls forecast\(.*Oslo")
    terminal.waits_for(r"what does forecast say\? ")
    terminal.type("rain\r")
    terminal.waits_for("Done")
    terminal.prompt()


def test_a_command_that_there_is_not_and_help(chat):
    terminal = chat("--model", MODEL)
    terminal.type("/nothing\r")
    terminal.waits_for("there is no /nothing")
    terminal.prompt()
    terminal.type("/help\r")
    terminal.waits_for("/interrupt")
    terminal.prompt()
    terminal.type("\x04")
    assert terminal.exit_code() == 0
