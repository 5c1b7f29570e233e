"""The live view on a real pseudo-terminal, read back through a small terminal that wraps, scrolls and erases."""

import fcntl
import os
import pty
import re
import struct
import termios
import threading
import tty
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.build.results import BuildResult, Failure, StageResult, Why
from conveyor.events.api import Finished, ImageFailed, StageBuilt, StageLog, StageStarted, StageWaits, Warned
from conveyor.events.output import Output
from conveyor.events.terminal import TerminalView, cut_to_width, elapsed_text, terminal_size
from conveyor.events.text import Look


def cells(text):
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) == "W" else 1 for c in text)


class Screen:
    """Rows that never scroll away; a cursor; the few sequences that the view writes. Others fail the test."""

    def __init__(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.lines = [""]
        self.row = self.column = 0

    def feed(self, text):
        for token in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|.", text, re.DOTALL):
            if token == "\n":
                self.row, self.column = self.row + 1, 0
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif token == "\r":
                self.column = 0
            elif token == "\x1b[J":
                self.lines[self.row] = self.lines[self.row][: self.column]
                del self.lines[self.row + 1 :]
            elif up := re.fullmatch(r"\x1b\[(\d+)A", token):
                self.row = max(self.row - int(up[1]), len(self.lines) - self.rows, 0)
            elif not re.fullmatch(r"\x1b\[\d+m", token):
                assert token.isprintable(), repr(token)
                if self.column + cells(token) > self.columns:
                    self.feed("\n")
                # Text is only ever written at the end of a line: what the view overwrites it has erased.
                assert self.column == cells(self.lines[self.row])
                self.lines[self.row] += token
                self.column += cells(token)


class Terminal:
    """A pseudo-terminal with a screen behind it."""

    def __init__(self, columns, rows):
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        self.stream = os.fdopen(self.slave, "w")
        self.screen = Screen(columns, rows)
        self.resize(columns, rows)

    def resize(self, columns, rows):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.columns, self.screen.rows = columns, rows

    def lines(self):
        os.set_blocking(self.master, False)
        data = b""
        try:
            while chunk := os.read(self.master, 65536):
                data += chunk
        except BlockingIOError:
            pass
        self.screen.feed(data.decode())
        return self.screen.lines

    def close(self):
        self.stream.close()
        os.close(self.master)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def terminal():
    made = Terminal(40, 10)
    yield made
    made.close()


def view_of(terminal, clock=None, **look):
    return TerminalView(Output(terminal.stream), Look(**look), tick_s=0, clock=clock or Clock())


def started(image, stage="install"):
    return StageStarted(image, stage, "d", Why("first_build"))


def built(image, stage="install"):
    result = StageResult(image, stage, "d", "n", "r:t", "sha256:1", "sha256:2", 1, -1, 0, "", "built", None, 1.0)
    return StageBuilt(result)


@pytest.mark.parametrize("colors", [False, True])
def test_a_line_a_running_stage(terminal, colors):
    clock = Clock()
    view = view_of(terminal, clock, colors=colors)
    view(started("web"))
    view(started(""))
    assert terminal.lines() == ["web/install 0s", "~/install 0s"]
    view(StageLog("web", "install", "stdout", b"compiling\n\n"))
    view(StageLog("", "install", "stderr", b"\x1b[32m10%\x1b[K\r20%"))
    clock.now = 62
    view.tick()
    assert terminal.lines() == ["web/install 1m02s compiling", "~/install 1m02s 20%"]
    view(StageWaits("web", "install", "lock", "ci-7"))
    assert terminal.lines()[0] == "web/install 1m02s waits for ci-7 to sa…"
    view(built("web"))
    lines = terminal.lines()
    assert lines[0] == "Built stage web/install (1.00 seconds)"
    assert lines[-1] == "~/install 1m02s 20%"
    view.close()
    assert terminal.lines()[-1] == ""
    assert not any("20%" in line for line in terminal.lines())


def test_finished_things_scroll_above(terminal):
    view = view_of(terminal)
    view(started("web"))
    for number in range(30):
        view(Warned(str(number)))
        view.tick()
    assert terminal.lines() == [*(f"Warning: {number}" for number in range(30)), "web/install 0s"]


def test_more_stages_than_rows(terminal):
    view = view_of(terminal)
    for number in range(30):
        view(started(f"image{number}"))
        view.tick()
    lines = terminal.lines()
    assert lines == [*(f"image{number}/install 0s" for number in range(8)), "… and 22 more"]
    for number in range(30):
        view(ImageFailed(Failure(f"image{number}", "install", "x", "broke")))
    assert sum(line.startswith("Failed image") for line in terminal.lines()) == 30
    assert not any(line.endswith("0s") for line in terminal.lines())


def test_verbose_logs_scroll(terminal):
    view = view_of(terminal, verbose=True)
    view(started("web"))
    view(StageLog("web", "install", "stdout", b"one\ntwo\nthr"))
    view.tick()
    assert terminal.lines() == [
        "Building stage web/install (first build)",
        "web/install | one",
        "web/install | two",
        "web/install 0s thr",
    ]
    view(built("web"))
    assert "web/install | thr" in terminal.lines()


@pytest.mark.parametrize("columns", [1, 2, 3, 10, 14])
def test_small_widths(columns):
    terminal = Terminal(columns, 5)
    view = view_of(terminal)
    for image in ("web", "ma\u0308nner", "\u6f22\u5b57"):
        view(started(image))
        view(StageLog(image, "install", "stdout", "\u6f22\u5b57 log\n".encode()))
        view.tick()
    assert len(terminal.lines()) == 3
    assert all(cells(line) < columns for line in terminal.lines())
    view.close()
    assert terminal.lines() == [""]
    terminal.close()


def test_a_resize_while_stages_run(terminal):
    view = view_of(terminal)
    for image in ("web", "api", "db"):
        view(started(image))
        view(StageLog(image, "install", "stdout", b"x" * 200 + b"\n"))
    for columns, rows in [(20, 10), (200, 50), (5, 2), (80, 24)]:
        terminal.resize(columns, rows)
        view.tick()
        view(Warned("w"))
        view.tick()
        live = terminal.lines()[-min(3, rows - 1) :]
        assert all(cells(line) < columns for line in live)
    lines = terminal.lines()
    assert [line for line in lines if line == "Warning: w"]
    assert [line.split()[0] for line in lines[-3:]] == ["web/install", "api/install", "db/install"]
    view(Finished(BuildResult("p", "c", "", "docker", "linux/amd64", (), 1.0)))
    view.close()
    assert not any("install" in line for line in terminal.lines()[-2:])


def test_the_thread_draws_and_ends(terminal):
    drawn = threading.Event()
    lines = []

    class Probe(Output):
        def write(self, text):
            lines.append(text)
            if len(lines) > 3:
                drawn.set()

    view = TerminalView(Probe(terminal.stream), Look(), tick_s=0.001)
    view(started("web"))
    assert drawn.wait(30)
    view.close()
    view.close()
    after = len(lines)
    view.tick()
    assert len(lines) == after
    assert not any(thread.name == "terminal-ticker" and thread.is_alive() for thread in threading.enumerate())


def test_size_of_what_is_no_terminal(terminal):
    assert terminal_size(terminal.slave) == (40, 10)
    terminal.resize(0, 0)
    assert terminal_size(terminal.slave) == (80, 24)
    read, write = os.pipe()
    assert terminal_size(read) == terminal_size(-1) == (80, 24)
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (90_000, "25h00m")]
)
def test_elapsed(seconds, text):
    assert elapsed_text(seconds) == text


@pytest.mark.parametrize(
    ("text", "columns", "cut"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "abcd…"),
        ("\u6f22\u5b57", 4, "\u6f22\u5b57"),
        ("\u6f22\u5b57", 3, "\u6f22…"),
        ("a\u0308b", 2, "a\u0308b"),
        ("abc", 1, "…"),
        ("abc", 0, ""),
        ("", 0, ""),
    ],
)
def test_cut(text, columns, cut):
    assert cut_to_width(text, columns) == cut


@given(st.text(max_size=50), st.integers(0, 60))
def test_cut_is_a_beginning(text, columns):
    cut = cut_to_width(text, columns)
    assert text.startswith(cut.removesuffix("…")) or cut == text
