"""Contents that Git LFS keeps: in a checkout, and from a server by its API."""

from __future__ import annotations

import hashlib

import pytest

from conveyor.errors import GitError
from conveyor.gitrepo.addresses import parse_address
from conveyor.gitrepo.api import Selector
from conveyor.gitrepo.clones import Clones
from conveyor.gitrepo.lfs import is_lfs_installed, parse_pointer
from conveyor.gitrepo.remote_source import RemoteSource
from conveyor.gitrepo.remotes import FetchedRemotes
from tests.conftest import absent
from tests.git_servers import git_http
from tests.integration.test_remote_repositories import own_settings as own_settings
from tests.unit.gitrepo.repositories import Place, make_place

EVERYTHING = Selector(b"")
CONTENT = b"large\n" * 1000


@pytest.fixture(scope="module", autouse=True)
def lfs_program():
    if not is_lfs_installed():
        absent("git lfs is not on this machine (apt-get install git-lfs)")


def pointer(content: bytes) -> bytes:
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize %d\n" % (
        hashlib.sha256(content).hexdigest().encode(),
        len(content),
    )


@pytest.fixture
def served(tmp_path) -> Place:
    place = make_place(tmp_path / "served" / "a.git")
    place.git("config", "uploadpack.allowFilter", "true")
    place.write(".gitattributes", "*.bin filter=lfs -text\n")
    place.write("dir/a.bin", pointer(CONTENT))
    place.write("raw.bin", "committed as it is\n")
    place.write("plain", pointer(b"no attribute names it"))
    place.commit()
    return place


@pytest.fixture
def server(served):
    with git_http(served.path.parent, ("ci", "pa ss")) as server:
        server.lfs[hashlib.sha256(CONTENT).hexdigest()] = CONTENT
        yield server


@pytest.fixture
def fetched(served, server, tmp_path):
    """The repository as a mapping with `url` sees it."""
    clones = Clones(str(tmp_path / "home"))
    remotes = FetchedRemotes(clones, "/")
    yield remotes.open(RemoteSource(parse_address(server.url("a.git", "ci:pa%20ss")), "branch", "main"))
    remotes.close()
    clones.close()


def read(repo, path: bytes) -> bytes:
    with repo.lfs_contents(repo.head).open(repo.lfs_wanted(repo.head, EVERYTHING)[path]) as content:
        return content.read()


def test_only_pointers_that_attributes_name_stand_for_something_else(fetched):
    wanted = fetched.lfs_wanted(fetched.head, EVERYTHING)
    assert {path: item.pointer.size for path, item in wanted.items()} == {b"dir/a.bin": len(CONTENT)}
    assert fetched.lfs_wanted(fetched.head, Selector(b"dir/a.bin")).keys() == {b""}
    assert not fetched.lfs_wanted(fetched.head, Selector(b"", ("plain",)))


def test_a_content_is_fetched_once_with_the_password_of_the_repository(fetched, server):
    assert not fetched.lfs_contents(fetched.head).has(fetched.lfs_wanted(fetched.head, EVERYTHING)[b"dir/a.bin"])
    assert read(fetched, b"dir/a.bin") == read(fetched, b"dir/a.bin") == CONTENT
    assert len(server.lfs_given) == 1


def test_the_server_has_not_the_content(fetched, server):
    server.lfs.clear()
    with pytest.raises(GitError) as raised:
        read(fetched, b"dir/a.bin")
    assert raised.value.reason == "lfs_failed"
    assert "dir/a.bin is kept by Git LFS" in str(raised.value)
    assert "pa ss" not in str(raised.value)


def test_what_the_checkout_has_needs_nobody(served):
    oid = hashlib.sha256(CONTENT).hexdigest()
    kept = served.path / ".git/lfs/objects" / oid[:2] / oid[2:4] / oid
    kept.parent.mkdir(parents=True)
    kept.write_bytes(CONTENT)
    repo = served.open()
    assert read(repo, b"dir/a.bin") == CONTENT
    kept.write_bytes(CONTENT.replace(b"l", b"L"))
    with pytest.raises(GitError, match="is damaged: remove it"):
        read(repo, b"dir/a.bin")
    repo.close()


def test_a_clone_asks_its_origin_or_whom_its_lfsconfig_names(served, server, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_LFS_SKIP_SMUDGE", "1")
    for number, settings in enumerate(("", f"[lfs]\n\turl = {server.url('a.git', 'ci:pa%20ss')}/info/lfs\n")):
        clone = Place(tmp_path / f"clone-{number}")
        served.git("clone", "--quiet", ".", str(clone.path))
        if settings:
            clone.write(".lfsconfig", settings)
            clone.commit()
        else:
            clone.git("remote", "set-url", "origin", server.url("a.git", "ci:pa%20ss"))
        repo = clone.open()
        assert read(repo, b"dir/a.bin") == CONTENT
        repo.close()
        assert clone.git("status", "--porcelain") == b""
    assert len(server.lfs_given) == 2


@pytest.mark.parametrize("text", [b"", b"plain\n", b"version https://example.org\noid sha256:00\nsize 1\n"])
def test_what_is_no_pointer(text):
    assert parse_pointer(text) is None


def test_a_pointer_with_extensions_is_refused():
    with pytest.raises(GitError):
        parse_pointer(pointer(b"x").replace(b"oid", b"ext-0-foo sha256:00\noid"))
