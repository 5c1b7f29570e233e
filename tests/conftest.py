"""Servers and bases for all tests. Each is started by the first test that asks for it, and ended with the session.

On a laptop a test whose server is not there is skipped. With `CONVEYOR_TEST_REQUIRE_SERVERS=1`, which the test command of
the README sets, it fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    import docker

    from tests.servers import Front, Registry

REQUIRE = os.environ.get("CONVEYOR_TEST_REQUIRE_SERVERS", "") not in ("", "0")
BUSYBOX = "conveyor-test/busybox:1"
DEBIAN = "conveyor-test/debian:12-minbase"
PASSWORD = "correct horse: battery"


def absent(what: str) -> NoReturn:
    """End a test whose server is not on this machine."""
    if REQUIRE:
        pytest.fail(f"{what}, and CONVEYOR_TEST_REQUIRE_SERVERS is set", pytrace=False)
    pytest.skip(what)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests by the servers that their fixtures need, so that `-m 'not docker'` chooses."""
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        if "docker_engine" in names:
            item.add_marker("docker")
        if names & {"registry", "registry_with_auth"}:
            item.add_marker("registry")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have counted: a promise about 20,000 cases is read together with the number of them."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name == "counted":
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {value}")


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[docker.APIClient]:
    """The Docker Engine of this machine."""
    import docker

    client = docker.APIClient(**docker.utils.kwargs_from_env(), timeout=300)
    try:
        client.ping()
    except Exception as error:
        absent(f"no Docker Engine answers: {error}")
    yield client
    client.close()


@pytest.fixture(scope="session")
def btrfs_dir() -> Iterator[Path]:
    """A directory on a btrfs of its own, which anybody may enter. Where it cannot be mounted the test is skipped."""
    directory = Path(tempfile.mkdtemp(prefix="conveyor-btrfs-"))
    disk, mounted = directory / "disk", directory / "mounted"
    mounted.mkdir()
    disk.touch()
    os.truncate(disk, 400 << 20)
    try:
        for command in ("mkfs.btrfs", "-q", str(disk)), ("mount", "-o", "loop", str(disk), str(mounted)):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"no btrfs can be mounted here: {done.stderr.strip()}")
        try:
            directory.chmod(0o755)
            yield mounted
        finally:
            subprocess.run(["umount", "--lazy", str(mounted)], check=True)
    except FileNotFoundError as error:
        pytest.skip(f"no btrfs can be made here: {error}")
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A docker-registry for everybody, without credentials; manifests may be deleted. Use repositories of your own."""
    yield from _registry(tmp_path_factory.mktemp("registry"), None)


@pytest.fixture(scope="session")
def registry_with_auth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A docker-registry that asks for the user `ci` with the password `PASSWORD`."""
    if shutil.which("htpasswd") is None:
        absent("htpasswd is not on this machine (apt-get install apache2-utils)")
    yield from _registry(tmp_path_factory.mktemp("registry-with-auth"), {"ci": PASSWORD})


@pytest.fixture
def front(registry: Registry) -> Iterator[Front]:
    """A server before the registry of a test: it keeps what was asked, and answers by rules."""
    from tests.servers import front_server

    with front_server(registry.host) as server:
        yield server


def _registry(directory: Path, accounts: dict[str, str] | None) -> Iterator[Registry]:
    from tests.servers import registry_server

    if shutil.which("docker-registry") is None:
        absent("docker-registry is not on this machine")
    with registry_server(directory, htpasswd=accounts) as server:
        yield server


@pytest.fixture(scope="session")
def busybox_base(docker_engine: docker.APIClient) -> str:
    """A base image of busybox, in the engine alone: no registry has it."""
    if shutil.which("busybox") is None:
        absent("busybox is not on this machine (apt-get install busybox-static)")
    return _base("busybox", BUSYBOX)


@pytest.fixture(scope="session")
def debian_base(docker_engine: docker.APIClient) -> str:
    """A minimal Debian 12, in the engine alone. Made once on a machine; its archive is kept in the user's cache."""
    if shutil.which("debootstrap", path=os.environ.get("PATH", "") + ":/usr/sbin") is None:
        absent("debootstrap is not on this machine")
    if os.geteuid() != 0:
        absent("debootstrap needs root")
    return _base("debian", DEBIAN)


def _base(kind: str, reference: str) -> str:
    program = Path(__file__).parents[1] / "samples/make_base.py"
    made = subprocess.run([sys.executable, program, kind, reference], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.fail(f"{program.name} {kind} failed: {made.stdout}{made.stderr}", pytrace=False)
    return reference
