"""Clones that many fetches have written to: their packs become few, and nobody notices."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conveyor.gitrepo import repacking
from conveyor.gitrepo.repacking import choose_small
from tests.unit.gitrepo.repositories import Place
from tests.unit.gitrepo.test_remotes import EVERYTHING, home, open_remote, packs, read, served

__all__ = ["home", "open_remote", "served"]


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        ([1], 0),
        ([1, 100], 0),
        ([1, 1, 100], 2),
        ([1, 1, 3, 100], 3),
        ([5, 5, 5, 5], 4),
        ([1, 3, 9, 27, 81], 0),
        ([1, 3, 9, 27, 80], 5),
        ([1, 3, 9, 10, 81], 4),
    ],
)
def test_what_is_small(sizes, chosen):
    paths = {Path(f"{number}"): size for number, size in enumerate(sizes)}
    assert choose_small(paths) == list(paths)[:chosen]


def objects_of(clone: Path) -> set[bytes]:
    command = ["git", f"--git-dir={clone}", "cat-file", "--batch-all-objects", "--batch-check=%(objectname)"]
    return set(subprocess.run(command, capture_output=True, check=True).stdout.split())


def fill(served: Place, open_remote, number: int):
    """One commit more, fetched with its contents."""
    served.write("a", f"{number}\n" * 100)
    repo = open_remote(served, "commit", served.commit(f"{number}"))
    (changed,) = (blob for blob in repo.files(repo.head, EVERYTHING) if blob.path == b"a")
    assert read(repo, changed) == f"{number}\n".encode() * 100
    return repo


@pytest.mark.parametrize("filters", ["true", "false"])
def test_packs_and_names_stay_few_and_nothing_is_lost(served, open_remote, home, monkeypatch, filters):
    served.git("config", "uploadpack.allowFilter", filters)
    first = open_remote(served, "branch", "main")
    blobs = first.files(first.head, EVERYTHING)
    assert [read(first, blob) for blob in blobs] == [b"1\n", b"2\n"]
    early = open_remote(served, "commit", first.head)
    assert early.sizes(blobs) == [2, 2]  # by a process of git that knows the packs of now, and stays
    commits = [fill(served, open_remote, number).head for number in range(4)]
    (clone,) = home.glob("clones/*")
    before, everything = packs(home), objects_of(clone)
    assert len(before) >= 5

    monkeypatch.setattr(repacking, "MOST_PACKS", 4)
    monkeypatch.setattr(repacking, "MOST_KEPT", 2)
    commits.append(fill(served, open_remote, 4).head)
    assert len(packs(home)) <= 4
    assert not set(before) <= set(packs(home))
    assert everything < objects_of(clone)
    assert subprocess.run(["git", f"--git-dir={clone}", "verify-pack", *clone.glob("objects/pack/*.idx")]).returncode == 0
    assert not (clone / "repack.new").exists()
    kept = [path.name for path in (clone / "refs/kept").iterdir()]
    assert (len(kept), commits[-1] in kept) == (2, True)

    # A next fetch adds to it; then nobody is asked.
    last = fill(served, open_remote, 5)
    served.path.rename(served.path.with_name("gone"))
    assert [read(early, blob) for blob in blobs] == [b"1\n", b"2\n"]
    assert last.ancestors(commits, last.head) == set(commits)
    assert [read(open_remote(served, "commit", commit), blobs[1]) for commit in commits] == [b"2\n"] * 5


_KILLED = """
import os, signal, sys
from conveyor.gitrepo import repacking
from conveyor.gitrepo.addresses import parse_address
from conveyor.gitrepo.clones import Clones
from conveyor.gitrepo.remote_source import RemoteSource
from conveyor.gitrepo.remotes import FetchedRemotes
home, url, commit, point = sys.argv[1:]
repacking.MOST_PACKS = 2
sys.addaudithook(lambda event, _: os.kill(os.getpid(), signal.SIGKILL) if event == point else None)
FetchedRemotes(Clones(home), "/").open(RemoteSource(parse_address(url), "commit", commit))
"""


@pytest.mark.parametrize("point", ["repack.before-pack", "repack.before-remove"])
def test_a_writer_that_is_killed_is_made_good_by_the_next(served, open_remote, home, monkeypatch, point):
    contents = {}
    for number in range(2):
        repo = fill(served, open_remote, number)
        contents[repo.head] = repo.files(repo.head, EVERYTHING)[0]
    served.write("a", "more\n")
    commit = served.commit()
    arguments = [sys.executable, "-c", _KILLED, str(home), f"file://{served.path}", commit, point]
    assert subprocess.run(arguments).returncode == -9
    (clone,) = home.glob("clones/*")
    everything = objects_of(clone)

    monkeypatch.setattr(repacking, "MOST_PACKS", 2)
    fill(served, open_remote, 9)
    assert everything < objects_of(clone)
    assert len(packs(home)) <= 2
    assert not (clone / "repack.new").exists()
    served.path.rename(served.path.with_name("gone"))
    for head, blob in contents.items():
        assert len(read(open_remote(served, "commit", head), blob)) == 200


def test_what_git_refuses_is_left_as_it_is(served, open_remote, home, monkeypatch):
    monkeypatch.setattr(repacking, "MOST_PACKS", 2)
    monkeypatch.setattr(repacking, "_pack", lambda packs, aside, run: None)
    for number in range(2):
        fill(served, open_remote, number)
    assert len(packs(home)) == 4
