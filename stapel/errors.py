"""What can go wrong with images and build containers.

StapelError                 root of this room; carries `reason`, `hint`, `temporary`
├── Unreachable             an engine or a registry does not answer, or refuses us (exit status 4)
│   ├── Refused             a registry answers and does not let us do this
│   └── Damaged             bytes that were damaged on their way: they can be read again
├── NotFound                no such image, name or blob: a fact, not a fault
├── Broken                  something stored is not what its digest says, or a part of it is absent
├── BadReference            text that is no image reference
├── BadLayer                a layer that is damaged, hostile, too large, or not what its diff id says
├── CommandFailed           the commands of a build container ended with a status other than 0
├── DiskFull                commands were stopped before they had filled the disk
├── FileChanged             a file about to be replaced is not the one that git laid
├── BadLay                  files that cannot be laid: unknown owner, a path through a file, a link out of the root
└── Cancelled               the caller asked to stop
"""

from __future__ import annotations

from collections.abc import Sequence

from stapel.oci.errors import BadLayer, BadReference, Broken, Damaged, NotFound, Refused, StapelError, Unreachable

__all__ = [
    "BadLay",
    "BadLayer",
    "BadReference",
    "Broken",
    "Cancelled",
    "CommandFailed",
    "Damaged",
    "DiskFull",
    "FileChanged",
    "NotFound",
    "Refused",
    "StapelError",
    "Unreachable",
]


class CommandFailed(StapelError):
    """The commands of a build container ended with `status` (above 128: killed by signal status - 128)."""

    reason = "command_failed"

    def __init__(self, status: int, *, hint: str = "") -> None:
        super().__init__(f"the commands ended with exit status {status}", hint=hint)
        self.status = status


class DiskFull(StapelError):
    """Commands were stopped, for less was free on the volume than has to be; nothing of them is kept."""

    reason = "disk_full"


class FileChanged(StapelError):
    """Files about to be replaced or removed are not those that git laid: `paths`, absolute in the image."""

    reason = "git_file_changed"

    def __init__(self, paths: Sequence[bytes]) -> None:
        names = ", ".join(path.decode("utf-8", "backslashreplace") for path in paths)
        super().__init__(f"commands have changed files that git laid: {names}")
        self.paths = tuple(paths)


class BadLay(StapelError):
    """Files that cannot be laid: an unknown owner name, a path that leads through a file or out of the root."""

    reason = "bad_lay"


class Cancelled(StapelError):
    """The caller asked to stop; nothing is left behind."""

    reason = "cancelled"

    def __init__(self, message: str = "cancelled") -> None:
        super().__init__(message)
