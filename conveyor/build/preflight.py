"""What can be known before anything is built: inputs that are not in the commit, mappings that mean nothing.

All problems of all images are told at once.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator

from conveyor.config.giterminism.api import Refusals
from conveyor.config.models import Image, Project
from conveyor.errors import ConfigError, GitError, Problem
from conveyor.gitrepo.api import Change, Remotes, Repository
from conveyor.stages.git_mapping import Mapped, define, map_one

_SHALLOW_HINT = """\
fetch the whole history before the build:
    git fetch --unshallow
    GitHub Actions: `fetch-depth: 0` under `with:` of actions/checkout
    GitLab CI:      `GIT_DEPTH: "0"` under `variables:`
or say `gitWorktree.forceShallowClone: true` in werf.yaml: stages made from commits that are not here are not used then"""


def check_history(project: Project, repo: Repository) -> None:
    """Have the whole history, fetched once where that is allowed. `GitError` (reason `shallow_clone`)."""
    settings = project.git_worktree
    if settings.force_shallow_clone or not repo.is_shallow():
        return
    if settings.allow_unshallow and repo.deepen():
        return
    how = "and it could not be deepened from origin" if settings.allow_unshallow else "which may not be deepened"
    raise GitError(
        f"the clone is shallow, {how}: stages can be selected by the history of commits only",
        reason="shallow_clone",
        hint=_SHALLOW_HINT,
    )


def check_uncommitted(
    images: Iterable[Image], repo: Repository, prefix: bytes, written: Collection[bytes], refusals: Refusals
) -> None:
    """Refuse changes of the work tree to files that images are built of; `written` are files of our own, which never count.

    Each file is noted with what uses it.
    """
    changes = [change for change in repo.uncommitted() if change.path not in written]
    if not changes:
        return
    used: dict[Change, list[str]] = {}
    local = [(mapping, image) for image in images for mapping in image.git if mapping.remote is None]
    for mapping, image in local:
        for change in repo.select_changes(changes, define(mapping, prefix).selector()):
            used.setdefault(change, []).append(f"{_image(image)} (git.add: {mapping.add})")
    for change, users in sorted(used.items(), key=lambda entry: entry[0].path):
        path = os.fsdecode(os.path.relpath(change.path, prefix) if prefix else change.path)
        refusals.refuse_file(path, change.kind, "", None, _summarise(users))


def check_mappings(images: Iterable[Image], repo: Repository, prefix: bytes, remotes: Remotes | None = None) -> None:
    """Refuse mappings that match nothing, that would put a file in place of the root, and files kept by Git LFS.

    Remote repositories are fetched where they are not here, and what cannot be had of them is a problem of the mapping.
    """
    problems: list[Problem] = []
    images = tuple(images)
    if remotes is not None:
        remotes.open_all(mapping.remote for image in images for mapping in image.git if mapping.remote is not None)
    for image in images:
        for mapping in image.git:
            try:
                item = map_one(mapping, prefix, repo, remotes)
                problems += _mistakes(item, image)
            except GitError as error:
                if mapping.remote is None:
                    raise
                problems.append(Problem(mapping.place, str(error), error.hint))
    if problems:
        raise ConfigError(tuple(dict.fromkeys(problems)))


def _mistakes(item: Mapped, image: Image) -> Iterator[Problem]:
    mapping, selector, repo = item.mapping, item.selector, item.repo
    if not repo.matches(repo.head, selector):
        filtered = " with includePaths and excludePaths" if selector.include or selector.exclude else ""
        at = f" of {mapping.remote.address.url}" if mapping.remote is not None else ""
        hint = "look at `git ls-tree -r HEAD`; paths are relative to the directory of werf.yaml"
        yield Problem(
            mapping.place,
            f"git.add: {mapping.add} matches no files{filtered} at commit {repo.head[:12]}{at} ({_image(image)})",
            "paths are relative to the root of that repository" if at else hint,
        )
        return
    if mapping.to == "/" and repo.is_file(repo.head, selector.add):
        yield Problem(
            mapping.place, f"git.to: / cannot be the file {mapping.add}", "write the path of the file, `to: /NAME`"
        )
    wanted = repo.lfs_wanted(repo.head, selector)
    if wanted:
        from conveyor.build.kept_contents import find_missing

        yield from find_missing(repo, wanted.values(), mapping.place, "leave the file out by excludePaths")


def _image(image: Image) -> str:
    return f"image {image.name or '~'}"


def _show(path: bytes) -> str:
    return repr(path.decode("utf-8", "backslashreplace")).strip("'")


def _summarise(users: list[str]) -> str:
    distinct = list(dict.fromkeys(users))
    return ", ".join(distinct[:3]) + (f" and {len(distinct) - 3} more" if len(distinct) > 3 else "")
