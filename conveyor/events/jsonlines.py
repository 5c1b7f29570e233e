"""JSON lines, for programs: one object an event. `docs/report.md` lists the events and their fields."""

from __future__ import annotations

import json
import re
import threading
import time
from typing import Any

from msgspec import Struct

from conveyor.build.results import BuildResult, Why
from conveyor.events.api import VERSION, Event, Finished, ImageFailed, StageBuilt, StageLog
from conveyor.events.output import Output
from conveyor.events.plain import StageKey, key_of


class JsonLinesView:
    """A `Reporter` that writes an object of ASCII on one line for each event, with `version`, `event` and `at_ms`."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._lock = threading.Lock()
        self._cut: dict[tuple[StageKey, str], bytes] = {}  # beginnings of characters that chunks cut in two

    def __call__(self, event: Event) -> None:
        """Write the event."""
        with self._lock:
            if isinstance(event, StageLog):
                self._log(event)
                return
            match event:
                case StageBuilt(result):
                    self._end_logs(key_of(result))
                case ImageFailed(failure):
                    self._end_logs(key_of(failure))
                case Finished():
                    self._end_logs()
                case _:
                    pass
            self._write(event_name(event), _fields(event))

    def close(self) -> None:
        """Write what is left of logs."""
        with self._lock:
            self._end_logs()

    def _log(self, log: StageLog) -> None:
        key = (key_of(log), log.stream)
        data = self._cut.pop(key, b"") + log.data
        try:
            data.decode()
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data":
                self._cut[key] = data[error.start :]
                data = data[: error.start]
        self._write_log(key, data)

    def _end_logs(self, ended: StageKey | None = None) -> None:
        for key in [key for key in self._cut if ended is None or key[0] == ended]:
            self._write_log(key, self._cut.pop(key))

    def _write_log(self, key: tuple[StageKey, str], data: bytes) -> None:
        if not data:
            return
        (image, stage, platform), stream = key
        values: dict[str, Any] = {"image": image, "stage": stage, "stream": stream, "text": data.decode("utf-8", "replace")}
        if platform:
            values["platform"] = platform
        try:
            data.decode()
        except UnicodeDecodeError:
            import base64

            values["base64"] = base64.b64encode(data).decode()
        self._write("stage_log", values)

    def _write(self, name: str, values: dict[str, Any]) -> None:
        head = {"version": VERSION, "event": name, "at_ms": time.time_ns() // 1_000_000}
        self._output.write(json.dumps(head | values, separators=(",", ":")) + "\n")


def event_name(event: Event) -> str:
    """The name of an event in JSON: `stage_built` for `StageBuilt`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(event).__name__).lower()


def _fields(value: object) -> dict[str, Any]:
    assert isinstance(value, Struct)
    document = {name: _json(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, BuildResult):
        document["ok"] = value.ok
    if isinstance(value, Why):
        document["text"] = str(value)
    return document


def _json(value: object) -> object:
    if isinstance(value, tuple):
        return [_json(element) for element in value]
    return _fields(value) if isinstance(value, Struct) else value
