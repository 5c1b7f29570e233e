"""Drivers: the ways to keep the files of layers in snapshots. They run in a worker.

`overlay` keeps what differs, an upper directory a layer. `btrfs` and `copy` keep the whole tree a layer, where overlays
are refused. A snapshot tells by itself which it is, so any driver reads any layer back; a tree is only built on and shown
by the driver that has made it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from stapel.oci.layer import LayerResult

EMPTY = b"0"  # a snapshot without files
POINT = b"../mnt"  # where trees are mounted; nothing else is, for a runner may still be about to begin there
ASIDE = b"../aside"  # where something is mounted for a moment
LIST = b"/entries"  # beside `fs`: the list of the layer of a whole tree
VOLUME = b"/volume"  # beside `fs`: a subvolume of btrfs
LARGE_BYTES = 8 << 20  # of a layer: one that is smaller is read again before others have begun to send it
AUTO = ("overlay", "btrfs", "copy")  # the first that works is used


class Driver(Protocol):
    """Snapshots and what is being filled are named relative to the working directory, the directory of snapshots.

    `lowers` are the `fs` of all layers of a chain, the uppermost first. One tree at a time is shown or written to.
    Errors are `OSError`; what they leave of a filling is thrown away by the caller.
    """

    @property
    def name(self) -> str:
        """`overlay`, `btrfs`, `copy`."""

    def read(self, lowers: Sequence[bytes]) -> int:
        """A descriptor of the root of the merged tree, to be read until `leave`."""

    def begin(self, filling: bytes, lowers: Sequence[bytes]) -> None:
        """Make `fs` of `filling`, for a layer on top of `lowers`."""

    def apply(
        self, stream: BinaryIO, filling: bytes, lowers: Sequence[bytes], *, owners: bool, planned: bool, listed: bool
    ) -> None:
        """Apply a layer (its tar) to what was begun. `BadLayer`.

        `planned`: all its places are known to be right, nothing below has to be looked at. `listed`: nobody else keeps the
        bytes, and they shall be the same when the layer is read back.
        """

    def holds(self, filling: bytes, lowers: Sequence[bytes], name: bytes) -> bool:
        """Whether anything stands at a name in the root of what was begun, or a layer below has said that nothing does."""

    def enter(self, filling: bytes, lowers: Sequence[bytes], stub: bytes) -> bytes:
        """Show the tree for commands, who write to it; where. Mount points of `stub` may be in it."""

    def leave(self) -> None:
        """Take away what `read` or `enter` shows, with all that is mounted on it."""

    def tidy(self) -> None:
        """Do what nobody has to wait for, while commands run."""

    def write(self, filling: bytes, lowers: Sequence[bytes], on_large: Callable[[], None] = lambda: None) -> LayerResult:
        """The layer that was made, once nothing writes to it any more. `LayerError`.

        `on_large` is called on the way where it is large, and another worker can read it (`building.send_layer`) already.
        """

    def close(self) -> None:
        """Remove what it has of its own on the disk."""


def make_driver(name: str, point: bytes, spare: bytes) -> Driver:
    """A driver that mounts at `point`, an empty directory, and has names that begin with `spare` for what is its own."""
    if name == "overlay":
        from stapel.sandbox.inside.merging import Overlays

        return Overlays(point, spare)
    if name == "btrfs":
        from stapel.sandbox.inside.btrfs import Subvolumes

        return Subvolumes(point)
    from stapel.sandbox.inside.copying import Copies

    return Copies(point)


def choose_driver(asked: str, point: bytes, filling: bytes, spare: bytes) -> Driver:
    """The driver of a name; `auto`: the first that works. `filling` is a place to try it in, and is removed."""
    if asked != "auto":
        return make_driver(asked, point, spare)
    for name in AUTO[:-1]:
        driver = make_driver(name, point, spare)
        with suppress(OSError):
            try_out(driver, filling)
            return driver
        driver.close()
    return make_driver(AUTO[-1], point, spare)


def try_out(driver: Driver, filling: bytes) -> None:
    """Begin, show and leave a tree without files. `OSError` where the driver does not work here."""
    from stapel.sandbox.inside.building import remove_snapshot

    os.makedirs(filling, exist_ok=True)
    try:
        driver.begin(filling, [])
        try:
            os.close(os.open(driver.enter(filling, [], EMPTY) + b"/x", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        finally:
            driver.leave()
    finally:
        remove_snapshot(filling)
