"""What git status says of the work tree, and the work tree as a commit."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from conveyor.errors import GitError
from conveyor.gitrepo.api import Change
from conveyor.gitrepo.processes import git_environment, run_git

_DEV_DATE = "2000-01-01T00:00:00Z"


def read_status(root: bytes, git_dir: bytes) -> tuple[Change, ...]:
    """Every path that is not as the commit has it: staged, modified, deleted, untracked and not ignored; submodules too."""
    done = run_git(
        [
            *_work_tree(root, git_dir),
            "status",
            "--porcelain=v2",
            "-z",
            "--untracked-files=all",
            "--ignore-submodules=none",
            "--no-renames",
        ]
    )
    if done.returncode:
        raise GitError(f"git status failed: {done.stderr.decode('utf-8', 'replace').strip()}")
    return tuple(_parse(done.stdout))


def _parse(output: bytes) -> Iterator[Change]:
    for record in output.split(b"\0"):
        kind = record[:1]
        if kind == b"?":
            yield Change(record[2:], "untracked")
        elif kind == b"1":
            fields = record.split(b" ", 8)
            yield Change(fields[8], _kind(fields[1], fields[2]))
        elif kind == b"u":
            yield Change(record.split(b" ", 10)[10], "modified")


def _kind(states: bytes, submodule: bytes) -> str:
    if submodule.startswith(b"S"):
        return "submodule"
    if states[1:] == b"D":
        return "deleted"
    return "modified" if states[1:] != b"." else "staged"


def commit_work_tree(root: bytes, git_dir: bytes, head: str, head_tree: str, home_dir: str) -> tuple[str, dict[str, str]]:
    """The work tree (tracked files and untracked ones that are not ignored) as a commit, and git's environment to see it.

    The commit, its objects and the index that it is made by are kept below `home_dir`: nothing of the user's repository is
    written. Equal work trees give one commit; each further one is a child of the one before, so that stages made from it are
    found again. A work tree that is as HEAD has it gives HEAD.
    """
    place = Path(home_dir) / "dev" / hashlib.sha256(git_dir).hexdigest()[:16]
    objects = place / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    environment = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects)}
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        index = os.path.join(os.fsencode(scratch), b"index")
        own_index = _index_of(root, git_dir)
        if own_index is not None:
            shutil.copyfile(own_index, index)
        writing = git_environment(
            {
                "GIT_INDEX_FILE": os.fsdecode(index),
                "GIT_OBJECT_DIRECTORY": str(objects),
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.fsdecode(_object_directory(git_dir)),
                **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _NOBODY.items()},
            }
        )
        _ask([*_work_tree(root, git_dir), "add", "--all", "--", b":/"], writing, "git add of the work tree")
        tree = _ask([*_work_tree(root, git_dir), "write-tree"], writing, "git write-tree")
        if tree == head_tree:
            return head, {}
        last = place / f"last-{head}"
        previous = last.read_text().split() if last.exists() else []
        if previous and previous[1] == tree:
            return previous[0], environment
        parent = previous[0] if previous else head
        commit = _ask(
            [b"--git-dir=" + git_dir, "commit-tree", "-p", parent, "-m", "The work tree, for conveyor --dev", tree],
            writing,
            "git commit-tree",
        )
        filling = Path(scratch) / "last"
        filling.write_text(f"{commit} {tree}\n")
        filling.replace(last)
    return commit, environment


_NOBODY = {"NAME": "conveyor", "EMAIL": "conveyor@localhost", "DATE": _DEV_DATE}


def _ask(arguments: list[str | bytes], environment: dict[str, str], doing: str) -> str:
    done = run_git(arguments, environment=environment)
    if done.returncode:
        raise GitError(f"--dev: {doing} failed: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout.decode().strip()


def _work_tree(root: bytes, git_dir: bytes) -> list[str | bytes]:
    return [b"--git-dir=" + git_dir, b"--work-tree=" + root, b"-C", root]


def _index_of(root: bytes, git_dir: bytes) -> bytes | None:
    index = os.path.join(git_dir, b"index")
    return index if os.path.exists(index) else None


def _object_directory(git_dir: bytes) -> bytes:
    """The objects of a git directory, those of the main one for a linked work tree."""
    try:
        with open(os.path.join(git_dir, b"commondir"), "rb") as pointer:
            common = os.path.normpath(os.path.join(git_dir, pointer.read().strip()))
    except OSError:
        common = git_dir
    return os.path.join(common, b"objects")
