"""`outcrop chat` in a terminal: what is typed, pasted and interrupted.

OUTCROP_BIN     the program
"""

import json
import re
import stat
import time
import urllib.error
import urllib.request

import pytest
import terminal as terminals
from conftest import BROKER, EMULATOR, GPT, MODEL, PRESENTED_KEY


@pytest.fixture
def chat(tmp_path):
    opened = []

    def open_chat(*arguments, **options):
        terminal = terminals.chat(tmp_path, *arguments, **options)
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


def said(session, turns=1):
    """What the user said last, as the broker has it, once so many turns are over.

    What is typed is echoed, and drawn anew, so the terminal alone does not tell when that is."""

    def is_over():
        try:
            there = held(session)
        except urllib.error.HTTPError as error:
            assert error.code == 404
            return None
        return there if there["turns"] >= turns and there["state"] != "running" else None

    until = time.monotonic() + terminals.PATIENCE
    while not (there := is_over()):
        assert time.monotonic() < until, f"{session} has no {turns} turns"
        time.sleep(0.02)
    said = [message["content"] for message in there["messages"] if message["role"] == "user"]
    return said[-1]


def test_what_is_pasted_is_one_message_as_it_is(chat, mark):
    terminal = chat("--model", GPT, "--session", mark)
    pasted = 'say: done\ncurl \\\n  -d "{}"\n\n\t'
    pasted += "x" * 20_000 + "end"
    terminal.type(f"\x1b[200~{pasted}\x1b[201~")
    terminal.waits_for("xend")
    terminal.type("\r")
    terminal.waits_for("done")
    terminal.prompt()
    assert said(mark) == pasted
    # Between quotes nothing is a mark.
    terminal.type('"""\rsay: done\rone \\\rtwo\r"""\r')
    terminal.waits_for("two")
    terminal.waits_for('"""')
    terminal.waits_for("done")
    terminal.prompt()
    assert said(mark, turns=2) == "say: done\none \\\ntwo"


def test_long_and_wide_text_and_another_size_of_the_window(chat, mark):
    terminal = chat("--model", GPT, "--session", mark)
    terminal.resize(40)
    wide = "say: " + "漢字 👩‍👩‍👧 é " * 60 + "ends"
    terminal.type(wide)
    terminal.waits_for("ends")
    terminal.resize(100)
    # To the beginning and back, over what is wide.
    terminal.type("\x01\x05!\r")
    terminal.waits_for(r"!\r\n.*ends!\r\n")
    terminal.prompt()
    assert said(mark) == wide + "!"


def test_the_conversation_goes_on_when_the_server_was_restarted(chat, tmp_path):
    config = """
[store]
kind = "memory"

[[models]]
name = "agent"
backend = "bedrock-agent"
agent_id = "DEMOAGENT1"
"""
    home = tmp_path / "broker"
    home.mkdir()
    served = terminals.Served(home, config, EMULATOR)
    try:
        terminal = chat(server=served.address)
        terminal.type("My name is Ann.\r")
        terminal.waits_for("help you today")
        terminal.prompt()
        served.stop()
        terminal.type("What is my name?\r")
        terminal.waits_for("cannot be reached.*nothing listens")
        terminal.prompt()
        served.start_again()
        # The line is in the history.
        terminal.type("\x1b[A")
        terminal.waits_for("What is my name")
        terminal.type("\r")
        terminal.waits_for("Your name is Ann")
        terminal.prompt()
        terminal.type("\x04")
        assert terminal.exit_code() == 0
    finally:
        served.stop()


def test_answers_go_to_a_file_and_the_terminal_is_edited_on(tmp_path):
    with open(tmp_path / "answers", "wb") as answers:
        terminal = terminals.chat(tmp_path, "--model", MODEL, stdout=answers)
    try:
        terminal.prompt()
        terminal.type("count to 3\r")
        terminal.prompt()
        terminal.type("\x04")
        assert terminal.exit_code() == 0
    finally:
        terminal.close()
    text = (tmp_path / "answers").read_text()
    assert "1 2 3" in text and "\x1b" not in text and "you>" not in text


def test_colours_are_for_terminals_that_want_them(tmp_path):
    colours = re.compile(r"\x1b\[[0-9;]*m")
    for variables, is_coloured in [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]:
        command = [terminals.BIN, "models", "--server-url", BROKER]
        terminal = terminals.Terminal(tmp_path, command, **variables)
        try:
            terminal.waits_for("HEALTHY.*\n")
            terminal.exit_code()
            assert bool(colours.search(terminal.raw)) == is_coloured, variables
        finally:
            terminal.close()
