"""How a script reaches the bash of a build container: as arguments, decoded there and evaluated.

The entrypoint is `ENTRYPOINT`; a short script is one argument after `-ec`. The decoded text goes through a variable, and the
variable is quoted: an unquoted `eval $(...)` folds newlines, expands globs and goes on when the decoder fails. The script
does not see the variable. A full stop ends what is encoded: `$(...)` drops newlines at the end, and a backslash before them
would become a word.

The kernel takes 128 KiB an argument, so a long script comes in several, as positional parameters that are cleared before it
runs; beyond what all arguments may hold it is a file that the engine puts into the container and the script itself removes.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence

from msgspec import Struct

ROOT = "/.conveyor/stapel"
ENTRYPOINT = f"{ROOT}/bin/bash"
SCRIPT_PATH = "/.conveyor/script"
ARGUMENT_BYTES = 96 * 1024
ARGUMENTS_BYTES = 1024 * 1024

_END = b"."
_VARIABLE = "_conveyor_script"
_EVALUATE = f'eval -- "unset {_VARIABLE}; ${{{_VARIABLE}%.}}"'


class ScriptCall(Struct, frozen=True):
    """What follows the entrypoint; `archive`: bytes to be put at `SCRIPT_PATH` before the container starts."""

    arguments: tuple[str, ...]
    archive: bytes | None = None


def entrypoint_arguments(script: str, root: str = ROOT) -> ScriptCall:
    """The arguments with which the toolchain's bash runs a script as `bash -e` would. `ValueError` for a NUL in it."""
    raw = script.encode("utf-8", "surrogateescape")
    if b"\0" in raw:
        raise ValueError("a script cannot hold a NUL byte")
    encoded = binascii.b2a_base64(raw + _END, newline=False).decode()
    decode = f"{root}/bin/base64 --decode"
    if len(encoded) <= ARGUMENT_BYTES:
        return ScriptCall(("-ec", f'{_VARIABLE}="$(echo {encoded} | {decode})"; {_EVALUATE}'))
    if len(encoded) <= ARGUMENTS_BYTES:
        pieces = [encoded[start : start + ARGUMENT_BYTES] for start in range(0, len(encoded), ARGUMENT_BYTES)]
        # printf is bash's own: no argument of a process is longer than what the kernel takes.
        return ScriptCall(("-ec", f'{_VARIABLE}="$(printf %s "$@" | {decode})"; set --; {_EVALUATE}', "bash", *pieces))
    read = f'{_VARIABLE}="$(<{SCRIPT_PATH})"; {root}/bin/rm -f {SCRIPT_PATH}; {_EVALUATE}'
    return ScriptCall(("-ec", read), raw + _END)


def join_commands(commands: Sequence[str]) -> str:
    """The commands one after another, each on lines of its own, as they are written."""
    return "".join(command if command.endswith("\n") else command + "\n" for command in commands)


def removal_prefix(removals: Sequence[bytes], emptied_parents: Sequence[bytes], root: str = ROOT) -> str:
    """Bash text that removes paths (relative to `/`, any bytes but NUL), then directories where they are empty."""
    lines = [f"{root}/bin/rm -rf -- {_quote(path)}\n" for path in removals]
    lines += [f"{root}/bin/rmdir --ignore-fail-on-non-empty -- {_quote(path)}\n" for path in emptied_parents]
    return "".join(lines)


def _quote(path: bytes) -> str:
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-"
    return "$'/" + "".join(chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in path) + "'"
