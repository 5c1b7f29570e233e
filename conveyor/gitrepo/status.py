"""What git status says of the work tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from conveyor.errors import GitError
from conveyor.gitrepo.api import Change, ChangeKind
from conveyor.gitrepo.discovery import Found
from conveyor.gitrepo.invocation import STATUS, changed_path
from conveyor.gitrepo.processes import Asked


def ask_status(place: Sequence[str | bytes]) -> Asked:
    """Begin to look at the work tree to which the arguments `place` lead git."""
    return Asked([*place, *STATUS])


def read_status(asked: Asked) -> tuple[Change, ...]:
    """Every path that is not as the commit has it: staged, modified, deleted, untracked and not ignored; submodules too.

    Settings of the user have no say in what is listed. A directory ends with `/`: a repository inside, which git does not
    look into.
    """
    status, output, complaints = asked.answer()
    if status:
        said = complaints.decode("utf-8", "backslashreplace").strip()
        raise GitError(f"git status failed: {said}", reason="git_failed", hint="try `git status` in the repository")
    return tuple(_parse(output))


def in_work_tree(found: Found) -> list[str | bytes]:
    """The arguments that lead git to the work tree."""
    return [b"--git-dir=" + found.git_dir, b"--work-tree=" + found.root, b"-C", found.root]


def _parse(output: bytes) -> Iterator[Change]:
    for record in output.split(b"\0"):
        path = changed_path(record)
        fields = record.split(b" ", 3)
        if not path:
            continue
        if fields[0] == b"?":
            yield Change(path, "untracked")
        elif fields[0] == b"1":
            yield Change(path, _kind(fields[1], fields[2]))
        else:
            yield Change(path, "submodule" if fields[2].startswith(b"S") else "modified")


def _kind(states: bytes, submodule: bytes) -> ChangeKind:
    """`states` are those of the index and of the work tree."""
    if submodule.startswith(b"S"):
        return "submodule"
    if b"D" in states:
        return "deleted"
    return "modified" if states[1:] != b"." else "staged"
