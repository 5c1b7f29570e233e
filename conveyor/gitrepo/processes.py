"""Git's processes: one question at once, or a long conversation with `cat-file`.

Nothing of the environment leads git to another repository, to replaced objects or into programs of the repository.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import IO, BinaryIO, cast

from conveyor.errors import GitError

# What a hook or a wrapper may have set, and would lead us to another repository than the one that was opened.
_FOREIGN = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_QUARANTINE_PATH",
    "GIT_EXTERNAL_DIFF",
    "GIT_TRACE",
    "GIT_LITERAL_PATHSPECS",
)
_OWN = {
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_GRAFT_FILE": os.devnull,
    "LC_ALL": "C",
}
_SETTINGS = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", "-c", "core.quotePath=false")
_LARGE_BYTES = 8 << 20
_AT_ONCE = 500  # questions whose text and answers fit into the buffers of pipes


def git_environment(more: Mapping[str, str] = {}) -> dict[str, str]:
    """The environment of every process of git."""
    return {name: value for name, value in os.environ.items() if name not in _FOREIGN} | _OWN | dict(more)


def run_git(
    arguments: Sequence[str | bytes],
    *,
    environment: Mapping[str, str] | None = None,
    feed: bytes = b"",
    timeout_s: float | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run git to its end; its status is for the caller to judge. `GitError` (`git_missing`)."""
    try:
        return subprocess.run(
            ["git", *_SETTINGS, *arguments],
            input=feed,
            capture_output=True,
            env=dict(environment) if environment is not None else git_environment(),
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as error:
        raise GitError("git is not found", reason="git_missing", hint="install git") from error


class CatFile:
    """`git cat-file` over one object store. Thread-safe; a process is started by the first question."""

    def __init__(self, git_dir: bytes, environment: Mapping[str, str]) -> None:
        self._arguments: list[str | bytes] = ["git", b"--git-dir=" + git_dir, *_SETTINGS, "cat-file"]
        self._environment = dict(environment)
        self._contents = _Conversation([*self._arguments, "--batch"], self._environment)
        self._checks = _Conversation([*self._arguments, "--batch-check"], self._environment)

    def read(self, oid: str) -> tuple[str, bytes] | None:
        """Type and content of an object, None where it is missing."""
        with self._contents.lock:
            output = self._contents.ask(oid.encode() + b"\n")
            header = output.readline().split()
            if len(header) != 3:
                self._expect(header, oid)
                return None
            content = output.read(int(header[2]))
            output.read(1)
            return header[1].decode(), content

    def check(self, oids: Sequence[str]) -> list[tuple[str, int] | None]:
        """Type and size in bytes of objects, in their order; None for what is missing."""
        found: list[tuple[str, int] | None] = []
        with self._checks.lock:
            for start in range(0, len(oids), _AT_ONCE):
                asked = oids[start : start + _AT_ONCE]
                output = self._checks.ask("".join(f"{oid}\n" for oid in asked).encode())
                for oid in asked:
                    header = output.readline().split()
                    if len(header) == 3:
                        found.append((header[1].decode(), int(header[2])))
                    else:
                        self._expect(header, oid)
                        found.append(None)
        return found

    def open(self, oid: str) -> BinaryIO:
        """The content of a blob: from the conversation where it is small, else from a process of its own."""
        checked = self.check([oid])[0]
        if checked is None:
            raise missing_object(oid)
        if checked[1] > _LARGE_BYTES:
            process = subprocess.Popen(
                [*self._arguments, "blob", oid], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=self._environment
            )
            return cast(BinaryIO, _ProcessOutput(process, oid))
        import io

        read = self.read(oid)
        if read is None:
            raise missing_object(oid)
        return io.BytesIO(read[1])

    def close(self) -> None:
        """End the processes."""
        self._contents.close()
        self._checks.close()

    def _expect(self, header: Sequence[bytes], oid: str) -> None:
        if len(header) != 2 or header[1] not in (b"missing", b"ambiguous"):
            raise GitError(
                f"git cat-file ended while {oid} was asked for", hint="`git fsck` tells whether objects are damaged"
            )


class _Conversation:
    """A process that answers one question after another, and is started anew where it has ended."""

    def __init__(self, command: Sequence[str | bytes], environment: Mapping[str, str]) -> None:
        self.lock = threading.Lock()
        self._command, self._environment = command, environment
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, question: bytes) -> IO[bytes]:
        """Write a question, with the lock held until its answer is read."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=dict(self._environment),
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(question)
            self._process.stdin.flush()
        except OSError as error:
            raise GitError(f"git cat-file ended: {error}", hint="`git fsck` tells whether objects are damaged") from error
        return self._process.stdout

    def close(self) -> None:
        with self.lock:
            process, self._process = self._process, None
            if process is not None:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.close()
                process.stdout.close()
                process.wait()


class _ProcessOutput:
    """The output of one process as a content to be read; a status that is not 0 is an error at its end."""

    def __init__(self, process: subprocess.Popen[bytes], oid: str) -> None:
        self._process, self._oid = process, oid

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes."""
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if (size < 0 or not data) and self._process.wait() != 0:
            raise missing_object(self._oid)
        return data

    def close(self) -> None:
        """End the process, whatever is left unread."""
        assert self._process.stdout is not None
        self._process.stdout.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def __enter__(self) -> _ProcessOutput:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def missing_object(oid: str) -> GitError:
    """The error for an object that a commit names and the store does not have."""
    return GitError(
        f"the git object {oid} is missing",
        reason="missing_object",
        hint="a partial clone is not enough: git fetch --refetch --no-filter; `git fsck` tells what else is missing",
    )
