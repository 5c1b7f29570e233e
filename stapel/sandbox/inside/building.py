"""Filling a snapshot: a stream of files, a run of commands, or one after the other."""

from __future__ import annotations

import _socket
import os
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, cast

from stapel.oci.layer import write_layer
from stapel.sandbox.inside.applying import apply_layer
from stapel.sandbox.inside.diffing import diff_upper
from stapel.sandbox.inside.merging import EMPTY, Merged
from stapel.sandbox.inside.removing import remove_tree
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
    run: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Fill `fs` of `filling` on top of `lowers`. A layer comes by `files[0]`; the other files are the run's."""
    upper = filling + b"/fs"
    _make_upper(upper, lowers[0] if lowers else EMPTY)
    if has_layer:
        with open(files[0], "rb", closefd=False) as stream:
            apply_layer(cast(BinaryIO, stream), upper, lowest=not lowers)
        (word, _), _ = receive(control)
        if word != "complete":
            raise Abandoned
    if run is None:
        return {"status": 0}
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
        remove_tree(filling + b"/work")
    if own:  # nothing of ours is left in the image
        remove_tree(upper + b"/" + OWN)
    if outcome["status"] == 0:
        with open(os.devnull, "wb") as nowhere:
            written = write_layer(diff_upper(upper), nowhere)
        outcome |= {"diff_id": written.diff_id, "size_bytes": written.size_bytes}
    return outcome


def write_snapshot(snapshot: bytes, out_fd: int) -> dict[str, Any]:
    """Write the layer of a snapshot."""
    with open(out_fd, "wb", closefd=False) as out:
        written = write_layer(diff_upper(snapshot), out)
    return {"diff_id": written.diff_id, "size_bytes": written.size_bytes}


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
