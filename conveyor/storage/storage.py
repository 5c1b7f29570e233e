"""A place where stages live: an image store, read as stages and records.

`Storage` adds to `stapel.oci.api.ImageStore` what names mean: candidates of a digest, marks of rejection, records of
imports. Descriptions of named images never change, so they are kept: those of a registry in the home directory too.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from sys import audit as trace
from typing import Literal, TypeAlias

from conveyor.keys.key import hash_value
from conveyor.storage.descriptions import Descriptions
from conveyor.storage.facts import Facts, parse_facts
from conveyor.storage.known import KnownNames
from conveyor.storage.lists import list_caught_up
from conveyor.storage.names import (
    Mark,
    StageName,
    copy_record_name,
    import_record_name,
    is_index_name,
    is_own_name,
    parse_stage_name,
)
from conveyor.storage.notes import Predecessors, Seen
from conveyor.storage.selection import StoredStage, believe
from stapel.errors import Broken, NotFound, Refused, StapelError, Unreachable
from stapel.oci.api import Descriptor, ImageStore

Role: TypeAlias = Literal["primary", "secondary", "final"]

READ_AT_ONCE = 16
SKEW_TOLD_MS = 5_000


class Storage:
    """The stages of one store. Thread-safe. Errors of the store pass through (`Unreachable`)."""

    def __init__(
        self, store: ImageStore, role: Role, *, memory: Path, describes_at_once: bool, warn: Callable[[str], None]
    ) -> None:
        """`memory`: a directory where descriptions are kept between runs.

        `describes_at_once`: the store's list holds the descriptions; then only names are kept.
        """
        self.store = store
        self.role: Role = role
        remembered = memory / hash_value(store.address)[:16]
        self._descriptions = Descriptions(remembered)
        self._predecessors = Predecessors(remembered / "latest")
        self._seen = Seen(remembered / "seen")
        self._describes_at_once = describes_at_once
        self._warn = warn
        self._lock = threading.Lock()
        self._known = KnownNames()
        self._is_listed = False
        self._refused: set[str] = set()  # broken, and rejected for this run alone as long as no mark says so
        self._broken: dict[StageName, Broken] = {}
        self._suspected: set[str] = set()
        self._is_read_only = False
        self._is_lost = False
        self._told_of_skew = False
        self._no_list: Unreachable | None = None
        self._described: dict[StageName, StoredStage | None] = {}
        self._gone: set[StageName] = set()

    @property
    def address(self) -> str:
        """The store's address."""
        return self.store.address

    def reference(self, stage: StoredStage) -> str:
        """How a person names the image of a stage."""
        return self.store.reference(str(stage.name))

    def load(self) -> None:
        """Read the list of names where this run has not; everything else asks for it by itself."""
        with self._lock:
            if self._is_listed:
                return
            if self._no_list is not None:
                raise self._no_list
            try:
                names = list(self.store.names())
            except Unreachable as error:
                # A secondary is asked once a run: those who wait here must not each wait for it anew.
                self._no_list = error if self.role == "secondary" else None
                raise
            self._known.add(names)
            self._is_listed = True

    @property
    def is_lost(self) -> bool:
        """Whether it was given up for this run: a secondary that cannot be asked."""
        return self._is_lost

    def lose(self, error: Unreachable) -> None:
        """Give a secondary up for this run, with one warning."""
        with self._lock:
            told, self._is_lost = self._is_lost, True
        if not told:
            self._warn(f"{self.address} cannot be asked, so nothing is taken from there in this run: {error}")

    def answers(self) -> bool:
        """Whether it can be asked now; where it cannot it is given up."""
        try:
            self.reload()
        except Unreachable as error:
            self.lose(error)
        return not self._is_lost

    def reload(self) -> bool:
        """Read the list of names again, and again where it lags behind what this run has named.

        Whether something else may be selected by it than was selected before (`KnownNames.replace`).
        """
        with self._lock:
            own = {str(name): name for name in self._known.own}
        names, gone = list_caught_up(self.store, own, self._warn)
        with self._lock:
            self._known.own.difference_update(own[text] for text in gone)
            self._is_listed = True
            return self._known.replace(names)

    def candidates(self, digest: str, *, fresh: bool = False) -> tuple[StoredStage, ...]:
        """The stored stages of a digest, in no order, those that cannot be believed left out.

        `fresh`: by a list that is asked for after this call.
        """
        self.load()
        if fresh:
            self.refresh(digest)
        with self._lock:
            found = [name for name in self._known.of(digest) if name not in self._gone]
        return tuple(stage for stage in self.describe(found) if stage is not None)

    def refresh(self, digest: str) -> None:
        """Read the names that begin with a digest again, by a list that is asked for after this call."""
        self.load()
        names = frozenset(self.store.names(fresh=True, prefix=digest))
        with self._lock:
            self._known.replace_of(digest, names)

    def describe(self, names: Sequence[StageName]) -> list[StoredStage | None]:
        """Each stage with its description, None where it is gone or not to be believed."""
        missing = [name for name in names if name not in self._described]
        if len(missing) > 1 and not self._describes_at_once:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(min(READ_AT_ONCE, len(missing)), "describe") as pool:
                read = list(pool.map(self._describe, missing))
        else:
            read = [self._describe(name) for name in missing]
        with self._lock:
            self._described.update(zip(missing, read, strict=True))
            return [self._described[name] for name in names]

    def all_stages(self) -> tuple[StageName, ...]:
        """The names of all stages, newest first."""
        self.load()
        with self._lock:
            return tuple(sorted(self._known.stages(), reverse=True))

    def was_stored(self, digest: str) -> bool:
        """Whether a stage of this digest, gone from the list now, was once read or named from this home."""
        return self._seen.has(digest) if self._describes_at_once else self._descriptions.has(digest)

    def newest_ms(self, digest: str) -> int:
        """The latest timestamp among all names of a digest, 0 where there is none."""
        with self._lock:
            return max((name.timestamp_ms for name in self._known.of(digest)), default=0)

    def predecessors(self, project: str, image: str, stage: str) -> Iterator[StoredStage]:
        """The latest stored stages of this stage of an image, newest first, as far as this home knows them.

        The newest is read alone: mostly it is enough.
        """
        self.load()
        noted = self._predecessors.names(project, image, stage)
        with self._lock:
            there = [name for name in noted if name in self._known.of(name.digest)]
        if not there and self._describes_at_once:
            there = list(self.all_stages())
        of = (project, image, stage)
        for names in (there[:1], there[1:]):
            for stored in self.describe(names):
                if stored is not None and (stored.facts.project, stored.facts.image, stored.facts.stage) == of:
                    yield stored

    def named(self, digests: Iterable[str]) -> Mapping[str, str] | None:
        """All names as far as this run knows them: stages of these digests with their images, and records with "".

        None where it knows that what the list says of these stages is not so. The images stand only where the store's list
        tells them.
        """
        with self._lock:
            found = [name for digest in digests for name in self._known.of(digest)]
            stages = [self._described.get(name) for name in found]
            if self._gone.intersection(found) or self._refused or None in stages:
                return None
            images = {str(stage.name): stage.description.image_id for stage in stages if stage is not None}
            return dict.fromkeys(self._known.beside, "") | (images if self._describes_at_once else dict.fromkeys(images, ""))

    def rejected(self) -> frozenset[str]:
        """Names of the stages that are marked as broken, here or in this run alone."""
        self.load()
        with self._lock:
            return self._known.marks.rejected() | self._refused

    def refuse(self, name: StageName) -> None:
        """Count a stage as rejected for the rest of this run, whatever the marks say."""
        with self._lock:
            self._refused.add(str(name))
            self._known.unsettle()

    def suspect(self, blob: str) -> None:
        """Note a blob that was found broken in this run: who puts it here again should look at it."""
        with self._lock:
            self._suspected.add(blob)

    def suspected(self) -> frozenset[str]:
        """The blobs that were found broken in this run."""
        with self._lock:
            return frozenset(self._suspected)

    def mark_rejected(self, name: StageName) -> None:
        """Mark a stage as broken, for everybody; call it under the lock of its digest, after a fresh list of that."""
        with self._lock:
            mark = self._known.marks.rejection(str(name))
        self._put_mark(mark)

    def mark_lifted(self, name: StageName) -> bool:
        """Take back that a stage is broken, as `mark_rejected`; False where nobody says that it is."""
        with self._lock:
            mark = self._known.marks.lift(str(name))
        self._put_mark(mark)
        return mark is not None

    def take_broken(self) -> tuple[tuple[StageName, Broken], ...]:
        """The stages that were found broken while they were described, each told once."""
        with self._lock:
            found, self._broken = tuple(self._broken.items()), {}
        return found

    def clock_skew_ms(self) -> int:
        """The store's clock minus ours; one warning where they differ by much."""
        skew_ms = self.store.clock_skew_ms()
        if abs(skew_ms) > SKEW_TOLD_MS:
            with self._lock:
                told, self._told_of_skew = self._told_of_skew, True
            if not told:
                direction = "behind" if skew_ms > 0 else "ahead of"
                self._warn(
                    f"the clock of this machine is {abs(skew_ms) / 1000:.0f} s {direction} that of {self.address}: "
                    "stages are named by the latter; set the clock, for commands and their files have the former"
                )
        return skew_ms

    def distrust(self, name: StageName) -> None:
        """Leave a stage out for the rest of this run: what its label says cannot be of the digest that it names."""
        with self._lock:
            self._gone.add(name)
            self._known.unsettle()
        self._warn(f"stage {name} in {self.address} is ignored: its label does not agree with its key")

    def forget(self, name: StageName) -> None:
        """Leave a stage out for the rest of this run: its image was found to be gone."""
        with self._lock:
            self._gone.add(name)
            self._known.unsettle()

    def add(self, name: StageName, image: Descriptor, renew: Callable[[], StageName] | None = None) -> None:
        """Give an image that is here by digest the name of a stage, or one of `renew` (see `ImageStore.name`).

        A copy whose digests are others than those of which the name has digits gets a record of them first.
        """
        if not self._fits(name, image):
            record = copy_record_name(name, image.digest)
            self.store.put_record(record)
            with self._lock:
                self._known.add([record])

        def again() -> str:
            nonlocal name
            name = renew() if renew is not None else name
            return str(name)

        self.store.name(str(name), image, renew=again)
        with self._lock:
            self._gone.discard(name)
            self._known.name(name)
        if self._describes_at_once:
            stored = self.describe([name])[0]
            if stored is not None:
                self._seen.note(name)
                self._note(stored)

    def import_digest(self, source: str) -> str | None:
        """The recorded digest of imported files, None where nobody has recorded it."""
        self.load()
        with self._lock:
            return self._known.imports.get(source)

    def record_import(self, source: str, digest: str) -> None:
        """Record the digest of imported files. A storage that refuses to be written to costs the next run work only."""
        self._put_record(import_record_name(source, digest), "the digest of an import")
        with self._lock:
            self._known.add([import_record_name(source, digest)])

    def record(self, name: str, what: str) -> None:
        """Write a record of a build where it is not there yet; that it cannot be written is a warning."""
        self.load()
        with self._lock:
            known = name in self._known.records
            self._known.add([name])
        if not known:
            self._put_record(name, what)

    def records(self) -> frozenset[str]:
        """The names of all records: marks, imports, copies, and those of builds."""
        return frozenset(
            name
            for name in self.store.names()
            if is_own_name(name) and parse_stage_name(name) is None and not is_index_name(name)
        )

    def _fits(self, name: StageName, image: Descriptor) -> bool:
        if image.digest.partition(":")[2].startswith(name.suffix):
            return True
        config = hashlib.sha256(self.store.get(image.digest).config.to_bytes()).hexdigest()
        return config.startswith(name.suffix)

    def _put_record(self, name: str, what: str) -> None:
        """Write what saves others work: that it cannot be written is a warning, one where nothing may be written at all."""
        with self._lock:
            if self._is_read_only:
                return
        trace("record.before-put")
        try:
            self.store.put_record(name)
            trace("record.after-put")
        except Refused as error:
            with self._lock:
                told, self._is_read_only = self._is_read_only, True
            if not told:
                self._warn(f"{self.address} may not be written to, so nothing is recorded there ({what}): {error}")
        except StapelError as error:
            self._warn(f"{what} could not be recorded in {self.address}: {error}")

    def _put_mark(self, mark: Mark | None) -> None:
        if mark is not None:
            trace("mark.before-put")
            self.store.put_record(str(mark))
            trace("mark.after-put")
            with self._lock:
                self._known.add([str(mark)])
                self._known.unsettle()

    def _describe(self, name: StageName) -> StoredStage | None:
        description = self._descriptions.recall(name) if not self._describes_at_once else None
        is_new = description is None and not self._describes_at_once
        if description is None:
            try:
                description = self.store.describe(str(name))
            except NotFound:
                return None
            except Broken as error:
                with self._lock:
                    self._broken[name] = error
                return None
            if is_new:
                self._descriptions.keep(name, description)
        facts: Facts | None = parse_facts(description.labels)
        if facts is None or not believe(name, description, facts, self._known.copies.get(str(name), ())):
            self._warn(f"stage {name} in {self.address} is ignored: its label does not agree with its name")
            return None
        stored = StoredStage(name, description, facts)
        if is_new:
            self._note(stored)
        return stored

    def _note(self, stored: StoredStage) -> None:
        self._predecessors.note(stored.facts.project, stored.facts.image, stored.facts.stage, stored.name)
