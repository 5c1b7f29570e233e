"""Running commands by a worker: what the build container is given, and what it says."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from stapel.api import Cancel, Log, Run
from stapel.containers import AGENT_SOCKET, DEFAULT_PATH, SECRETS_DIR, proxies
from stapel.errors import Cancelled, DiskFull, StapelError
from stapel.programs import find_program
from stapel.sandbox.capabilities import CAPABILITIES
from stapel.sandbox.cell import Cell
from stapel.sandbox.held import SandboxHeld
from stapel.sandbox.runners import Runner
from stapel.sandbox.seccomp import compile_rules, runtime_rules
from stapel.sandbox.store import Store
from stapel.sandbox.stubs import make_stub
from stapel.script import ENTRYPOINT, ROOT, ScriptCall, entrypoint_arguments
from stapel.toolchain import make_tools

if TYPE_CHECKING:
    from stapel.sandbox.program import Program
    from stapel.sandbox.shell import ShellTerminal

_PIECE_BYTES = 1 << 16
_LOOK_S = 1.0
_NETWORKS = {"default": "host", "host": "host", "none": "none", "isolated": "isolated"}
_UPLINK = "slirp4netns"
_UPLINK_NAMESERVER = "10.0.2.3"

Stream = Literal["stdout", "stderr"]


class Prepared(Struct, frozen=True):
    """A request for a run: descriptors that the worker needs, and the ends that are read here."""

    request: Mapping[str, Any]
    files: tuple[int, ...]
    outputs: Mapping[int, Stream]
    sources: ExitStack  # the worker's ends
    volume: Path  # where they write
    min_free_bytes: int = 0

    @property
    def can_wait(self) -> bool:
        """Whether the runner can be told later what tree it is for."""
        return bool(self.request["can_wait"])

    def follow(self, cell: Cell, log: Log, cancel: Cancel, on_large: Callable[[], None]) -> dict[str, Any]:
        """Pass the output on until the commands have ended; the worker's answer. `Cancelled`, `DiskFull`.

        `on_large`: see `Cell.finish`.
        """
        self.sources.close()
        forget = cancel.on_cancel(cell.cancel)
        too_full = False

        def look() -> None:
            nonlocal too_full
            if not too_full and _free_bytes(self.volume) < self.min_free_bytes:
                too_full = True
                cell.cancel()

        try:
            _pass_on(self.outputs, cell.fileno(), log, look)
            answer, _ = cell.finish(on_large)
        finally:
            forget()
        _pass_on(self.outputs, None, log)
        if cancel.is_set() and answer["status"]:
            raise Cancelled
        if too_full and answer["status"]:
            raise DiskFull(
                f"the commands were stopped: less than {self.min_free_bytes >> 20} MiB are free where the sandbox builds",
                hint="`conveyor host cleanup` makes room; --min-free says how much has to be free",
            )
        return dict(answer)


class Runs:
    """Prepares build containers. Thread-safe."""

    def __init__(
        self,
        store: Store,
        home_dir: Path,
        tmp_dir: Path,
        runner: Runner,
        *,
        outer_proc: bool = False,
        min_free_bytes: int = 0,
    ) -> None:
        self._store = store
        self._home_dir = home_dir
        self._tmp_dir = tmp_dir
        self._runner = runner
        self._outer_proc = outer_proc
        self._min_free_bytes = min_free_bytes
        self._toolchains: dict[bool, Path] = {}  # without Ansible and with it
        self._hosts, self._resolver = _read("/etc/hosts"), _read("/etc/resolv.conf")
        self._rules: Path | None = None

    def prepare(
        self,
        on: SandboxHeld,
        run: Run,
        filling: Path,
        resources: ExitStack,
        shell: ShellTerminal | None = None,
        program: Program | None = None,
    ) -> Prepared:
        """A request for a run, or on `shell` for a shell or a program instead of its script. `StapelError`.

        What it needs is closed with `resources`.
        """
        network = _NETWORKS.get(run.network)
        if network is None:
            raise StapelError(
                f"the sandbox has no network {run.network}",
                hint="`default` and `host` are the host's, `none` has `lo` alone, `isolated` has a way out besides",
            )
        if run.collections:
            from stapel.ansible_toolchain import check_collections

            check_collections(run.collections)
        if run.needs_ansible not in self._toolchains:
            self._toolchains[run.needs_ansible] = make_tools(self._home_dir, ansible=run.needs_ansible)
        hostname = os.urandom(6).hex()
        texts = self._name_files(hostname, network)
        mounts = [("", target, False) for target in texts]
        points = [("proc", True), ("dev", True), ("sys", True), *((target, False) for target in texts)]
        if program is None or program.needs_tools:
            mounts.append((str(self._toolchains[run.needs_ansible]), ROOT, True))
            points.append((ROOT, True))
        environment = _environment(on, run, hostname) if program is None else {"HOSTNAME": hostname, **program.environment}
        for mount in run.mounts:
            if not mount.source.exists():
                raise StapelError(f"{mount.source} is to be mounted at {mount.target}, and is not there")
            mounts.append((str(mount.source), mount.target, mount.read_only))
            points.append((mount.target, mount.source.is_dir()))
        if run.ssh_socket is not None:
            from stapel.ssh_agent import serve_filtered

            socket = resources.enter_context(serve_filtered(run.ssh_socket, self._tmp_dir))
            mounts.append((str(socket), AGENT_SOCKET, False))
            points.append((AGENT_SOCKET, False))
        if run.secrets:
            points.append((SECRETS_DIR, True))
        if shell is not None and shell.is_own:
            environment = {"TERM": "xterm", **environment}
        has_terminal = shell is not None and shell.is_own
        call = entrypoint_arguments(run.script) if shell is None else ScriptCall(())
        argv = (ENTRYPOINT, *call.arguments) if program is None else program.arguments
        request = {
            "runner": self._runner.path,
            "rules": None if self._runner.name == "bubblewrap" else runtime_rules(),
            "stub": os.fsencode(make_stub(self._store, points)),
            "mounts": [
                (os.fsencode(source), os.fsencode(target.strip("/")), read_only)
                for source, target, read_only in sorted(mounts, key=lambda item: item[1].count("/"))
            ],
            "texts": {os.fsencode(target): os.fsencode(text) for target, text in texts.items()},
            "secrets": {os.fsencode(name): value for name, value in run.secrets.items()},
            "hostname": hostname.encode(),
            "network": network,
            "outer_proc": self._outer_proc,
            "uplink": _find_uplink() if network == "isolated" else b"",
            "env": {os.fsencode(name): os.fsencode(value) for name, value in environment.items()},
            "argv": [os.fsencode(text) for text in argv],
            "directory": os.fsencode(program.directory if program is not None else "/"),
            "script": call.archive,
            "has_terminal": has_terminal,
            "can_wait": self._runner.name == "bubblewrap" and network == "host" and not has_terminal,
            "wants_layer": shell is None,
            "capabilities": [name.encode() for name in CAPABILITIES],
        }
        return self._open(request, filling, resources, shell)

    def _open(self, request: Mapping[str, Any], volume: Path, resources: ExitStack, shell: ShellTerminal | None) -> Prepared:
        theirs = resources.enter_context(ExitStack())

        def opened(file: int, owner: ExitStack) -> int:
            owner.callback(os.close, file)
            return file

        outputs: dict[int, Stream] = {}
        if shell is not None:
            files = list(shell.files)
        else:
            files = [opened(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), theirs)]
            streams: Sequence[Stream] = ("stdout", "stderr")
            for stream in streams:
                reading, writing = os.pipe2(os.O_CLOEXEC)
                outputs[opened(reading, resources)] = stream
                files.append(opened(writing, theirs))
        if self._rules is None:
            self._rules = compile_rules(self._store.dir / "seccomp")
        files.append(opened(os.open(self._rules, os.O_RDONLY | os.O_CLOEXEC), theirs))
        return Prepared(request, tuple(files), outputs, theirs, volume, self._min_free_bytes)

    def _name_files(self, hostname: str, network: str) -> dict[str, str]:
        """What a container has for the names of hosts, whatever the image has there. It may write to these files."""
        hosts = self._hosts or "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        return {
            "etc/hosts": f"{hosts.rstrip()}\n127.0.1.1\t{hostname}\n",
            "etc/hostname": f"{hostname}\n",
            "etc/resolv.conf": _resolver(self._resolver, network),
        }


def _pass_on(outputs: Mapping[int, Stream], until: int | None, log: Log, look: Callable[[], None] | None = None) -> None:
    """Pass output on until all its writers have ended, or until a descriptor can be read. `look`: called once a second."""
    poll = select.poll()
    waiting = set(outputs)
    for file in waiting:
        poll.register(file, select.POLLIN)
    if until is not None:
        poll.register(until, select.POLLIN)
    looked_s = time.monotonic()
    while waiting:
        ready = [file for file, _ in poll.poll(_LOOK_S * 1000 if look is not None else None)]
        if look is not None and time.monotonic() - looked_s >= _LOOK_S:
            look()
            looked_s = time.monotonic()
        for file in ready:
            if file == until:
                continue
            data = os.read(file, _PIECE_BYTES)
            if data:
                log(outputs[file], data)
            else:
                waiting.discard(file)
                poll.unregister(file)
        if until in ready:
            return


def _environment(on: SandboxHeld, run: Run, hostname: str) -> dict[str, str]:
    own = dict(text.partition("=")[::2] for text in on.config.run.get("Env") or () if "=" in text)
    environment = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname, **own, **proxies(), **run.env}
    return environment | {"SSH_AUTH_SOCK": AGENT_SOCKET} if run.ssh_socket is not None else environment


def _free_bytes(volume: Path) -> int:
    status = os.statvfs(volume)
    return status.f_bavail * status.f_frsize


def _find_uplink() -> bytes:
    found = find_program(_UPLINK, "/usr/local/bin:/usr/bin:/bin")
    if found is None:
        message = f"{_UPLINK} is not found, by which a network that is `isolated` has a way out"
        raise StapelError(message, hint=f"install the package {_UPLINK}")
    return os.fsencode(found)


def _resolver(text: str, network: str) -> str:
    """The host's resolver configuration; an own network does not reach a resolver that is the host itself."""
    if network != "isolated":
        return text
    lines = [line.split() for line in text.splitlines()]
    if any(line[:1] == ["nameserver"] and line[1:] and not line[1].startswith(("127.", "::1")) for line in lines):
        return text
    kept = [line for line in text.splitlines() if line.split()[:1] != ["nameserver"]]
    return "\n".join([*kept, f"nameserver {_UPLINK_NAMESERVER}", ""])


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="surrogateescape")
    except OSError:
        return ""
