"""Ansible for build containers: this Python and the pinned ansible-core of this installation, to run over any base.

They are added to the tools of `stapel.toolchain`, with their libraries, at places where this Python finds its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from stapel.ansible import COLLECTIONS, DISTRIBUTIONS, LIBRARY, MODULE_LIBRARY, PYTHON, VERSION
from stapel.errors import StapelError
from stapel.script import ROOT
from stapel.toolchain_making import find_libraries, patch_program

# Modules of Ansible go into containers as texts.
_NEVER_IMPORTED = re.compile(
    r"/ansible/(modules|galaxy)/|/ansible_collections/|/(unittest|pydoc_data|distutils|wsgiref|curses|dbm|msilib)/"
)
_HINT = "pip install 'conveyor-build[ansible]'"
_COLLECTIONS_HINT = (
    "pip install 'conveyor-build[ansible-collections]' (all that Ansible comes with, 450 MB), "
    "or `ansible-galaxy collection install {}`"
)
_NAMED_BY_ANSIBLE = ("~/.ansible/collections", "/usr/share/ansible/collections")
# What runs on the side of the play, and what is sent to where the tasks run; the rest connects to machines.
_KINDS = ("action", "filter", "lookup", "test", "plugin_utils", "modules", "module_utils")
_LIBRARIES = {"community.crypto": ("cryptography", "cffi", "pycparser")}
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
    collections = find_collections()
    distributions = (*DISTRIBUTIONS, *_libraries_of(collections))
    return [
        sys.version,
        *(f"{name} {metadata.version(name)}" for name in distributions),
        *(f"{name} {COLLECTIONS[name]}" for name in collections),
    ]


def find_collections() -> dict[str, Path]:
    """The collections of this host that images are built with, where Ansible would find them: name -> directory."""
    found = {}
    for name in COLLECTIONS:
        for directory, version in _installed(name):
            if version == COLLECTIONS[name]:
                found[name] = directory
                break
    return found


def check_collections(names: Iterable[str]) -> None:
    """`StapelError` that tells what to install where the toolchain of this host lacks one of these."""
    there = find_collections()
    missing = [name for name in names if name not in there]
    if not missing:
        return
    others = "; ".join(f"{directory} has {version}" for name in missing for directory, version in _installed(name))
    wanted = [f"{name} {COLLECTIONS[name]}" for name in missing]
    several = "collections" if len(missing) > 1 else "collection"
    raise StapelError(
        f"the {several} {', '.join(wanted)} of Ansible {'are' if len(missing) > 1 else 'is'} not installed"
        + (f" ({others})" if others else ""),
        hint=_COLLECTIONS_HINT.format(" ".join(f"{name}:{COLLECTIONS[name]}" for name in missing)),
    )


def _installed(name: str) -> list[tuple[Path, str]]:
    roots = os.environ.get("ANSIBLE_COLLECTIONS_PATH", "").split(":")
    roots = list(filter(None, roots)) or list(_NAMED_BY_ANSIBLE)
    with suppress(metadata.PackageNotFoundError):
        roots.append(str(metadata.distribution("ansible-core").locate_file("")))
    found = []
    for root in dict.fromkeys(roots):
        directory = Path(root).expanduser() / "ansible_collections" / Path(*name.split("."))
        with suppress(OSError, ValueError, KeyError, TypeError):
            manifest = json.loads((directory / "MANIFEST.json").read_bytes())
            found.append((directory, str(manifest["collection_info"]["version"])))
    return found


def _libraries_of(collections: Iterable[str]) -> list[str]:
    """What modules of collections import beside their own, as far as it is installed."""
    wanted = [name for collection in collections for name in _LIBRARIES.get(collection, ())]
    return [name for name in wanted if _is_installed(name)]


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def fill_ansible(directory: Path) -> None:
    """Add this Python and Ansible to a toolchain. `StapelError` where they do not run there."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library, packages = directory / "lib" / name, directory / LIBRARY.rpartition("/")[2]
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    for distribution in DISTRIBUTIONS:
        _copy_package(distribution, packages)
    collections = find_collections()
    for collection, source in collections.items():
        _copy_collection(source, packages / "ansible_collections" / Path(*collection.split(".")))
    beside = directory / MODULE_LIBRARY.rpartition("/")[2]
    for distribution in _libraries_of(collections):
        _copy_package(distribution, beside)
    if beside.is_dir():
        (library / "sitecustomize.py").write_text(f"import sys\n\nsys.path.append({MODULE_LIBRARY!r})\n")
    python = directory / "bin" / PYTHON.rpartition("/")[2]
    shutil.copyfile(Path(sys.base_prefix, "bin", name).resolve(), python)
    python.chmod(0o755)
    loader = _add_libraries(Path(sys.base_prefix, "bin", name).resolve(), directory)
    patch_program(["--set-interpreter", f"{ROOT}/lib/{loader}", "--force-rpath", "--set-rpath", f"{ROOT}/lib"], python)
    _compile(library, f"{ROOT}/lib/{name}")
    _compile(packages, LIBRARY)
    if beside.is_dir():
        _compile(beside, MODULE_LIBRARY)
    for extension in sorted(path for place in (library, packages, beside) for path in place.rglob("*.so")):
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


def _copy_collection(source: Path, target: Path) -> None:
    sources = [*source.glob("MANIFEST.json"), *source.glob("meta/runtime.yml")]
    sources += [path for kind in _KINDS for path in source.glob(f"plugins/{kind}/**/*.py")]
    for path in sources:
        copied = target / path.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copied)


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
