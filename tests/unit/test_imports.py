"""Which room may import what: every module is read, imports inside functions and for type checkers included.

The rules are those of the rooms: `locking` and `stapel.oci` stand alone, `stapel` knows nothing of git, keys, names and
locks, engines do not know one another, and `conveyor` sees the other two through their interface pages, their pure rules,
and one factory for what it must construct.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("conveyor", "stapel", "locking")
ENGINES = ("stapel.docker", "stapel.sandbox", "stapel.buildkit")


@dataclass(frozen=True)
class Rule:
    """What modules at or below `module` may import of the three rooms. The rule with the longest `module` is the one."""

    module: str
    may: tuple[str, ...]
    but_not: tuple[str, ...] = ()


RULES = (
    Rule("locking", ("locking",)),
    Rule("stapel.oci", ("stapel.oci",)),
    Rule("stapel", ("stapel",), but_not=ENGINES),
    *(Rule(engine, ("stapel",), but_not=tuple(other for other in ENGINES if other != engine)) for engine in ENGINES),
    Rule(
        "conveyor",
        (
            "conveyor",
            "locking.api",
            "stapel.api",
            "stapel.dockerfile",
            "stapel.errors",
            "stapel.oci",
            "stapel.script",
            "stapel.image_config",
            "stapel.ansible",
            "stapel.image_spec",
            "stapel.mask",
        ),
        but_not=("conveyor.cli", "stapel.oci.registry"),
    ),
    # The surface: only it imports itself.
    Rule("conveyor.cli", ("conveyor", "stapel.api", "stapel.errors", "stapel.oci.api")),
    # The factory.
    Rule(
        "conveyor.cli.session",
        (
            "conveyor",
            "locking",
            "stapel.api",
            "stapel.errors",
            "stapel.oci",
            "stapel.runs",
            "stapel.scattering",
            "stapel.ssh_agent",
            "stapel.docker.engine",
            "stapel.sandbox.engine",
        ),
    ),
    # It asks storages for their names without opening them.
    Rule("conveyor.cli.confirm", ("conveyor", "stapel.docker.names", "stapel.sandbox.names", "stapel.oci.registry")),
    # It starts a worker before anything else is imported.
    Rule("conveyor.cli.ahead", ("conveyor", "stapel.sandbox.spawning")),
    # It reads a base's instructions as a Dockerfile has them.
    Rule("conveyor.cli.image", ("conveyor", "stapel.api", "stapel.errors", "stapel.image_config", "stapel.oci.api")),
    # It tries the tools of the build containers and looks for the agent.
    Rule(
        "conveyor.cli.doctor",
        ("conveyor", "locking.api", "stapel.api", "stapel.errors", "stapel.toolchain", "stapel.ssh_agent"),
    ),
)

# Third parties, and the only places that may import them.
CLIENTS = {
    "docker": ("stapel.docker",),
    "urllib3": ("stapel.oci", "stapel.docker"),
    "requests": ("stapel.docker",),
    "h2": ("stapel.docker",),
    "redis": ("locking.redis",),
    "filelock": ("conveyor.gitrepo",),
    "click": ("conveyor.cli",),
    "yaml": ("conveyor.config",),
    "re2": ("conveyor.config", "stapel.image_spec"),
    "isal": ("stapel.oci.compress", "stapel.oci.layer"),
    "zstandard": ("stapel.oci.compress",),
}


def violations(module: str, source: str, *, package: bool = False) -> list[str]:
    """What a module imports and may not, as `line: imported`."""
    rule = max((rule for rule in RULES if within(module, (rule.module,))), key=lambda rule: len(rule.module))
    found = []
    for line, name in imports(module, source, package=package):
        top = name.partition(".")[0]
        if top in ROOMS:
            wrong = not within(name, rule.may) or within(name, rule.but_not)
        else:
            wrong = top in CLIENTS and not within(module, CLIENTS[top])
        if wrong:
            found.append(f"{line}: {name}")
    return found


def within(name: str, modules: tuple[str, ...]) -> bool:
    return any(name == module or name.startswith(module + ".") for module in modules)


def imports(module: str, source: str, *, package: bool) -> Iterator[tuple[int, str]]:
    """Every imported module; `from a import b` gives `a.b` where that is a module of ours, else `a`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                kept = parts[: len(parts) - node.level + (1 if package else 0)]
                base = ".".join([*kept, base] if base else kept)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield node.lineno, inner if is_module(inner) else base
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                yield node.lineno, str(node.args[0].value)


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def modules() -> dict[str, Path]:
    found = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@pytest.mark.parametrize("module", modules())
