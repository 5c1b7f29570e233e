"""The work tree as a commit, for `--dev`.

It is made by an index of our own, and its objects go to a directory of our own, of which the repository's objects are
alternates: no branch, index, object or file of the user is written. `git add` makes the blobs, so the user's filters and
conversions of line ends apply as they would to a commit.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from sys import audit as trace
from typing import TYPE_CHECKING

from msgspec import Struct

from conveyor.errors import GitError
from conveyor.gitrepo.discovery import Found
from conveyor.gitrepo.invocation import git_environment
from conveyor.gitrepo.objects import Commit
from conveyor.gitrepo.processes import run_git
from conveyor.gitrepo.status import in_work_tree

if TYPE_CHECKING:
    from subprocess import CompletedProcess

_SOMEBODY = {"NAME": "conveyor", "EMAIL": "conveyor@localhost"}
_MESSAGE = "The work tree, for conveyor --dev"


class DevArea(Struct, frozen=True):
    """Where commits of one work tree are kept, and what git must be told to see them."""

    place: Path
    objects: Path

    @property
    def reading(self) -> Mapping[str, str]:
        """Variables for git to see the commits that are kept here."""
        return {"GIT_ALTERNATE_OBJECT_DIRECTORIES": _listed(str(self.objects))}

    def writing(self, found: Found, time_s: int) -> Mapping[str, str]:
        """Variables for git to make objects here and see the repository's; commits are nobody's, of a given time."""
        return {
            "GIT_OBJECT_DIRECTORY": str(self.objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": _listed(os.fsdecode(os.path.join(found.common_dir, b"objects"))),
            **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _SOMEBODY.items()},
            **{f"GIT_{who}_DATE": f"@{time_s} +0000" for who in ("AUTHOR", "COMMITTER")},
        }


def dev_area(found: Found, home_dir: str) -> DevArea:
    """The area of a work tree below `home_dir`, made where it is not there."""
    place = Path(home_dir).absolute() / "dev" / hashlib.sha256(found.git_dir).hexdigest()[:16]
    area = DevArea(place, place / "objects")
    area.objects.mkdir(parents=True, exist_ok=True)
    return area


def commit_work_tree(found: Found, head: Commit, area: DevArea) -> str:
    """The work tree (tracked files, and untracked ones that are not ignored) as a commit; HEAD where it is as HEAD has it.

    A work tree that has not changed gives the same commit again. One that has changed gives a child of the commit before, as
    long as HEAD stays: stages made of an earlier state are then stages of an ancestor, and used.
    """
    import tempfile

    with tempfile.TemporaryDirectory(dir=area.place) as scratch:
        index = Path(scratch) / "index"
        with contextlib.suppress(FileNotFoundError):
            # With its time: by that git knows which files may have changed unseen since it was written.
            from shutil import copy2

            copy2(os.path.join(found.git_dir, b"index"), os.fsencode(index))
        environment = git_environment({"GIT_INDEX_FILE": str(index), **area.writing(found, head.time_s)})
        _run(found, environment, "-c", "advice.addEmbeddedRepo=false", "add", "--all", "--", ":/")
        tree = _run(found, environment, "write-tree")
        if tree == head.tree:
            return found.head
        last = area.place / f"last-{found.head}"
        previous = last.read_text().split() if last.exists() else []
        if previous[1:] == [tree] and _is_there(found, environment, previous[0]):
            return previous[0]
        parent = previous[0] if previous and _is_there(found, environment, previous[0]) else found.head
        commit = _run(
            found, environment, "-c", "i18n.commitEncoding=UTF-8", "commit-tree", "-p", parent, "-m", _MESSAGE, tree
        )
        written = Path(scratch) / "last"
        written.write_text(f"{commit} {tree}\n")
        trace("dev-commit.before-rename")
        written.replace(last)
    return commit


def _is_there(found: Found, environment: Mapping[str, str], commit: str) -> bool:
    return _ask(found, environment, "cat-file", "-e", f"{commit}^{{tree}}").returncode == 0


def _run(found: Found, environment: Mapping[str, str], *arguments: str) -> str:
    done = _ask(found, environment, *arguments)
    if done.returncode:
        said = done.stderr.decode("utf-8", "backslashreplace").strip()
        raise GitError(
            f"the work tree cannot be made into a commit for --dev: {said}",
            reason="dev_failed",
            hint="try `git add --all --dry-run`; what cannot be added can be listed in .gitignore",
        )
    return done.stdout.decode().strip()


def _ask(found: Found, environment: Mapping[str, str], *arguments: str) -> CompletedProcess[bytes]:
    return run_git([*in_work_tree(found), *arguments], environment=environment)


def _listed(path: str) -> str:
    """A path for a list that is separated by colons, quoted as git reads it."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
