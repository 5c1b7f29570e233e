"""A build where nothing is to do: what an earlier one has found is confirmed, and told again.

A build that ended well remembers (`conveyor.cli.remember`) what it was asked, the commit, the names that it found stored,
and what it would print where nothing is left to do. That is believed where

- the command is the same: arguments, directory, variables, version of the tool and of its keys, kind of terminal;
- git status says that the commit is the same, and that nothing is changed that the build uses;
- the variables that templates of the configuration read, and the files that it may read uncommitted, are as they were;
- the history of the commit is cut off where it was;
- the storage has the same names of the stages in question, the same marks of rejection and records, by one list;
- no run of this home was killed, of which something is to be removed.

All that decides about a stage is in these, so going the usual way would find and print the same. Anything else, an error
too, is a reason to go that way. This module imports next to nothing: it is most of what such a build costs.
"""

from __future__ import annotations

import json
import os
import sys
import time

try:  # hashlib would load OpenSSL, which costs more than all that is hashed here
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

from conveyor import __version__
from conveyor.gitrepo.invocation import SETTINGS, STATUS, changed_path, git_environment
from conveyor.keys.version import KEY_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any

FORMAT = 2
DETACHED = b"(detached)"
_VARIABLES = ("CI", "HOME", "NO_COLOR", "TERM")
_VARIABLES_LIKE = ("CONVEYOR_", "DOCKER_", "GIT_", "WERF_")
_READ_BY = ("confirm.py", "flags.py", "options.py", "werf_names.py")  # what finds out what a command line asks
_MOST_PATHS = 32  # git compares every file with each of them
_SIGKILL = 9
_NOTE_AGAIN_S = 3600
_STAGE_CHARACTERS = 56 + 1 + 13 + 1 + 8


def recall(arguments: Sequence[str]) -> dict[str, Any] | None:
    """What is remembered of the last build of a command, None where that is nothing, or no build."""
    if arguments[:1] != ["build"]:
        return None
    try:
        command = describe_command(arguments)
        path = record_path(find_home(arguments), command)
        with open(path, "rb") as file:
            record: dict[str, Any] = json.load(file)
        return record if record["command"] == command else None
    except Exception:  # the usual way writes another one
        return None


def confirm(arguments: Sequence[str], record: Mapping[str, Any]) -> bool:
    """Whether the build that is remembered was confirmed: then all is told and written. Else nothing was done."""
    started_s = time.monotonic()
    try:
        home_dir = find_home(arguments)
        if was_killed(home_dir) or not _is_confirmed(record):
            return False
        _note_use(record_path(home_dir, record["command"]))
        seconds = f"{time.monotonic() - started_s:.2f}"
        if record["report"] is not None:
            from conveyor.build.replacing import replace_file

            report = seconds.join(record["report"]["text"])
            replace_file(record["report"]["path"], report.encode("utf-8", "surrogateescape"))
    except Exception:  # the usual way finds out what it is and says so
        return False
    _tell(seconds.join(record["text"]))
    return True


def _note_use(path: str) -> None:
    """What keeps the store in bounds sees by the record's time when its images were used last."""
    if os.stat(path).st_mtime < time.time() - _NOTE_AGAIN_S:
        os.utime(path)


def describe_command(arguments: Sequence[str]) -> str:
    """A digest of all that this process was asked, for variables and arguments may hold passwords."""
    variables = {name: value for name, value in os.environ.items() if name in _VARIABLES or name.startswith(_VARIABLES_LIKE)}
    directory = os.path.dirname(__file__)
    versions = [FORMAT, __version__, KEY_VERSION, *(describe_file(os.path.join(directory, name)) for name in _READ_BY)]
    asked = [versions, os.getcwd(), list(arguments), variables, sys.stderr.isatty(), sys.stderr.encoding]
    return blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=32).hexdigest()


def record_path(home_dir: str, command: str) -> str:
    """Where a command's last build is remembered."""
    return os.path.join(home_dir, "remembered", f"{command[:32]}.json")


def choose_names(names: Mapping[str, str], digests: Collection[str]) -> dict[str, str]:
    """Of the names of a storage what decides about stages of these digests: they with their images, records beside them.

    Names are those of `conveyor.storage.names`: a record about a stage, as a mark of rejection, is the name of the stage
    with something after it. Records about all stages count, for what is built on a rejected stage is rejected.
    """
    chosen = {}
    for name, image_id in names.items():
        if len(name) == _STAGE_CHARACTERS:
            if name[:56] in digests:
                chosen[name] = image_id
        elif name.startswith("import-") or (name[_STAGE_CHARACTERS:].startswith("-") and name[56] == "-"):
            chosen[name] = ""
    return chosen


def was_killed(home_dir: str) -> bool:
    """Whether a run of this home was killed, so that something may be left: the usual way removes it."""
    directory = os.path.join(home_dir, "runs")
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return False
    return any(not _is_locked(os.path.join(directory, f"{run}.lock")) for run in {name.partition(".")[0] for name in names})