def test_imports_follow_the_rules(module):
    path = modules()[module]
    assert violations(module, path.read_text(), package=path.name == "__init__.py") == []


@pytest.mark.parametrize("module", modules())
def test_nothing_is_imported_that_is_not_a_dependency(module):
    """Beside the standard library: what pyproject.toml names, its extras included."""
    declared = {
        *(
            "click",
            "docker",
            "filelock",
            "h2",
            "isal",
            "msgspec",
            "pyseccomp",
            "re2",
            "urllib3",
            "yaml",
            "zstandard",
            "redis",
        ),
        *("bcrypt", "cryptography"),  # of the extra for sprig's certificates and ciphers
        *ROOMS,
    }
    source = modules()[module].read_text()
    package = modules()[module].name == "__init__.py"
    tops = {name.partition(".")[0] for _, name in imports(module, source, package=package)}
    assert tops - declared - set(sys.stdlib_module_names) - {"requests"} == set()


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("locking.redis", "import redis\nfrom locking.api import Locks\n", []),
        ("locking.redis", "from conveyor.errors import ConveyorError\n", ["1: conveyor.errors"]),
        ("locking.redis", "def connect():\n    import stapel.runs\n", ["2: stapel.runs"]),
        ("stapel.oci.layer", "from stapel.oci import api\nimport tarfile\n", []),
        ("stapel.oci.layer", "from stapel.errors import Broken\n", ["1: stapel.errors"]),
        ("stapel.oci.layer", "from ..errors import Broken\n", ["1: stapel.errors"]),
        ("stapel.oci.layer", "from .api import ImageView\n", []),
        ("stapel.lay", "from stapel.oci.api import ImageView\nfrom stapel.api import Lay\n", []),
        ("stapel.lay", "import stapel.docker.engine\n", ["1: stapel.docker.engine"]),
        ("stapel.lay", "from stapel import docker\n", ["1: stapel.docker"]),
        ("stapel.lay", "if TYPE_CHECKING:\n    from locking.api import Lease\n", ["2: locking.api"]),
        ("stapel.sandbox.engine", "from stapel.docker.client import Clients\n", ["1: stapel.docker.client"]),
        ("stapel.docker.engine", "from stapel.docker.client import Clients\nimport docker\n", []),
        ("conveyor.build.make", "from stapel.api import Lay\nfrom stapel.oci.api import ImageConfig\n", []),
        ("conveyor.build.make", "from stapel.docker.engine import DockerEngine\n", ["1: stapel.docker.engine"]),
        ("conveyor.build.make", "from stapel.oci.registry import RegistryStore\n", ["1: stapel.oci.registry"]),
        ("conveyor.build.make", "from locking.file import FileLocks\n", ["1: locking.file"]),
        ("conveyor.build.make", "from conveyor.cli.options import BuildOptions\n", ["1: conveyor.cli.options"]),
        ("conveyor.build.make", "import importlib\nimportlib.import_module('stapel.toolchain')\n", ["2: stapel.toolchain"]),
        ("conveyor.build.make", "import docker\n", ["1: docker"]),
        ("conveyor.cli.session", "from stapel.docker.engine import DockerEngine\n", []),
        ("conveyor.cli.build", "from stapel.docker.engine import DockerEngine\n", ["1: stapel.docker.engine"]),
    ],
)
def test_the_rules_find_what_breaks_them(module, source, wrong):
    assert violations(module, source) == wrong
