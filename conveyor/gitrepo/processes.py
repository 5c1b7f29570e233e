"""Git's processes: one question at once, or a long conversation with `cat-file`.

Long-lived processes are in groups of their own: a Ctrl-C at the terminal is for us, who then end them.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, BinaryIO, TypeVar, cast

from conveyor.errors import GitError
from conveyor.gitrepo.invocation import SETTINGS, git_environment
from conveyor.gitrepo.spawning import Process, git_missing, start_git

if TYPE_CHECKING:
    from subprocess import CompletedProcess

T = TypeVar("T")

LARGE_BYTES = 8 << 20  # a blob above this is never held in memory
_POOL = 4  # processes for contents
_AT_ONCE = 800  # questions, of 65 bytes at most: a pipe holds them all, so neither side waits for the other
_MANY = 200  # questions from which on a process of their own is less than what asking in turns costs
_CHUNK_BYTES = 1 << 20


def run_git(
    arguments: Sequence[str | bytes],
    *,
    environment: Mapping[str, str] | None = None,
    feed: bytes = b"",
    timeout_s: float | None = None,
    detached: bool = False,
) -> CompletedProcess[bytes]:
    """Run git to its end; its status is for the caller to judge. `GitError` (`git_missing`).

    `detached`: without a terminal that anything could ask at. `subprocess.TimeoutExpired` after `timeout_s`.
    """
    import subprocess

    try:
        process = subprocess.Popen(
            ["git", *SETTINGS, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment if environment is not None else git_environment(),
            start_new_session=detached,
        )
    except FileNotFoundError as error:
        raise git_missing() from error
    with process:
        try:
            output, said = process.communicate(feed, timeout_s)
        except BaseException:
            # A fetch has started others, which would go on.
            if detached:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, said)


class Asked:
    """A question to git that is on its way, so that the answer is there when it is needed. Used by one thread at a time."""

    def __init__(self, arguments: Sequence[str | bytes]) -> None:
        """`GitError` (`git_missing`)."""
        self._complaints = _file_in_memory()  # as long as the process
        self._process: Process | None = start_git(arguments, git_environment(), stderr=self._complaints)

    def answer(self) -> tuple[int, bytes, bytes]:
        """Status, output and complaints of git when it has ended; once."""
        assert self._process is not None
        with self._process.stdout:
            output = self._process.stdout.read()
        status, self._process = self._process.wait(), None
        with self._complaints:
            self._complaints.seek(0)
            return status, output, self._complaints.read()

    def close(self) -> None:
        """End git, whatever it has not said. Closing twice is fine."""
        if self._process is not None:
            self._process.kill()
            self._process.stdout.close()
            self._process = None
            self._complaints.close()


class CatFile:
    """`git cat-file` over one object store. Thread-safe; a process is started by the first question."""

    def __init__(self, git_dir: bytes, environment: Mapping[str, str]) -> None:
        # A submodule's settings name a work tree, and git would refuse where that is not there.
        place = {"GIT_DIR": os.fsdecode(git_dir), "GIT_WORK_TREE": os.fsdecode(git_dir)}
        self._environment = {**environment, **place}
        self._free: list[_Conversation] = []
        self._slots = threading.Semaphore(_POOL)
        self._checks: _Conversation | None = None
        self._checks_lock = threading.Lock()
        self._is_closed = False

    def start(self) -> None:
        """Start the process that the first question would start."""
        self._free.append(_Conversation("--batch", self._environment))

    def read(self, oid: str) -> tuple[str, bytes] | None:
        """Type and content of an object, None where it is missing; for those that are held in memory."""
        return self.read_all((oid,))[0]

    def read_all(self, oids: Sequence[str]) -> list[tuple[str, bytes] | None]:
        """Type and content of objects, in their order; None for what is missing. A blob that is too large has b""."""
        with self._slots:
            try:
                conversation = self._free.pop()
            except IndexError:
                conversation = _Conversation("--batch", self._environment)
            try:
                found = conversation.ask_all(oids, conversation.answer_content)
            except BaseException:
                # What is left unread would be taken for the answer to the next question.
                conversation.end()
                raise
            if self._is_closed:
                conversation.end()
            else:
                self._free.append(conversation)
        return found

    def check(self, oids: Sequence[str]) -> list[tuple[str, int] | None]:
        """Type and size in bytes of objects, in their order; None for what is missing."""
        with self._checks_lock:
            checks, self._checks = self._checks or _Conversation("--batch-check", self._environment), None
            try:
                found = checks.ask_all(oids, checks.answer)
            except BaseException:
                checks.end()
                raise
            self._checks = checks
        return found

    def sizes(self, oids: Sequence[str]) -> list[int]:
        """Sizes in bytes of objects, in their order. `GitError` for what is missing."""
        if len(oids) > _MANY:
            many = _Conversation("--batch-check=%(objectsize)", self._environment, oids)
            try:
                return many.sizes(oids)
            finally:
                many.end()
        found = []
        for oid, checked in zip(oids, self.check(oids), strict=True):
            if checked is None:
                raise missing_object(oid)
            found.append(checked[1])
        return found

    def read_ahead(self, oids: Sequence[str]) -> Iterator[bytes]:
        """Contents of blobs in their order, from a process that reads them meanwhile; a blob that is too large is b"".

        `GitError` for what is missing. The process ends with the iterator.
        """
        reading = _Conversation("--batch", self._environment, oids)
        try:
            for oid in oids:
                found = reading.answer_content(oid)
                if found is None:
                    raise missing_object(oid)
                yield found[1]
        finally:
            reading.end()

    def stream(self, oid: str) -> BinaryIO:
        """The content of a blob from a process of its own."""
        return cast(BinaryIO, _Streamed(start_git(["cat-file", "blob", oid], self._environment), oid))

    def see(self, more: Mapping[str, str]) -> None:
        """Ask with further variables from now on: processes that run already do not know them."""
        self._environment = {**self._environment, **more}
        self._end_free()

    def close(self) -> None:
        """End the processes that nobody talks to; one that is talked to ends with that talk."""
        self._is_closed = True
        self._end_free()

    def _end_free(self) -> None:
        while self._free:
            self._free.pop().end()
        with self._checks_lock:
            if self._checks is not None:
                self._checks.end()
                self._checks = None


class _Conversation:
    """A process of `cat-file`, held by one thread at a time, which reads as many answers as it asked questions.

    With `asked` the questions are known: git reads them by itself, and answers as fast as it can.
    """

    def __init__(self, mode: str, environment: Mapping[str, str], asked: Sequence[str] | None = None) -> None:
        self._complaints = _file_in_memory()  # as long as the process
        if asked is None:
            self._process = start_git(["cat-file", mode], environment, stdin="pipe", stderr=self._complaints)
        else:
            with _file_in_memory() as questions:
                questions.write(_lines(asked))
                questions.seek(0)
                arguments = ["cat-file", "--buffer", mode]
                self._process = start_git(arguments, environment, stdin=questions, stderr=self._complaints)
        self._questions, self._answers = self._process.stdin, self._process.stdout

    def ask_all(self, oids: Sequence[str], answer: Callable[[str], T]) -> list[T]:
        """The answers for objects in their order, asked for as many at once as pipes hold."""
        found: list[T] = []
        for start in range(0, len(oids), _AT_ONCE):
            asked = oids[start : start + _AT_ONCE]
            self.ask(asked)
            found += [answer(oid) for oid in asked]
        return found

    def ask(self, oids: Sequence[str]) -> None:
        """Write questions."""
        assert self._questions is not None
        try:
            self._questions.write(_lines(oids))
            self._questions.flush()
        except BrokenPipeError as error:
            raise self._ended() from error

    def answer(self, oid: str) -> tuple[str, int] | None:
        """Type and size, None where the object is missing."""
        header = self._answers.readline()
        if not header.endswith(b"\n"):
            raise self._ended()
        fields = header.split()
        if len(fields) == 3 and fields[0] == oid.encode():
            return fields[1].decode(), int(fields[2])
        return None

    def sizes(self, oids: Sequence[str]) -> list[int]:
        """All sizes at once, from a process that prints nothing else."""
        lines = self._answers.read().splitlines()
        if len(lines) != len(oids):
            raise self._ended()
        try:
            return list(map(int, lines))
        except ValueError:
            raise missing_object(next(oid for oid, line in zip(oids, lines, strict=True) if not line.isdigit())) from None

    def answer_content(self, oid: str) -> tuple[str, bytes] | None:
        """Type and content."""
        answer = self.answer(oid)
        if answer is None:
            return None
        kind, size = answer
        if size > LARGE_BYTES and kind != "tree":
            self._skip(size + 1)
            return kind, b""
        content = self._answers.read(size)
        if len(content) != size or not self._answers.read(1):
            raise self._ended()
        return kind, content

    def end(self) -> None:
        """End the process, whatever is left unread."""
        # Closing flushes, which fails where the process is gone already.
        with contextlib.suppress(BrokenPipeError):
            if self._questions is not None:
                self._questions.close()
        self._answers.close()
        self._process.wait()
        self._complaints.close()

    def _skip(self, size: int) -> None:
        while size:
            chunk = self._answers.read(min(size, _CHUNK_BYTES))
            if not chunk:
                raise self._ended()
            size -= len(chunk)

    def _ended(self) -> GitError:
        self._complaints.seek(0)
        said = self._complaints.read().decode("utf-8", "backslashreplace").strip()
        return GitError(
            f"git cat-file ended: {said or 'it said nothing'}",
            reason="git_failed",
            hint="`git fsck` tells whether objects are damaged",
        )


class _Streamed:
    """The blob that a process prints; an end that comes too early is an error."""

    def __init__(self, process: Process, oid: str) -> None:
        self._process, self._output, self._oid = process, process.stdout, oid

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; all that is left where it is negative."""
        data = self._output.read(size)
        if (size < 0 or len(data) < size) and self._process.wait() != 0:
            raise missing_object(self._oid)
        return data

    def readable(self) -> bool:
        """True."""
        return True

    def close(self) -> None:
        """End the process, whatever is left unread."""
        self._output.close()
        self._process.kill()

    def __enter__(self) -> _Streamed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _lines(oids: Sequence[str]) -> bytes:
    return "".join(f"{oid}\n" for oid in oids).encode()


def in_memory(content: bytes) -> BinaryIO:
    """A content that was read, to be read again."""
    return io.BytesIO(content)


def _file_in_memory() -> IO[bytes]:
    """A file for a process. (`tempfile` takes longer to import than git to begin.)"""
    return open(os.memfd_create("git"), "w+b")


def missing_object(oid: str) -> GitError:
    """The error for an object that a commit names and the store does not have."""
    return GitError(
        f"the git object {oid} is missing",
        reason="object_missing",
        hint="a partial clone is not enough: git fetch --refetch --no-filter; `git fsck` tells what else is missing",
    )
