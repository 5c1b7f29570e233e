"""How secrets reach a build container of the Docker Engine, which may be on another machine: by the container's stdin.

The engine mounts a filesystem in memory, and before anything else the script reads the values from its stdin and makes the
files: they are in no argument, variable, label or file of either machine, and a container that is inspected does not tell
them. Where the image has a directory `/run/secrets`, that is what is mounted over. The engine would make a missing one in
the image; there the files are at `PLACE` and `/run/secrets` is a link, which is taken away when the commands have ended.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping, Sequence

from msgspec import Struct

from stapel.api import Tree
from stapel.containers import SECRETS_DIR
from stapel.errors import StapelError
from stapel.oci.layer import Entry
from stapel.places import Places, show
from stapel.script import ROOT

PLACE = "/.conveyor/secrets"
_END = "."
_LOST = '{ echo "conveyor: the secrets have not arrived" >&2; exit 125; }'


class SecretFiles(Struct, frozen=True):
    """Where the files come to be, and what has to be laid and taken away for it."""

    place: str
    link: bytes = b""  # where `/run/secrets` stands in the image, b"": it is mounted over
    made: bytes = b""  # the directory above it, where the image has none

    def entries(self) -> list[Entry]:
        """To be laid into the container before it starts."""
        if not self.link:
            return []
        link = Entry(self.link, "symlink", 0o777, link=PLACE.encode())
        return [Entry(self.made, "directory", 0o755), link] if self.made else [link]

    def wrap(self, script: str, names: Sequence[str]) -> str:
        """A script that makes the files, runs `script` as it would run alone, and takes the link away."""
        lines = [*self._make(names), "exec </dev/null"]
        if not self.link:
            return "\n".join([*lines, script])
        lines += [
            "set +e",
            f"(set -e; eval -- {shlex.quote(script)})",
            "_conveyor_status=$?",
            f"[[ ! -L /{_quoted(self.link)} ]] || {ROOT}/bin/rm -f -- /{_quoted(self.link)}",
        ]
        if self.made:
            lines.append(f"{ROOT}/bin/rmdir --ignore-fail-on-non-empty -- /{_quoted(self.made)}")
        return "\n".join([*lines, "exit $_conveyor_status"])

    def hold(self, names: Sequence[str]) -> str:
        """A script that makes the files, says so by an empty line, and waits for the end of its stdin."""
        return "\n".join([*self._make(names), "echo", "read -r _ || :"])

    def _make(self, names: Sequence[str]) -> list[str]:
        listed = " ".join(map(shlex.quote, names))
        place = shlex.quote(self.place)
        return [
            "_conveyor_mask=$(umask); umask 0277",
            f"for _conveyor_name in {listed}; do",
            f"  IFS= read -r _conveyor_value || {_LOST}",
            f'  printf "%s\\n" "$_conveyor_value" | {ROOT}/bin/base64 --decode >{place}/"$_conveyor_name"',
            "done",
            f'IFS= read -r _conveyor_value && [[ $_conveyor_value == "{_END}" ]] || {_LOST}',
            'umask "$_conveyor_mask"; unset _conveyor_name _conveyor_value _conveyor_mask',
        ]


def find_place(tree: Tree) -> SecretFiles:
    """What an image needs. `StapelError` where something that is no directory is in the way."""
    places = Places(tree)
    parent, _, name = SECRETS_DIR.strip("/").encode().rpartition(b"/")
    directory = places.directory(parent)
    path = directory + b"/" + name
    found = tree.stat(path) if directory not in places.missing else None
    if found is not None and found.kind == "directory":
        return SecretFiles("/" + path.decode())
    if found is not None:
        raise StapelError(f"{show(path)} is no directory in the image, and secrets are files in it")
    return SecretFiles(PLACE, path, directory if directory in places.missing else b"")


def stdin_of(secrets: Mapping[str, bytes]) -> bytes:
    """What the script reads: a line for each value, in order, and one that says that it was the last."""
    lines = [base64.b64encode(value) for value in secrets.values()]
    return b"\n".join([*lines, _END.encode(), b""])


def _quoted(path: bytes) -> str:
    return shlex.quote(path.decode("utf-8", "surrogateescape"))
