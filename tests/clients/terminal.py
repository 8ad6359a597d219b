"""Terminals for the suites: a pty whose other end types and reads like a person, and its screen.

OUTCROP_BIN     the program
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from conftest import BROKER, PRESENTED_KEY

PATIENCE = 20
BIN = os.path.abspath(os.environ.get("OUTCROP_BIN", "target/debug/outcrop"))
COLUMNS = 160
ROWS = 50
# A control sequence, or one letter.
TOKENS = re.compile(r"\x1b\[([0-9;?]*)([a-zA-Z])|\x1b[=>]|(.)", re.S)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Screen:
    """What a terminal shows of all that was written to it: it scrolls without forgetting.

    Knows what line editors and colours use, and wraps nothing: lines here are short.
    """

    def __init__(self):
        self.lines = [[]]
        self.row = self.column = 0

    def write(self, text):
        for token in TOKENS.finditer(text):
            numbers, what, letter = token.groups()
            if what:
                self.steer(what, numbers)
            elif letter == "\r":
                self.column = 0
            elif letter == "\n":
                self.move_to(self.row + 1)
            elif letter == "\b":
                self.column = max(self.column - 1, 0)
            elif letter and letter >= " ":
                self.put(letter)

    def put(self, letter):
        line = self.lines[self.row]
        line.extend(" " * (self.column + 1 - len(line)))
        line[self.column] = letter
        self.column += 1

    def move_to(self, row):
        self.row = max(row, 0)
        while len(self.lines) <= self.row:
            self.lines.append([])

    def steer(self, what, numbers):
        count = int(numbers) if numbers.isdigit() else 1
        if what == "A":
            self.move_to(self.row - count)
        elif what == "B":
            self.move_to(self.row + count)
        elif what == "C":
            self.column += count
        elif what == "D":
            self.column = max(self.column - count, 0)
        elif what in "JK":
            del self.lines[self.row][self.column :]
            if what == "J":
                del self.lines[self.row + 1 :]

    def text(self):
        return "\n".join("".join(line).rstrip() for line in self.lines).strip("\n")


class Terminal:
    """A program in a terminal of its own, and what it has shown so far."""

    def __init__(self, home, command, stdout=None, **variables):
        self.main, other = pty.openpty()
        self.resize(COLUMNS)
        environment = {
            "PATH": os.pathsep.join([os.path.dirname(BIN), os.environ["PATH"]]),
            "HOME": str(home),
            "TERM": "xterm",
            "LANG": "C.UTF-8",
            "OUTCROP_API_KEY": PRESENTED_KEY,
            **variables,
        }
        # A session of its own, whose terminal this is, so that Ctrl-C is a signal.
        self.process = subprocess.Popen(
            command,
            stdin=other,
            stdout=stdout or other,
            stderr=other,
            cwd=home,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(other)
        self.raw = self.shown = ""
        self.screen = Screen()

    def resize(self, columns):
        size = struct.pack("HHHH", ROWS, columns, 0, 0)
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, size)

    def type(self, text):
        os.write(self.main, text.encode())

    def read(self, seconds):
        """Takes in what comes within so many seconds; says whether anything did."""
        if not select.select([self.main], [], [], seconds)[0]:
            return False
        try:
            came = os.read(self.main, 65536)
        except OSError:
            return False
        text = came.decode(errors="replace")
        self.raw += text
        self.screen.write(text)
        self.shown += ESCAPES.sub("", text)
        return bool(came)

    def waits_for(self, pattern):
        """Reads on until what is new matches, and gives the match."""
        until = time.monotonic() + PATIENCE
        while not (match := re.search(pattern, self.shown, re.S)):
            left = until - time.monotonic()
            assert left > 0, f"waited in vain for {pattern!r} in {self.shown[-2000:]!r}"
            came = self.read(left)
            ended = f"the program ended before {pattern!r}: {self.shown[-2000:]!r}"
            assert came or self.process.poll() is None, ended
        self.shown = self.shown[match.end() :]
        return match

    def prompt(self):
        self.waits_for(r"you> ")

    def exit_code(self):
        # What is shown at the end must go somewhere.
        until = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < until:
            self.read(0.05)
        while self.read(0):
            pass
        return self.process.wait(PATIENCE)

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.main)


def chat(home, *arguments, server=BROKER, **options):
    """A conversation in a terminal."""
    command = [BIN, "chat", "--server-url", server, *arguments]
    return Terminal(home, command, **options)


class Served:
    """A broker of a test's own, in a home of its own."""

    def __init__(self, home, config, emulator):
        self.home, self.emulator, self.address, self.process = home, emulator, None, None
        self.config = home / "outcrop.toml"
        self.config.write_text(config)
        self.start("127.0.0.1:0")

    def start(self, listen):
        log = open(self.home / "serve.log", "a", encoding="utf-8")
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "AWS_ENDPOINT_URL": self.emulator,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "example",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        command = [BIN, "serve", "--config", str(self.config), "--listen", listen]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, env=environment, cwd=self.home, text=True
        )
        log.close()
        for line in self.process.stdout:
            if match := re.search(r"listening on (http://\S+)", line):
                self.address = match[1]
                return
        raise AssertionError((self.home / "serve.log").read_text())

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(PATIENCE)
        self.process.stdout.close()

    def start_again(self):
        """On the same address."""
        self.start(self.address.removeprefix("http://"))
