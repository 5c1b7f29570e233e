"""The live view of a terminal: what is finished scrolls up as lines, below it stands one line for each running stage.

The live lines are erased by moving up as many lines as were drawn. Where a terminal that became narrower has wrapped them,
remains of them may stay; going further up could erase finished lines on terminals that cut instead of wrapping.
"""

from __future__ import annotations

import os
import threading
import time
import unicodedata
from collections.abc import Callable

from msgspec import Struct

from conveyor.events.api import Event, Finished, ImageFailed, StageBuilt, StageLog, StageStarted, StageWaits
from conveyor.events.lines import strip_control
from conveyor.events.output import Output
from conveyor.events.plain import StageKey, StageLogs, ended_lines, key_of
from conveyor.events.text import Look, event_lines, stage_label

TICK_S = 0.2

Size = Callable[[], tuple[int, int]]


class _Running(Struct):
    started_s: float
    last_line: str = ""
    waits_for: str = ""


class TerminalView:
    """A `Reporter` for a terminal. With `look.verbose` the lines of stages' logs scroll too.

    `tick_s` 0: no thread, the live lines are drawn again by events and `tick` only. `size` gives columns and rows.
    """

    def __init__(
        self,
        output: Output,
        look: Look,
        *,
        tick_s: float = TICK_S,
        clock: Callable[[], float] = time.monotonic,
        size: Size | None = None,
    ) -> None:
        self._output = output
        self._look = look
        self._clock = clock
        self._size = size or (lambda: terminal_size(output.fd))
        self._logs = StageLogs(colors=look.colors)
        self._running: dict[StageKey, _Running] = {}
        self._drawn = 0  # live lines on the screen; the cursor is at the end of the last
        self._tick_s = tick_s
        self._changed = threading.Condition()
        self._ticker: threading.Thread | None = None
        self._closed = False

    def __call__(self, event: Event) -> None:
        """Show the event."""
        with self._changed:
            if isinstance(event, StageLog):
                self._log(event)
                return
            lines = ended_lines(self._logs, event)
            if not self._look.verbose:
                lines = []
            if not self._note(event):
                lines += event_lines(event, self._look)
            self._draw(lines)
            if isinstance(event, StageStarted):
                self._wake_ticker()

    def tick(self) -> None:
        """Draw the live lines again, with the time that has passed."""
        with self._changed:
            if self._running and not self._closed:
                self._draw([])

    def close(self) -> None:
        """Erase the live lines and end the thread."""
        with self._changed:
            lines = self._logs.flush_all()
            self._running.clear()
            self._draw(lines if self._look.verbose else [])
            self._closed = True
            self._changed.notify_all()
            ticker = self._ticker
        if ticker is not None and ticker is not threading.current_thread():
            ticker.join(timeout=1)

    def _note(self, event: Event) -> bool:
        """Keep account of what runs; whether the live lines tell the event, so that nothing needs to scroll."""
        match event:
            case StageStarted():
                self._running[key_of(event)] = _Running(self._clock())
                return not self._look.verbose
            case StageWaits():
                running = self._running.get(key_of(event))
                if running is not None:
                    running.waits_for = strip_control(event.owner) or "another build"
                return running is not None and not self._look.verbose
            case StageBuilt(result):
                self._running.pop(key_of(result), None)
            case ImageFailed(failure):
                self._running.pop(key_of(failure), None)
            case Finished():
                self._running.clear()
            case _:
                pass
        return False

    def _log(self, log: StageLog) -> None:
        lines = self._logs.feed(log)
        running = self._running.get(key_of(log))
        if running is not None:
            label = len(stage_label(*key_of(log))) + len(" | ")
            shown = [text for line in lines if (text := strip_control(line)[label:].strip())]
            running.last_line = shown[-1] if shown else running.last_line
        if lines and self._look.verbose:
            self._draw(lines)

    def _draw(self, lines: list[str]) -> None:
        """Replace the live lines by `lines`, which stay, and the live lines of now. One write."""
        text = ""
        if self._drawn:
            text = "\r" + (f"\x1b[{self._drawn - 1}A" if self._drawn > 1 else "") + "\x1b[J"
        text += "".join(line + "\n" for line in lines)
        live = [] if self._closed else self._live_lines()
        self._drawn = len(live)
        text += "\n".join(live)
        if text:
            self._output.write(text)

    def _live_lines(self) -> list[str]:
        columns, rows = self._size()
        room = max(rows - 1, 1)
        running = list(self._running.items())
        more = len(running) - room + 1 if len(running) > room else 0
        lines = [self._live_line(key, state, columns) for key, state in running[: len(running) - more]]
        if more:
            lines.append(cut_to_width(f"… and {more} more", columns - 1))
        return lines

    def _live_line(self, key: StageKey, state: _Running, columns: int) -> str:
        label = stage_label(*key)
        elapsed = elapsed_text(self._clock() - state.started_s)
        if state.waits_for:
            last = f"waits for {state.waits_for} to save it"
        else:
            last = strip_control(self._logs.partial(key)).strip() or state.last_line
        # One column stays free: a full line would make some terminals wrap.
        line = cut_to_width(f"{label} {elapsed} {last}".rstrip().expandtabs(1), columns - 1)
        if line.startswith(label):
            return self._look.yellow(label) + line[len(label) :]
        return line

    def _wake_ticker(self) -> None:
        self._changed.notify_all()
        if self._ticker is None and self._tick_s and not self._closed:
            self._ticker = threading.Thread(target=self._tick_on, name="terminal-ticker", daemon=True)
            self._ticker.start()

    def _tick_on(self) -> None:
        with self._changed:
            while not self._closed:
                self._changed.wait(self._tick_s if self._running else None)
                if self._running and not self._closed:
                    self._draw([])


def terminal_size(fd: int) -> tuple[int, int]:
    """Columns and rows of the terminal now; 80 and 24 where it does not say."""
    try:
        size = os.get_terminal_size(fd)
    except (OSError, ValueError):
        return 80, 24
    return size.columns or 80, size.lines or 24


def elapsed_text(seconds: float) -> str:
    """`12s`, `1m02s`, `1h02m`."""
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"


def cut_to_width(text: str, columns: int) -> str:
    """The beginning of a line, in no more than `columns` cells of a terminal; it ends with `…` if something is lost."""
    if text.isascii() and len(text) <= columns:
        return text
    if len(text) <= 4 * columns and _width(text) <= columns:
        return text
    kept = ""
    room = columns - 1
    for character in text:
        room -= _width(character)
        if room < 0:
            break
        kept += character
    return kept + "…" if columns > 0 else ""


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Me", "Mn")
        else 2 if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )  # fmt: skip
