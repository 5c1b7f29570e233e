"""Plain lines, for logs of CI systems and files: each line of a stage's log carries its image and stage."""

from __future__ import annotations

import threading

from conveyor.build.results import Failure, StageResult
from conveyor.events.api import Event, Finished, ImageFailed, StageBuilt, StageLog, StageStarted, StageWaits
from conveyor.events.lines import LineBuffer, strip_control
from conveyor.events.output import Output
from conveyor.events.text import Look, event_lines, stage_label

StageKey = tuple[str, str, str]  # image, stage, platform


def key_of(value: StageStarted | StageLog | StageWaits | StageResult | Failure) -> StageKey:
    """What tells a stage from all others of a run."""
    return value.image, value.stage, value.platform


class StageLogs:
    """Lines of the logs of many stages, each with the label of its stage. Not thread-safe."""

    __slots__ = ("_buffers", "_colors")

    def __init__(self, *, colors: bool) -> None:
        self._buffers: dict[tuple[StageKey, str], LineBuffer] = {}
        self._colors = colors

    def feed(self, log: StageLog) -> list[str]:
        """The lines that a piece of a log completes."""
        key = key_of(log)
        return self._labelled(key, self._buffers.setdefault((key, log.stream), LineBuffer()).feed(log.data))

    def flush(self, key: StageKey) -> list[str]:
        """The unfinished lines of a stage that ended."""
        lines: list[str] = []
        for stream in ("stdout", "stderr"):
            if buffer := self._buffers.pop((key, stream), None):
                lines += self._labelled(key, buffer.flush())
        return lines

    def flush_all(self) -> list[str]:
        """The unfinished lines of all stages."""
        return [line for key, _ in list(self._buffers) for line in self.flush(key)]

    def partial(self, key: StageKey) -> str:
        """An unfinished line of a stage, without its label; "" where there is none."""
        for stream in ("stderr", "stdout"):
            if (buffer := self._buffers.get((key, stream))) and (text := buffer.partial()):
                return text
        return ""

    def _labelled(self, key: StageKey, lines: list[str]) -> list[str]:
        label = stage_label(*key)
        return [f"{label} | {strip_control(line, keep_colors=self._colors)}".rstrip() for line in lines]


def ended_lines(logs: StageLogs, event: Event) -> list[str]:
    """The unfinished log lines that must be shown before an event that ends their stage."""
    match event:
        case StageBuilt(result):
            return logs.flush(key_of(result))
        case ImageFailed(failure):
            return logs.flush(key_of(failure))
        case Finished():
            return logs.flush_all()
        case _:
            return []


class PlainView:
    """A `Reporter` that writes every event as lines that stay."""

    def __init__(self, output: Output, look: Look) -> None:
        self._output = output
        self._look = look
        self._logs = StageLogs(colors=look.colors)
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Write the event."""
        with self._lock:
            if isinstance(event, StageLog):
                self._write(self._logs.feed(event))
            else:
                self._write(ended_lines(self._logs, event) + event_lines(event, self._look))

    def close(self) -> None:
        """Write unfinished log lines."""
        with self._lock:
            self._write(self._logs.flush_all())

    def _write(self, lines: list[str]) -> None:
        if lines:
            self._output.write("".join(line + "\n" for line in lines))
