"""Filling a snapshot: a stream of files, a run of commands, or one after the other."""

from __future__ import annotations

import _socket
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from stapel.oci.directories import remove_tree
from stapel.sandbox.inside.drivers import EMPTY, LIST, VOLUME, Driver
from stapel.sandbox.wire import receive

if TYPE_CHECKING:
    from stapel.oci.layer import Entry, LayerResult
    from stapel.sandbox.inside.process import OnNext

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Abandoned(Exception):
    """Who gave the files has stopped before the last one."""


def build(
    driver: Driver,
    control: _socket.socket,
    files: Sequence[int],
    lowers: list[bytes],
    filling: bytes,
    has_layer: bool,
    foreign: bool,
    listed: bool,
    run: Mapping[str, Any] | None,
    on_next: OnNext,
) -> dict[str, Any]:
    """Fill `fs` of `filling` on top of `lowers`. A layer comes by `files[0]`; the other files are the run's.

    Of a layer that is not `foreign` all places are planned. One that is `listed` is read back as the bytes that came.
    """
    driver.begin(filling, lowers)
    owners = _has_owners()
    if has_layer:
        with open(files[0], "rb", closefd=False) as stream:
            driver.apply(stream, filling, lowers, owners=owners, planned=not foreign, listed=listed)
        (word, _), _ = receive(control)
        if word != "complete":
            raise Abandoned
    if run is None:
        # Without ids for them the owners are not those of the layer that was given, so it is another one.
        return {"status": 0} if owners or foreign else {"status": 0, **told(driver.write(filling, lowers))}
    from stapel.sandbox.inside.running import Commands

    commands = Commands(driver, filling, run, files[1:] if has_layer else files)
    try:
        commands.launch()
        commands.enter(lowers)
        commands.set_up()
        return commands.finish(control, on_next)
    finally:
        commands.end()


@cache
def _has_owners() -> bool:
    with open("/proc/self/uid_map") as file:
        return sum(1 for _ in file) > 1


def read_layer(snapshot: bytes, below: bytes, out_fd: int) -> dict[str, Any]:
    """Write the layer of a snapshot, of whichever driver, that was made on `below`; its diff id and size."""
    from stapel.oci.layer import write_layer

    with open(out_fd, "wb", closefd=False) as out:
        return told(write_layer(_entries(snapshot, below), out))


def send_layer(snapshot: bytes, below: bytes, pipe: int) -> None:
    """Write it into a pipe, for a reader who makes the digest."""
    from stapel.oci.layer import send_layer

    send_layer(_entries(snapshot, below), pipe)


def _entries(snapshot: bytes, below: bytes) -> Iterator[Entry]:
    listing = snapshot.removesuffix(b"/fs") + LIST
    if os.path.exists(listing):
        from stapel.sandbox.inside.listing import listed_layer

        return listed_layer(listing, snapshot)
    from stapel.sandbox.inside.merging import upper_layer

    return upper_layer(snapshot, below or EMPTY)


def find_unlisted(snapshot: bytes, below: bytes) -> bytes:
    """A path of a whole tree that is not as below, and not by its layer; b"": none, or the snapshot has no list."""
    try:
        with open(snapshot.removesuffix(b"/fs") + LIST, "rb") as listing:
            from stapel.sandbox.inside import listing as lists

            return lists.find_unlisted(listing, below or EMPTY, snapshot)
    except FileNotFoundError:
        return b""


def told(written: LayerResult) -> dict[str, Any]:
    """A layer as an answer has it."""
    return {"diff_id": written.diff_id, "size_bytes": written.size_bytes, "crc32": written.crc32}


def remove_snapshot(path: bytes) -> None:
    """Remove a snapshot, or what was filled to become one."""
    if os.path.lexists(path + VOLUME):
        from stapel.sandbox.inside.btrfs import remove_subvolume

        remove_subvolume(path)
    remove(path)


def remove(path: bytes) -> None:
    """Remove what stands at a path; nothing there is fine."""
    parent, _, name = path.rpartition(b"/")
    directory = os.open(parent or b".", _DIRECTORY)
    try:
        remove_tree(directory, name)
    except FileNotFoundError:
        pass
    finally:
        os.close(directory)
