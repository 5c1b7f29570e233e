"""The names of a store as one run knows them: what lists have said, and what the run has named itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from conveyor.storage.marks import Marks
from conveyor.storage.names import (
    StageName,
    is_record_of_build,
    parse_copy_record,
    parse_import_record,
    parse_mark,
    parse_stage_name,
)


class KnownNames:
    """See the module. Not thread-safe.

    `own`: stages that the run has named. `marks`, `imports` (digests by source), `copies` (suffixes by stage) and `records`
    are read from the names that are not of stages, which are `beside`, as they are.
    """

    def __init__(self) -> None:
        self.own: set[StageName] = set()
        self.marks = Marks()
        self.imports: dict[str, str] = {}
        self.copies: dict[str, set[str]] = {}
        self.records: set[str] = set()
        self.beside: set[str] = set()
        self._stages: dict[str, set[StageName]] = {}
        self._texts: set[str] = set()
        self._is_unsettled = False

    def of(self, digest: str) -> Collection[StageName]:
        """The stages of a digest."""
        return self._stages.get(digest, ())

    def stages(self) -> Iterator[StageName]:
        """All stages."""
        return (name for found in self._stages.values() for name in found)

    def name(self, stage: StageName) -> None:
        """Know a stage that the run has named itself."""
        self.own.add(stage)
        self._texts.add(str(stage))
        self._stages.setdefault(stage.digest, set()).add(stage)

    def add(self, names: Iterable[str]) -> None:
        """Know these too."""
        for text in names:
            self._texts.add(text)
            if (stage := parse_stage_name(text)) is not None:
                self._stages.setdefault(stage.digest, set()).add(stage)
                continue
            self.beside.add(text)
            if (mark := parse_mark(text)) is not None:
                self.marks.add(mark)
            elif (record := parse_import_record(text)) is not None:
                # Two records of one source can only come from a store that lies: the lesser is everybody's choice.
                source, digest = record
                self.imports[source] = min(digest, self.imports.get(source, digest))
            elif (copy := parse_copy_record(text)) is not None:
                self.copies.setdefault(copy[0], set()).add(copy[1])
            elif is_record_of_build(text):
                self.records.add(text)

    def replace_of(self, digest: str, listed: Collection[str]) -> None:
        """Know of a digest what a list of the names that begin with it says, and what the run has named."""
        # A list may lag behind writes: what this run has named itself is there whatever the list says.
        gone = [name for name in self.of(digest) if name not in self.own and str(name) not in listed]
        for name in gone:
            self._stages[digest].discard(name)
            self._texts.discard(str(name))
        new = [text for text in listed if text not in self._texts]
        self._is_unsettled = self._is_unsettled or bool(gone or new)
        self.add(new)

    def replace(self, listed: Collection[str]) -> bool:
        """Know what a list of all names says.

        False where nobody but this run has changed anything since the first list, so that what the run has selected in the
        meantime is what it would select now.
        """
        if not self._is_unsettled and self._texts == listed:
            return False
        self._stages, self._texts, self._is_unsettled = {}, set(), False
        self.add(listed)
        return True

    def unsettle(self) -> None:
        """What was selected by these names may not be what is selected by them now."""
        self._is_unsettled = True
