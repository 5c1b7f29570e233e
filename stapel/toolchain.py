"""The tools of build containers: bash and a few others that run over any base, mounted read-only at `/.conveyor/stapel`.

They are the host's own, copied with their loader and libraries; interpreter and DT_RPATH are set by patchelf (DT_RPATH comes
before LD_LIBRARY_PATH, so an image's environment cannot reach them). The digest of all files names the toolchain: equal
tools give equal service containers.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from sys import audit as trace
from typing import BinaryIO, cast

from msgspec import Struct

from stapel.api import File
from stapel.errors import StapelError
from stapel.programs import find_program
from stapel.script import ROOT

FORMAT = "1"


class Tool(Struct, frozen=True):
    """A tool, why it is there, and a line of bash that proves the options that are used of it."""

    name: str
    use: str
    proof: str


TOOLS: tuple[Tool, ...] = (
    Tool("bash", "runs every script", "bash --norc -c 'x=(1 2); [[ ${x[1]} == 2 ]]'"),
    Tool("base64", "decodes the script", '[[ "$(echo aGVsbG8= | base64 --decode)" == hello ]]'),
    Tool("rm", "removes what a delta removes", "rm -rf -- /.conveyor/tmp/proof"),
    Tool("rmdir", "removes directories that are left empty", "rmdir --ignore-fail-on-non-empty -- /.conveyor/tmp/proof"),
    Tool("mkdir", "makes what the proofs need", "mkdir -p -- /.conveyor/tmp/proof"),
    Tool("chroot", "becomes the user of an image that is run", f"chroot --skip-chdir / {ROOT}/bin/true"),
    Tool("true", "stands for no command", f"{ROOT}/bin/true"),  # bash has one of its own
)


class Toolchain(Struct, frozen=True):
    """The files of the tools: `directory` is what becomes `/.conveyor/stapel`."""

    directory: Path
    digest: str  # 64 hexadecimal digits

    def files(self) -> Iterator[File]:
        """All files, sorted by path, relative to the directory."""
        for path in sorted(self.directory.rglob("*"), key=lambda path: path.parts):
            name = os.fsencode(path.relative_to(self.directory))
            if path.is_dir():
                yield File(name, "directory", 0o755)
            else:
                opened = partial(_open, path)
                yield File(name, "file", 0o755 if os.access(path, os.X_OK) else 0o644, size=path.stat().st_size, open=opened)


def make_toolchain(home_dir: Path, *, ansible: bool = False) -> Toolchain:
    """The toolchain of this host. See `make_tools`."""
    directory = make_tools(home_dir, ansible=ansible)
    return Toolchain(directory, _digest(directory))


def make_tools(home_dir: Path, *, ansible: bool = False) -> Path:
    """The directory of the toolchain of this host, made once for each state of its tools and kept below `home_dir`.

    With `ansible` it has Ansible and a Python besides. Filled aside and renamed: any number of processes may make it at
    once. `StapelError` where a tool or patchelf is missing or does not work.
    """
    sources = {tool.name: _find(tool.name) for tool in TOOLS}
    directory = _place(home_dir, sources, _ansible_of_this_host() if ansible else ())
    _remove_left(directory.parent)
    if not directory.is_dir():
        directory.parent.mkdir(parents=True, exist_ok=True)
        from stapel.toolchain_making import fill_tools, filling_directory

        with filling_directory(directory.parent) as filling:
            made = filling / "tools"
            fill_tools(made, sources)
            if ansible:
                from stapel.ansible_toolchain import fill_ansible

                fill_ansible(made)
            trace("toolchain.before-rename")
            try:
                made.rename(directory)
                trace("toolchain.after-rename")
            except OSError:
                if not directory.is_dir():
                    raise
    return directory


def remove_other_tools(home_dir: Path) -> None:
    """Remove the toolchains of other states of this host. No other run may be using the home."""
    for path in other_tools(home_dir):
        path.rename(path.with_name(f".filling-{path.name}"))
    _remove_left(home_dir / "toolchain")


def other_tools(home_dir: Path) -> list[Path]:
    """The toolchains of other states of this host; none where its tools cannot be found."""
    try:
        sources = {tool.name: _find(tool.name) for tool in TOOLS}
    except StapelError:
        return []
    current = {_place(home_dir, sources)}
    with suppress(StapelError):
        current.add(_place(home_dir, sources, _ansible_of_this_host()))
    parent = home_dir / "toolchain"
    there = sorted(parent.iterdir()) if parent.is_dir() else []
    return [path for path in there if path not in current and not path.name.startswith(".")]


def _place(home_dir: Path, sources: Mapping[str, Path], more: Sequence[str] = ()) -> Path:
    known: list[object] = [FORMAT, [(name, str(path), _stamp(path)) for name, path in sources.items()]]
    key = hashlib.sha256(repr([*known, *([more] if more else [])]).encode()).hexdigest()
    return home_dir / "toolchain" / key[:16]


def _ansible_of_this_host() -> list[str]:
    from stapel.ansible_toolchain import describe_ansible

    return describe_ansible()


def _remove_left(parent: Path) -> None:
    """Remove what killed processes have left half filled. Whoever fills a directory holds the kernel's lock on it."""
    for left in parent.glob(".filling-*"):
        from shutil import rmtree  # mostly there is nothing to remove

        with suppress(OSError):
            handle = os.open(left, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                rmtree(left, ignore_errors=True)
            finally:
                os.close(handle)


def proof_script() -> str:
    """Bash that tries every tool with every option that is used of it, for a build container; it fails where one does."""
    order = {"mkdir": 0, "rmdir": 1, "rm": 2}
    proofs = [tool.proof for tool in sorted(TOOLS, key=lambda tool: order.get(tool.name, 3))]
    return f"PATH={ROOT}/bin\n" + "\n".join(proofs) + "\n"


def _find(name: str) -> Path:
    found = find_program(name, "/usr/bin:/bin:/usr/sbin:/sbin")
    if found is None:
        raise StapelError(f"the host has no {name}, which build containers need", hint="install bash and coreutils")
    return Path(found).resolve()


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _digest(directory: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*"), key=lambda path: path.parts):
        name = path.relative_to(directory).as_posix()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "directory"
        digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, path.open("rb"))
