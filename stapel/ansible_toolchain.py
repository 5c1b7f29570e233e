"""Ansible for build containers: this Python and the pinned ansible-core of this installation, to run over any base.

They are added to the tools of `stapel.toolchain`, with their libraries, at places where this Python finds its own.
"""

from __future__ import annotations

import re
import shutil
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

from stapel.ansible import DISTRIBUTIONS, LIBRARY, PYTHON, VERSION
from stapel.errors import StapelError
from stapel.script import ROOT
from stapel.toolchain import find_libraries, patch_program

# Modules of Ansible go into containers as texts.
_NEVER_IMPORTED = re.compile(r"/ansible/(modules|galaxy)/|/(unittest|pydoc_data|distutils|wsgiref|curses|dbm|msilib)/")
_HINT = "pip install 'conveyor-build[ansible]'"
# Large, and of no use to modules; what is installed beside the standard library is another's.
_LEFT_OUT = (
    "__pycache__", "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "site-packages",
    "dist-packages", "config-*", "sitecustomize.py", "_tkinter*", "_test*", "xxlimited*",
)  # fmt: skip


def describe_ansible() -> list[str]:
    """What the toolchain is made of, for its name. `StapelError` where ansible-core is missing or another version."""
    try:
        version = metadata.version("ansible-core")
    except metadata.PackageNotFoundError:
        raise StapelError("ansible-core is not installed, which `ansible` in an image needs", hint=_HINT) from None
    if version != VERSION:
        raise StapelError(f"ansible-core {version} is installed, and images are built with {VERSION}", hint=_HINT)
    return [sys.version, *(f"{name} {metadata.version(name)}" for name in DISTRIBUTIONS)]


def fill_ansible(directory: Path) -> None:
    """Add this Python and Ansible to a toolchain. `StapelError` where they do not run there."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library, packages = directory / "lib" / name, directory / LIBRARY.rpartition("/")[2]
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    for distribution in DISTRIBUTIONS:
        _copy_package(distribution, packages)
    python = directory / "bin" / PYTHON.rpartition("/")[2]
    shutil.copyfile(Path(sys.base_prefix, "bin", name).resolve(), python)
    python.chmod(0o755)
    loader = _add_libraries(Path(sys.base_prefix, "bin", name).resolve(), directory)
    patch_program(["--set-interpreter", f"{ROOT}/lib/{loader}", "--force-rpath", "--set-rpath", f"{ROOT}/lib"], python)
    _compile(library, f"{ROOT}/lib/{name}")
    _compile(packages, LIBRARY)
    for extension in sorted((*library.rglob("*.so"), *packages.rglob("*.so"))):
        _add_libraries(extension, directory)
        patch_program(["--force-rpath", "--set-rpath", f"{ROOT}/lib"], extension)


def _compile(directory: Path, place: str) -> None:
    """Compile modules ahead: their place cannot be written to, and each task starts a Python. Equal sources, equal bytes."""
    from compileall import compile_dir
    from py_compile import PycInvalidationMode

    mode = PycInvalidationMode.UNCHECKED_HASH
    compile_dir(directory, ddir=place, quiet=2, workers=0, rx=_NEVER_IMPORTED, invalidation_mode=mode)


def _copy_package(distribution: str, packages: Path) -> None:
    for path in metadata.files(distribution) or ():
        is_told = path.name == "METADATA" or not path.parts[0].endswith(".dist-info")
        if is_told and ".." not in path.parts and "__pycache__" not in path.parts:
            target = packages / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(path.locate()), target)


def _add_libraries(program: Path, directory: Path) -> str:
    """Copy what a program or an extension loads, where it is not there yet; the name of its loader."""
    loader, libraries = find_libraries(program)
    for source in libraries:
        target = directory / "lib" / source.name
        if not target.exists():
            shutil.copyfile(source, target)
            target.chmod(0o755)
            patch_program(["--force-rpath", "--set-rpath", f"{ROOT}/lib"], target)
    return loader.name if loader is not None else ""
