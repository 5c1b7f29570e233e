"""Names in a storage: stages, and the records beside them.

    <digest>-<timestamp ms>-<8 hex>              a stage; the 8 are of its manifest digest or, without one, image id
    <digest>-<timestamp ms>-<8 hex>-rejected     the mark that this stage is broken
    import-<56 hex>-<56 hex>                     the digest of imported files, by what was imported

A name is written once; it is never given to other bytes. The name of a record is the whole record: reading records is
reading the list of names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_STAGE = re.compile(r"([0-9a-f]{56})-([0-9]{13})-([0-9a-f]{8})(-rejected)?", re.ASCII)
_IMPORT = re.compile(r"import-([0-9a-f]{56})-([0-9a-f]{56})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class StageName:
    """The name of a stored stage; ordered as selection orders: oldest first, ties by name."""

    timestamp_ms: int
    digest: str
    suffix: str

    def __str__(self) -> str:
        return f"{self.digest}-{self.timestamp_ms:013d}-{self.suffix}"


def parse_stage_name(text: str) -> tuple[StageName, bool] | None:
    """The stage that a name is about and whether it is the mark of rejection; None for any other name."""
    match = _STAGE.fullmatch(text)
    if match is None:
        return None
    digest, timestamp, suffix, rejected = match.groups()
    return StageName(int(timestamp), digest, suffix), rejected is not None


def stage_name(digest: str, timestamp_ms: int, image_digest: str) -> StageName:
    """The name of a new stage; `image_digest` is `sha256:...`."""
    return StageName(timestamp_ms, digest, image_digest.partition(":")[2][:8])


def rejection_name(name: StageName) -> str:
    """The record that says that a stage is broken."""
    return f"{name}-rejected"


def import_record_name(source: str, digest: str) -> str:
    """The record that says which files an import found: both are 56 hexadecimal digits."""
    return f"import-{source}-{digest}"


def parse_import_record(text: str) -> tuple[str, str] | None:
    """Source and digest of an import record; None for any other name."""
    match = _IMPORT.fullmatch(text)
    return (match[1], match[2]) if match else None
