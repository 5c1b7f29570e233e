"""Filling a snapshot: a stream of files, a run of commands, or one after the other."""

from __future__ import annotations

import _socket
import os
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from stapel.oci.diff import RootMetadata, diff_upper
from stapel.oci.directories import remove_tree
from stapel.oci.layer import write_layer
from stapel.sandbox.inside.merging import EMPTY, Merged
from stapel.sandbox.wire import receive

OWN = b".conveyor"  # the place of our own mount points


class Abandoned(Exception):
    """Who gave the files has stopped before the last one."""


def build(
    merged: Merged,
    control: _socket.socket,
    files: Sequence[int],
    lowers: list[bytes],
    filling: bytes,
    has_layer: bool,
    foreign: bool,
    run: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Fill `fs` of `filling` on top of `lowers`. A layer comes by `files[0]`; the other files are the run's.

    Of a layer that is not `foreign` all places are planned: nothing below has to be looked at.
    """
    upper = filling + b"/fs"
    below = lowers[0] if lowers else EMPTY
    _make_upper(upper, below)
    if has_layer:
        _apply(merged, files[0], upper, lowers if foreign else None)
        (word, _), _ = receive(control)
        if word != "complete":
            raise Abandoned
    if run is None:
        # Without ids for them the owners are not those of the layer that was given, so it is another one.
        return {"status": 0} if _has_owners() or foreign else {"status": 0, **_written(upper, below)}
    from stapel.sandbox.inside.running import run_commands

    own = not any(os.path.lexists(below + b"/" + OWN) for below in (upper, *lowers))
    os.mkdir(filling + b"/work")
    script = run["script"]
    if script is not None:
        _put_script(upper, script)
    merged.write([*lowers, run["stub"]], filling)
    try:
        outcome = run_commands(merged.point, control, files[1:] if has_layer else files, run)
    finally:
        merged.unmount()
        remove(filling + b"/work")
    if own:  # nothing of ours is left in the image
        remove(upper + b"/" + OWN)
    if outcome["status"] == 0 and run["wants_layer"]:
        outcome |= _written(upper, below)
    return outcome


def _has_owners() -> bool:
    with open("/proc/self/uid_map") as file:
        return sum(1 for _ in file) > 1


def _written(upper: bytes, below: bytes) -> dict[str, Any]:
    with open(os.devnull, "wb") as nowhere:
        return _write(upper, below, nowhere)


def _apply(merged: Merged, stream_fd: int, upper: bytes, lowers: list[bytes] | None) -> None:
    from stapel.oci.apply import Form, apply_layer
    from stapel.oci.overlay import OverlayLayers

    owners = _has_owners()
    root = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with open(stream_fd, "rb", closefd=False) as stream:
            if lowers is None:
                apply_layer(stream, root, Form(overlay="user.", devices="placeholder", owners=owners))
                return
            below = merged.read(lowers)
            try:
                tree = OverlayLayers([below])
                apply_layer(stream, root, Form(overlay="user.", below=tree, devices="placeholder", owners=owners))
            finally:
                os.close(below)
                merged.unmount()
    finally:
        os.close(root)


def write_snapshot(snapshot: bytes, below: bytes, out_fd: int) -> dict[str, Any]:
    """Write the layer of a snapshot that was made on `below`; its diff id and size."""
    with open(out_fd, "wb", closefd=False) as out:
        return _write(snapshot, below or EMPTY, out)


def _write(upper: bytes, below: bytes, out: BinaryIO) -> dict[str, Any]:
    status = os.stat(below)
    before = RootMetadata(status.st_mode & 0o7777, status.st_uid, status.st_gid)
    directory = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        written = write_layer(diff_upper(directory, root=before), out)
    finally:
        os.close(directory)
    return {"diff_id": written.diff_id, "size_bytes": written.size_bytes}


def remove(path: bytes) -> None:
    """Remove what stands at a path; nothing there is fine."""
    parent, _, name = path.rpartition(b"/")
    directory = os.open(parent or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_tree(directory, name)
    except FileNotFoundError:
        pass
    finally:
        os.close(directory)


def _make_upper(upper: bytes, below: bytes) -> None:
    """The root of a merged tree has what the uppermost directory has, so that begins as a copy of the next one's."""
    status = os.stat(below)
    os.mkdir(upper)
    os.chown(upper, status.st_uid, status.st_gid)
    os.chmod(upper, status.st_mode & 0o7777)
    os.utime(upper, ns=(status.st_atime_ns, status.st_mtime_ns))


def _put_script(upper: bytes, script: bytes) -> None:
    directory = upper + b"/" + OWN
    os.makedirs(directory, 0o755, exist_ok=True)
    with open(directory + b"/script", "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(script)
