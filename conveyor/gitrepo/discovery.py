"""Finding the repository of a directory, and saying what is wrong where there is none that can be built from."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence

from msgspec import Struct

from conveyor.errors import GitError
from conveyor.gitrepo.invocation import git_environment
from conveyor.gitrepo.processes import Asked, run_git

OLDEST_GIT = "2.25"

_QUESTIONS = (
    "--is-bare-repository",
    "--is-inside-git-dir",
    "--is-shallow-repository",
    "--absolute-git-dir",
    "--git-common-dir",
    "--show-toplevel",
    "HEAD^{commit}",
)


class Found(Struct, frozen=True):
    """What git says of a place: its work tree, its git directory and the one it shares with other work trees, its HEAD."""

    root: bytes
    git_dir: bytes
    common_dir: bytes
    is_shallow: bool
    head: str


def ask(directory: str) -> Asked:
    """Begin to ask for what `find` is to tell, so that git starts while the caller does something else. `GitError`."""
    return Asked(["-C", directory, "rev-parse", *_QUESTIONS])


def find(directory: str, asked: Asked | None = None) -> Found:
    """The repository of a directory, asked of git in one go; `asked`: by `ask`, before.

    A hook's GIT_DIR speaks of the repository that the hook runs for, so it counts only where the directory is in none.
    `GitError` (`not_a_repository`, `no_commits`, `safe_directory`, `bare`, `git_missing`, `git_too_old`).
    """
    status, output, complaints = (asked or ask(directory)).answer()
    said, environment = complaints.decode("utf-8", "surrogateescape"), git_environment()
    if status and "not a git repository" in said and os.environ.get("GIT_DIR"):
        given = {name: os.environ[name] for name in ("GIT_DIR", "GIT_WORK_TREE") if os.environ.get(name)}
        environment |= {name: os.path.abspath(path) for name, path in given.items()}
        status, output, said = _ask(directory, environment, _QUESTIONS)
    lines = output.split(b"\n")[:-1]
    if status:
        raise _refusal(directory, lines, said)
    if len(lines) != len(_QUESTIONS):
        # A path with a newline in it: each question by itself, so that the answers can be told apart.
        lines = [_ask(directory, environment, (question,))[1].removesuffix(b"\n") for question in _QUESTIONS]
    is_bare, is_inside_git_dir, is_shallow, git_dir, common_dir, root, head = lines
    if is_shallow not in (b"true", b"false"):
        raise _too_old(directory)
    if b"true" in (is_bare, is_inside_git_dir) or not root:
        raise _bare(directory, is_bare != b"true")
    at = os.fsencode(os.path.abspath(directory))
    return Found(
        root=os.path.normpath(root),
        git_dir=os.path.normpath(git_dir),
        common_dir=os.path.normpath(os.path.join(at, common_dir)),
        is_shallow=is_shallow == b"true",
        head=head.decode(),
    )


def _ask(directory: str, environment: dict[str, str], questions: Sequence[str]) -> tuple[int, bytes, str]:
    done = run_git(["-C", directory, "rev-parse", *questions], environment=environment)
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "surrogateescape")


def _refusal(directory: str, lines: list[bytes], said: str) -> GitError:
    if "dubious ownership" in said or "unsafe repository" in said:
        return GitError(
            f"the repository of {directory} belongs to another user, and git refuses to read it",
            reason="safe_directory",
            hint=f"git config --global --add safe.directory {_unsafe(directory, said)}",
        )
    if "not a git repository" in said:
        return GitError(
            f"{directory} is not in a git repository",
            reason="not_a_repository",
            hint="only what is committed is built: git init, git add and git commit, or name it by --dir or --git-work-tree",
        )
    if len(lines) > 2 and lines[2] not in (b"true", b"false"):
        return _too_old(directory)
    if b"true" in lines[:2]:
        return _bare(directory, lines[0] != b"true")
    if "HEAD" in said:
        return GitError(
            f"the repository of {directory} has no commits",
            reason="no_commits",
            hint="only what is committed is built: git add and git commit, or name another repository by --git-work-tree",
        )
    return GitError(f"git cannot read the repository of {directory}: {said.strip()}", reason="git_failed")


def _unsafe(directory: str, said: str) -> str:
    """The directory that git would have trusted, quoted for a shell."""
    offered = re.search(r"safe\.directory (.+?)\s*\Z", said, re.DOTALL)
    return offered[1] if offered else shlex.quote(os.path.abspath(directory))


def _bare(directory: str, is_git_dir: bool) -> GitError:
    what = "is inside of a git directory" if is_git_dir else "is in a bare repository, which has no work tree"
    return GitError(f"{directory} {what}", reason="bare", hint="run in a clone, or in what `git worktree add` makes")


def _too_old(directory: str) -> GitError:
    version = run_git(["--version"], environment=git_environment()).stdout.decode("utf-8", "replace").strip()
    return GitError(
        f"{version or 'git'} is too old to read the repository of {directory}",
        reason="git_too_old",
        hint=f"install git {OLDEST_GIT} or newer",
    )
