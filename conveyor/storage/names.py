"""Names in a storage: stages, and the records beside them.

    <digest>-<timestamp ms>-<8 hex>                  a stage; the 8 are of its manifest digest or, without one, image id
    <stage>-rejected, <stage>-rejected-<n>           the mark that this stage is broken
    <stage>-unrejected, <stage>-unrejected-<n>       the n-th of these marks counts no more
    import-<56 hex>-<56 hex>                         the digest of imported files, by what was imported

A name is written once; it is never given to other bytes. The name of a record is the whole record: reading records is
reading the list of names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_STAGE_TEXT = r"([0-9a-f]{56})-([0-9]{13})-([0-9a-f]{8})"
_STAGE = re.compile(_STAGE_TEXT, re.ASCII)
_MARK = re.compile(rf"({_STAGE_TEXT})-(un)?rejected(?:-([1-9][0-9]{{0,8}}))?", re.ASCII)
_IMPORT = re.compile(r"import-([0-9a-f]{56})-([0-9a-f]{56})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class StageName:
    """The name of a stored stage; ordered as selection orders: oldest first, ties by name."""

    timestamp_ms: int
    digest: str
    suffix: str

    def __str__(self) -> str:
        return f"{self.digest}-{self.timestamp_ms:013d}-{self.suffix}"


@dataclass(frozen=True, slots=True)
class Mark:
    """The record that a stage is broken, or (`lifted`) that the mark of this `count` and those before count no more."""

    stage: str
    count: int
    lifted: bool

    def __str__(self) -> str:
        word = "unrejected" if self.lifted else "rejected"
        return f"{self.stage}-{word}" + (f"-{self.count}" if self.count > 1 else "")


def parse_stage_name(text: str) -> StageName | None:
    """The stage of a name; None for any other name, marks included."""
    match = _STAGE.fullmatch(text)
    return StageName(int(match[2]), match[1], match[3]) if match else None


def stage_name(digest: str, timestamp_ms: int, image_digest: str) -> StageName:
    """The name of a new stage; `image_digest` is `sha256:...`."""
    return StageName(timestamp_ms, digest, image_digest.partition(":")[2][:8])


def parse_mark(text: str) -> Mark | None:
    """The mark of a name; None for any other name."""
    match = _MARK.fullmatch(text)
    return Mark(match[1], int(match[6] or 1), match[5] is not None) if match else None


def import_record_name(source: str, digest: str) -> str:
    """The record that says which files an import found: both are 56 hexadecimal digits."""
    return f"import-{source}-{digest}"


def parse_import_record(text: str) -> tuple[str, str] | None:
    """Source and digest of an import record; None for any other name."""
    match = _IMPORT.fullmatch(text)
    return (match[1], match[2]) if match else None


def is_own_name(text: str) -> bool:
    """Whether a name has a form that conveyor gives: of a stage, or of a record."""
    return any(parse(text) is not None for parse in (parse_stage_name, parse_mark, parse_import_record))
