"""Notes as text for people, JSON, annotations of GitHub Actions, a code quality report of GitLab."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Literal

from conveyor.config.lint.notes import Note
from conveyor.config.naming import RENDERED
from conveyor.errors import Place, printable

LintFormat = Literal["text", "json", "github", "gitlab"]


def format_notes(notes: Sequence[Note], output: LintFormat) -> str:
    """The whole output, "" for no notes where the format has nothing to say of that.

    Annotations are about files of the repository: of a text that templates made the file alone is named.
    """
    match output:
        case "text":
            return "".join(map(_as_text, notes))
        case "json":
            return json.dumps(list(map(_as_object, notes)), indent=2, ensure_ascii=False) + "\n"
        case "github":
            return "".join(map(_as_annotation, notes))
        case "gitlab":
            return json.dumps(_as_report(notes), indent=2, ensure_ascii=False) + "\n"


def _as_text(note: Note) -> str:
    hint = f"    {note.hint}\n" if note.hint else ""
    return f"{printable(str(note.place))}: {note.severity}: {note.message} [{note.rule}]\n{hint}"


def _as_object(note: Note) -> dict[str, object]:
    return {
        "file": note.place.file,
        "line": note.place.line,
        "column": note.place.column,
        "severity": note.severity,
        "rule": note.rule,
        "message": note.message,
        "hint": note.hint,
    }


def _in_file(place: Place) -> Place:
    return Place(place.file.removesuffix(RENDERED)) if place.file.endswith(RENDERED) else place


def _as_annotation(note: Note) -> str:
    """A workflow command: `%`, line ends, and in properties `:` and `,`, are written as escapes."""
    place = _in_file(note.place)
    properties = {"file": place.file, "title": f"conveyor: {note.rule}"}
    if place.line:
        properties |= {"line": str(place.line), "col": str(place.column)}
    listed = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{note.severity} {listed}::{_data('. '.join(filter(None, (note.message, note.hint))))}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _as_report(notes: Sequence[Note]) -> list[dict[str, object]]:
    """A finding is known again by its fingerprint, which must not change when lines move: equal ones are counted."""
    seen: dict[tuple[str, str, str], int] = {}
    report: list[dict[str, object]] = []
    for note in notes:
        place = _in_file(note.place)
        same = (place.file, note.rule, note.message)
        seen[same] = seen.get(same, 0) + 1
        named = json.dumps([*same, seen[same]]).encode()
        report.append(
            {
                "description": note.message,
                "check_name": f"conveyor/{note.rule}",
                "fingerprint": hashlib.sha256(named).hexdigest()[:32],
                "severity": "major" if note.severity == "error" else "minor",
                "location": {"path": place.file, "lines": {"begin": max(place.line, 1)}},
            }
        )
    return report
