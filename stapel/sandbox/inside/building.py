"""Filling a snapshot: a stream of files, a run of commands, or one after the other."""

from __future__ import annotations

import _socket
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from stapel.oci.directories import remove_tree
from stapel.sandbox.inside.drivers import EMPTY, LIST, VOLUME, Driver
from stapel.sandbox.inside.points import NoMountPoint
from stapel.sandbox.wire import receive

if TYPE_CHECKING:
    from stapel.oci.layer import Entry, LayerResult

OWN = b".conveyor"  # the place of our own mount points
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
        return {"status": 0} if owners or foreign else {"status": 0, **_told(driver.write(filling, lowers))}
    from stapel.sandbox.inside.running import run_commands

    own = not driver.holds(filling, lowers, OWN)
    script = run["script"]
    if script is not None:
        _put_script(filling + b"/fs", script)
    try:
        root = driver.enter(filling, lowers, run["stub"])
        outcome = run_commands(root, control, files[1:] if has_layer else files, run)
    finally:
        driver.leave()
    if own:  # nothing of ours is left in the image
        remove(filling + b"/fs/" + OWN)
    if outcome["status"] == 0 and run["wants_layer"]:
        outcome |= _told(driver.write(filling, lowers))
    return outcome


@cache
def _has_owners() -> bool:
    with open("/proc/self/uid_map") as file:
        return sum(1 for _ in file) > 1


def read_layer(snapshot: bytes, below: bytes, out_fd: int) -> dict[str, Any]:
    """Write the layer of a snapshot, of whichever driver, that was made on `below`; its diff id and size."""
    from stapel.oci.layer import write_layer

    with open(out_fd, "wb", closefd=False) as out:
        return _told(write_layer(_entries(snapshot, below), out))


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


def _told(written: LayerResult) -> dict[str, Any]:
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


def _put_script(root: bytes, script: bytes) -> None:
    """Put a script where the entrypoint looks for it. A link of the image is not followed."""
    tree = os.open(root, _DIRECTORY)
    try:
        with suppress(FileExistsError):
            os.mkdir(OWN, 0o755, dir_fd=tree)
        try:
            directory = os.open(OWN, _DIRECTORY | os.O_NOFOLLOW, dir_fd=tree)
        except NotADirectoryError:
            raise NoMountPoint(f"/{OWN.decode()} is no directory in the image, and build containers mount over it") from None
    finally:
        os.close(tree)
    try:
        with suppress(FileNotFoundError):
            os.unlink(b"script", dir_fd=directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(b"script", "wb", opener=lambda path, _: os.open(path, flags, 0o600, dir_fd=directory)) as file:
            file.write(script)
    finally:
        os.close(directory)
