"""Names in a storage: stages, and the records beside them.

    <digest>-<timestamp ms>-<8 hex>                  a stage; the 8 are of its manifest digest or, without one, image id
    <stage>-rejected, <stage>-rejected-<n>           the mark that this stage is broken
    <stage>-unrejected, <stage>-unrejected-<n>       the n-th of these marks counts no more
    <stage>-copied-<16 hex>                          a copy of this stage has this digest or image id here
    import-<56 hex>-<56 hex>                         the digest of imported files, by what was imported
    managed-image-<image>                            the project has, or had, this image
    meta-<12 hex>_<commit>_<short stage>             this stage was the image at this commit; the 12 are of its name
    index-<56 hex>                                   an image of several platforms; the 56 are of its stages' names
    custom-tag-<short stage>_<tag>                   the stage was given this tag; a long one is shortened to a digest

A short stage is its name with 16 digits of its digest. A name is written once; it is never given to other bytes. The name
of a record is the whole record: reading records is reading the list of names. Records are only added, readers take all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from msgspec import Struct

from conveyor.keys.key import hash_value

LATEST_MS = 9_999_999_999_999  # in the year 2286; a name has 13 digits for it

_STAGE = re.compile(r"([0-9a-f]{56})-([0-9]{13})-([0-9a-f]{8})", re.ASCII)
_STAGE_CHARACTERS = 56 + 1 + 13 + 1 + 8
# Compiled when one is met, which is told by how it begins: most names are those of stages.
_MARK = r"-(un)?rejected(?:-([1-9][0-9]{0,8}))?"
_COPY = r"-copied-([0-9a-f]{16})"
_SHORT_TEXT = r"[0-9a-f]{16}-[0-9]{13}-[0-9a-f]{8}"
_RECORDS = {
    "managed-image-": r"[A-Za-z0-9_.-]+",
    "meta-": rf"[0-9a-f]{{12}}_[0-9a-f]{{40,64}}_{_SHORT_TEXT}",
    "custom-tag-": rf"{_SHORT_TEXT}_[A-Za-z0-9_.-]+",
}
_LONGEST = 128
_INDEX = r"index-[0-9a-f]{56}"
_IMPORT = r"import-([0-9a-f]{56})-([0-9a-f]{56})"


class StageName(Struct, frozen=True, order=True):
    """The name of a stored stage; ordered as selection orders: oldest first, ties by name."""

    timestamp_ms: int
    digest: str
    suffix: str

    def __str__(self) -> str:
        return f"{self.digest}-{self.timestamp_ms:013d}-{self.suffix}"


class Mark(Struct, frozen=True):
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
    match = _match_behind_stage(_MARK, ("-rejected", "-unrejected"), text)
    return Mark(text[:_STAGE_CHARACTERS], int(match[2] or 1), match[1] is not None) if match else None


def import_record_name(source: str, digest: str) -> str:
    """The record that says which files an import found: both are 56 hexadecimal digits."""
    return f"import-{source}-{digest}"


def parse_import_record(text: str) -> tuple[str, str] | None:
    """Source and digest of an import record; None for any other name."""
    match = re.fullmatch(_IMPORT, text) if text.startswith("import-") else None
    return (match[1], match[2]) if match else None


def copy_record_name(stage: StageName, digest: str) -> str:
    """The record that a copy of a stage, whose name has digits of another store's digest, has this digest or image id."""
    return f"{stage}-copied-{digest.partition(':')[2][:16]}"


def parse_copy_record(text: str) -> tuple[str, str] | None:
    """The stage's name and the 16 digits of a record of a copy; None for any other name."""
    match = _match_behind_stage(_COPY, ("-copied-",), text)
    return (text[:_STAGE_CHARACTERS], match[1]) if match else None


def managed_image_name(image: str) -> str:
    """The record that a project has an image; scripts know this form of the names from werf."""
    plain = image.replace(" ", "__space__").replace("/", "__slash__").replace("+", "__plus__") or "__nameless__"
    text = f"managed-image-{plain}"
    if len(text) <= _LONGEST and is_record_of_build(text):
        return text
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", plain)[:80]
    return f"managed-image-{readable}-{hash_value(image)[:12]}"


def commit_record_name(image: str, commit: str, stage: StageName) -> str:
    """The record that a stage was the whole of an image at a commit."""
    return f"meta-{hash_value(image)[:12]}_{commit}_{_short(stage)}"


def custom_tag_record_name(stage: StageName, tag: str) -> str:
    """The record that a stage was given a tag."""
    text = f"custom-tag-{_short(stage)}_{tag}"
    return text if len(text) <= _LONGEST else f"custom-tag-{_short(stage)}_{hash_value(tag)}"


def index_name(stages: Mapping[str, str]) -> str:
    """The name of the index over these stages, which are the images of a platform each. Equal stages give one name."""
    return f"index-{hash_value(stages)}"


def is_index_name(text: str) -> bool:
    """Whether a name is that of an index."""
    return text.startswith("index-") and re.fullmatch(_INDEX, text) is not None


def is_record_of_build(text: str) -> bool:
    """Whether a name is a record of an image, of a commit or of a custom tag."""
    return any(
        text.startswith(begin) and re.fullmatch(rest, text[len(begin) :]) is not None for begin, rest in _RECORDS.items()
    )


def is_record_of_stage(text: str, stages: Collection[StageName]) -> bool:
    """Whether a record speaks of one of these stages, or of no stage in particular."""
    mark = parse_mark(text)
    if mark is not None:
        return parse_stage_name(mark.stage) in stages
    if text.startswith(("meta-", "custom-tag-")) and is_record_of_build(text):
        return any(_short(stage) in text for stage in stages)
    return True


def is_own_name(text: str) -> bool:
    """Whether a name has a form that conveyor gives: of a stage, of an index, or of a record."""
    parsers = (parse_stage_name, parse_mark, parse_copy_record, parse_import_record)
    return is_record_of_build(text) or is_index_name(text) or any(parse(text) is not None for parse in parsers)


def _short(stage: StageName) -> str:
    return str(StageName(stage.timestamp_ms, stage.digest[:16], stage.suffix))


def _match_behind_stage(pattern: str, begins: tuple[str, ...], text: str) -> re.Match[str] | None:
    """What a pattern, which begins with one of these, finds behind the name of a stage."""
    behind = text[_STAGE_CHARACTERS:]
    if not behind.startswith(begins) or parse_stage_name(text[:_STAGE_CHARACTERS]) is None:
        return None
    return re.fullmatch(pattern, behind)