def _is_locked(path: str) -> bool:
    import fcntl

    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def describe_file(path: str) -> list[int] | None:
    """What changes when a file is written anew; None where there is none."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return [status.st_mtime_ns, status.st_size, status.st_ino]


def home_below(werf_home: str) -> str:
    """Our home where werf's is given: a directory in it, for werf's caches are not ours to remove."""
    return os.path.join(werf_home, "conveyor")


def describe_variables(names: Sequence[str]) -> str:
    """A digest of variables of the environment, for their values may be secret."""
    values = json.dumps([[name, os.environ.get(name)] for name in names])
    return blake2b(values.encode(), digest_size=32).hexdigest()


def find_home(arguments: Sequence[str]) -> str:
    """Where the home is, as far as one can see without reading options in full: a wrong guess finds no record."""
    home_dir = os.environ.get("CONVEYOR_HOME_DIR") or os.environ.get("CONVEYOR_HOME")
    if not home_dir:
        werf_home = os.environ.get("WERF_HOME")
        home_dir = home_below(werf_home) if werf_home else "~/.conveyor"
    return os.path.expanduser(find_value(arguments, "--home-dir", home_dir))


def find_value(arguments: Sequence[str], flag: str, default: str) -> str:
    """The last value of a flag, as far as one can see likewise."""
    value = default
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == flag:
            value = following
        elif argument.startswith(f"{flag}="):
            value = argument.partition("=")[2]
    return value


def _is_confirmed(record: Mapping[str, Any]) -> bool:
    if os.path.realpath(record["given"]) != record["directory"] or describe_file(record["shallow"]) != record["history"]:
        return False
    if describe_variables(record["variables"]) != record["values"]:
        return False
    if any(describe_file(path) != state for path, state in record["read_from_disk"].items()):
        return False
    if _read_head(record["root"]) not in (record["head"], None):
        return False
    # Git and the storage are asked at the same time.
    process, answer = _start_status(record["root"], record["used"])
    try:
        names = _read_names(record["storage"])
        if names is None or choose_names(names, set(record["digests"])) != record["names"]:
            os.kill(process, _SIGKILL)
            return False
        with open(answer, "rb", closefd=False) as pipe:
            said = pipe.read()
    finally:
        os.close(answer)
        _, status = os.waitpid(process, 0)
    return status == 0 and _is_as_it_was(said.split(b"\0"), record)


def _read_head(root: str) -> str | None:
    """The commit of a work tree where two files tell it; None where it takes git to find out.

    It saves a build of another commit a look at the whole work tree. What git says is believed, not this.
    """
    try:
        git_dir = os.path.join(root, ".git")
        with open(os.path.join(git_dir, "HEAD")) as file:
            text = file.read().strip()
        if text.startswith("ref: "):
            with open(os.path.join(git_dir, text[5:])) as file:
                text = file.read().strip()
    except OSError:
        return None
    return text if len(text) in (40, 64) else None


def _start_status(directory: str, used: Sequence[str]) -> tuple[int, int]:
    """Git status of the paths that a build uses: the process, and the descriptor of its answer."""
    paths = [f":(top,literal){path}" for path in used] if len(used) <= _MOST_PATHS and "" not in used else []
    arguments = ["git", *SETTINGS, "-C", directory, *STATUS, "--branch", "--no-ahead-behind", "--", *paths]
    answer, write = os.pipe()
    try:
        process = os.posix_spawnp(
            "git",
            arguments,
            git_environment(),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, write, 1),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
        )
    except BaseException:
        os.close(answer)
        raise
    finally:
        os.close(write)
    return process, answer


def _is_as_it_was(lines: Sequence[bytes], record: Mapping[str, Any]) -> bool:
    used = [os.fsencode(path) for path in record["used"]]
    written = [os.fsencode(path) for path in record["written"]]
    head = branch = b""
    for line in lines:
        if line.startswith(b"# branch.oid "):
            head = line[13:]
        elif line.startswith(b"# branch.head "):
            branch = line[14:]
        elif (path := changed_path(line)) and path not in written and any(_touches(path, one) for one in used):
            return False
    # Whether a merge stays, and so what its stages record, is clear without asking git only where a branch is at it.
    return head.decode() == record["head"] and not (record["is_merge"] and branch in (b"", DETACHED))


def _touches(changed: bytes, used: bytes) -> bool:
    path = changed.rstrip(b"/")
    return not used or path == used or path.startswith(used + b"/") or used.startswith(path + b"/")


def _read_names(storage: Mapping[str, Any]) -> Mapping[str, str] | None:
    kind, arguments = storage["kind"], storage["arguments"]
    if kind == "docker":
        from stapel.docker.names import read_names as read_docker

        return read_docker(**arguments)
    if kind == "sandbox":
        from stapel.sandbox.names import read_names as read_sandbox

        return read_sandbox(**arguments)
    if kind == "registry":
        from stapel.oci.registry import RegistryStore

        waits: list[str] = []
        store = RegistryStore(**arguments, on_retry=waits.append)
        names = dict.fromkeys(store.names(fresh=True), "")
        return names if not waits else None  # what it waited for is to be told
    return None


def _tell(text: str) -> None:
    """Print to stderr; a reader that is gone stops nothing."""
    data = memoryview(text.encode(sys.stderr.encoding, "replace"))
    try:
        sys.stderr.flush()
        while data:
            data = data[os.write(2, data) :]
    except OSError:
        return
