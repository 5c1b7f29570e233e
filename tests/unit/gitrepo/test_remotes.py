from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

from conveyor.errors import GitError
from conveyor.gitrepo.addresses import parse_address
from conveyor.gitrepo.api import Selector
from conveyor.gitrepo.clones import Clones
from conveyor.gitrepo.remote_source import Login, RemoteSource
from conveyor.gitrepo.remotes import FetchedRemotes, read_login
from tests.unit.gitrepo.repositories import Place, as_listed

EVERYTHING = Selector(b"")


@pytest.fixture
def home(tmp_path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def open_remote(home, tmp_path, request):
    """Opens a source as one run does, each time another."""
    opened = []

    def open_source(place: Place, kind, ref, *, url=""):
        remotes = FetchedRemotes(Clones(str(home)), str(tmp_path))
        opened.append(remotes)
        return remotes.open(RemoteSource(parse_address(url or f"file://{place.path}"), kind, ref))

    yield open_source
    for remotes in opened:
        remotes.close()


@pytest.fixture
def served(place) -> Place:
    """A repository that gives what a partial clone asks for."""
    place.git("config", "uploadpack.allowFilter", "true")
    place.write("a", "1\n")
    place.write("dir/b", "2\n")
    place.commit("first")
    return place


def packs(home: Path) -> list[str]:
    return sorted(path.name for path in home.glob("clones/*/objects/pack/*.pack"))


def read(repo, blob) -> bytes:
    with repo.open(blob) as content:
        return content.read()


@pytest.mark.parametrize("kind", ["tag", "annotated", "commit", "branch", "default"])
@pytest.mark.parametrize("filters", ["true", "false"])
def test_a_commit_is_had_by_any_name_of_it(served, open_remote, kind, filters):
    served.git("config", "uploadpack.allowFilter", filters)
    served.git("tag", "v1")
    served.git("tag", "-a", "-m", "release", "v2")
    names = {"tag": "v1", "annotated": "v2", "commit": served.head(), "branch": "main", "default": ""}
    repo = open_remote(served, {"annotated": "tag", "default": "branch"}.get(kind, kind), names[kind])
    assert repo.head == served.head()
    assert repo.head_commits == (served.head(),)
    assert as_listed(repo.files(repo.head, EVERYTHING)) == served.listed("HEAD")
    assert [read(repo, blob) for blob in repo.files(repo.head, EVERYTHING)] == [b"1\n", b"2\n"]
    assert repo.sizes(repo.files(repo.head, EVERYTHING)) == [2, 2]


def test_history_comes_with_a_commit_and_contents_only_as_they_are_read(served, open_remote, home):
    first = served.head()
    served.write("a", "changed\n")
    second = served.commit("second")
    repo = open_remote(served, "commit", second)
    assert repo.ancestors({first, second, "0" * 40}, second) == {first, second}
    assert repo.first_parents(second, 5) == (second, first)
    delta = repo.delta(first, second, EVERYTHING)
    assert [new.path for _, new in delta.changed] == [b"a"]
    assert repo.tree_digest(second, EVERYTHING) == served.git("rev-parse", "HEAD^{tree}").decode().strip()
    assert len(packs(home)) == 1
    assert read(repo, delta.changed[0][1]) == b"changed\n"
    assert len(packs(home)) == 2


def test_files_are_fetched_together(served, open_remote, home):
    for number in range(100):
        served.write(f"many/{number}", f"{number}\n")
    served.commit("many")
    repo = open_remote(served, "branch", "main")
    blobs = repo.files(repo.head, EVERYTHING)
    contents = repo.contents(blobs)
    for number in range(len(blobs)):
        contents.open(number).read()
    contents.close()
    assert len(packs(home)) == 2


def test_what_is_here_needs_no_server(served, open_remote):
    served.git("tag", "v1")
    commit = served.head()
    repo = open_remote(served, "tag", "v1")
    contents = [read(repo, blob) for blob in repo.files(commit, EVERYTHING)]
    served.path.rename(served.path.with_name("gone"))
    for kind, ref in (("tag", "v1"), ("commit", commit)):
        again = open_remote(served, kind, ref)
        assert [read(again, blob) for blob in again.files(commit, EVERYTHING)] == contents
    with pytest.raises(GitError) as raised:
        open_remote(served, "branch", "main")
    assert raised.value.reason == "remote_failed"


def test_a_branch_is_followed_and_a_tag_is_not(served, open_remote):
    served.git("tag", "v1")
    first = served.head()
    assert open_remote(served, "branch", "main").head == open_remote(served, "tag", "v1").head == first
    served.write("a", "2\n")
    second = served.commit("second")
    served.git("tag", "--force", "v1")
    assert open_remote(served, "branch", "main").head == second
    assert open_remote(served, "tag", "v1").head == first


def test_a_commit_that_no_branch_leads_to_is_asked_for_by_its_id(served, open_remote):
    lost = served.head()
    served.git("commit", "--quiet", "--amend", "-m", "another")
    assert open_remote(served, "commit", lost).head == lost


@pytest.mark.parametrize("version", ["0", "2"])
def test_a_server_that_gives_only_what_its_refs_name(served, open_remote, version, monkeypatch):
    first = served.head()
    served.write("a", "2\n")
    second = served.commit("second")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "protocol.version")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", version)
    repo = open_remote(served, "commit", first)
    assert [read(repo, blob) for blob in repo.files(first, EVERYTHING)] == [b"1\n", b"2\n"]
    assert repo.delta(first, open_remote(served, "commit", second).head, EVERYTHING)
    with pytest.raises(GitError) as raised:
        open_remote(served, "commit", "1" * 40)
    assert raised.value.reason in ("remote_commit_missing", "remote_failed")
    assert "1" * 40 in str(raised.value)


def test_branches_of_a_server_that_stand_in_the_way_of_earlier_ones(served, open_remote, monkeypatch):
    """Where all of its refs are fetched, those that are gone make room."""
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "protocol.version")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "0")
    commits = []
    for number in range(6):
        served.write("a", f"{number}\n")
        commits.append(served.commit())
    served.git("branch", "topic", commits[1])
    assert open_remote(served, "commit", commits[0]).head == commits[0]
    served.git("branch", "-D", "topic")
    served.git("branch", "topic/inner", commits[1])
    served.write("a", "more\n")
    served.commit()
    served.write("a", "again\n")
    served.commit()
    assert open_remote(served, "commit", served.head("HEAD~1")).head == served.head("HEAD~1")


@pytest.mark.parametrize(("kind", "ref"), [("tag", "v9"), ("branch", "none")])
def test_a_name_that_the_server_has_not(served, open_remote, kind, ref):
    with pytest.raises(GitError) as raised:
        open_remote(served, kind, ref)
    assert raised.value.reason == "remote_ref_missing"
    assert f"has not the {kind} {ref}" in str(raised.value)
    assert str(served.path) in str(raised.value)
    assert "git ls-remote" in raised.value.hint


def test_what_is_named_is_no_commit(served, open_remote):
    tree = served.git("rev-parse", "HEAD^{tree}").decode().strip()
    served.git("tag", "a-tree", tree)
    served.git("tag", "-a", "-m", "release", "v2")
    for kind, ref in (("tag", "a-tree"), ("commit", tree), ("commit", served.head("v2"))):
        for _ in range(2):
            with pytest.raises(GitError, match=r"is a (tree|tag), and a commit is asked for") as raised:
                open_remote(served, kind, ref)
            assert raised.value.reason == "remote_commit_missing"


def test_files_of_attributes_are_fetched_together(served, open_remote, home):
    for number in range(5):
        served.write(f"dir/{number}/.gitattributes", f"*.{number} filter=lfs\n")
    served.write("dir/3/x.3", "x\n")
    served.commit()
    repo = open_remote(served, "branch", "main")
    assert repo.lfs_files(repo.head, EVERYTHING) == (b"dir/3/x.3",)
    assert len(packs(home)) == 2


def test_a_repository_that_is_not_there(place, open_remote, home):
    with pytest.raises(GitError) as raised:
        open_remote(place, "tag", "v1", url=f"file://{place.path}-missing")
    assert raised.value.reason == "remote_failed"
    assert "the tag v1" in str(raised.value)
    assert "does not appear to be a git repository" in str(raised.value)
    assert packs(home) == []


def test_a_path_starts_at_the_project(served, open_remote):
    for url in (f"./{served.path.name}", str(served.path), served.path.name):
        assert open_remote(served, "branch", "main", url=url).head == served.head()


def test_sha256(tmp_path, open_remote):
    from tests.unit.gitrepo.repositories import make_place

    place = make_place(tmp_path / "wide", "--object-format=sha256")
    place.git("config", "uploadpack.allowFilter", "true")
    place.write("a", "1\n")
    place.commit()
    for kind, ref in (("branch", "main"), ("commit", place.head())):
        repo = open_remote(place, kind, ref)
        assert repo.head == place.head()
        assert [read(repo, blob) for blob in repo.files(repo.head, EVERYTHING)] == [b"1\n"]


def test_threads_share_one_fetch(served, home, tmp_path):
    remotes = FetchedRemotes(Clones(str(home)), str(tmp_path))
    source = RemoteSource(parse_address(f"file://{served.path}"), "branch", "main")
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: remotes.open(source), range(8)))
    assert len({id(repo) for repo in opened}) == 1
    remotes.close()
    assert len(packs(home)) == 1


_OPEN = """
import sys
from conveyor.gitrepo.addresses import parse_address
from conveyor.gitrepo.api import Selector
from conveyor.gitrepo.clones import Clones
from conveyor.gitrepo.remote_source import RemoteSource
from conveyor.gitrepo.remotes import FetchedRemotes
remotes = FetchedRemotes(Clones(sys.argv[1]), "/")
repo = remotes.open(RemoteSource(parse_address(sys.argv[2]), "commit", sys.argv[3]))
blobs = repo.files(repo.head, Selector(b""))
repo.sizes(blobs)
print(len(blobs))
remotes.close()
"""


def test_ten_processes_fetch_once(served, home):
    arguments = [sys.executable, "-c", _OPEN, str(home), f"file://{served.path}", served.head()]
    running = [subprocess.Popen(arguments, stdout=subprocess.PIPE) for _ in range(10)]
    said = [process.communicate()[0] for process in running]
    assert said == [b"2\n"] * 10
    assert len(packs(home)) == 2


def test_what_a_killed_fetch_has_left_is_removed_and_harms_nothing(served, open_remote, home):
    open_remote(served, "branch", "main")
    (clone,) = home.glob("clones/*")
    (clone / "objects/pack/tmp_pack_abc").write_bytes(b"half")
    served.write("a", "2\n")
    second = served.commit("second")
    (clone / f"refs/kept/{second}.lock").touch()
    (home / "clones" / f"{clone.name}.new").mkdir()
    assert open_remote(served, "commit", second).head == second
    assert not list(clone.glob("objects/pack/tmp_*"))
    assert not list(clone.glob("refs/**/*.lock"))


def test_where_a_password_comes_from(tmp_path):
    (tmp_path / "token").write_text("from a file\n")
    environment = {"TOKEN": "from a variable"}
    found = [
        read_login(Login("me", kind, text), environment, str(tmp_path)).password
        for kind, text in (("env", "TOKEN"), ("src", "token"), ("value", "written"))
    ]
    assert found == ["from a variable", "from a file", "written"]
    for kind, text, said in (
        ("env", "OTHER", "OTHER is not set"),
        ("src", "none", "No such file"),
        ("value", "a\nb", "line end"),
    ):
        assert said in read_login(Login("me", kind, text), environment, str(tmp_path)).problem
    assert "written" not in repr(Login("me", "value", "written"))


def test_a_password_is_missed_where_a_server_is_asked(served, home, monkeypatch, tmp_path):
    """A commit that is here is read without it."""
    source = RemoteSource(parse_address(f"file://{served.path}"), "commit", served.head(), Login("me", "env", "TOKEN"))

    def head(source):
        remotes = FetchedRemotes(Clones(str(home)), str(tmp_path))
        try:
            return remotes.open(source).head
        finally:
            remotes.close()

    monkeypatch.setenv("TOKEN", "x")
    assert head(source) == served.head()
    monkeypatch.delenv("TOKEN")
    assert head(source) == served.head()
    served.write("a", "another one\n")
    with pytest.raises(GitError, match="TOKEN is not set") as caught:
        head(replace(source, ref=served.commit()))
    assert caught.value.reason == "remote_password"


def test_nothing_of_the_machine_around_is_asked(served, open_remote, monkeypatch, tmp_path):
    """A hook's variables and the directory that a build runs in lead to other repositories."""
    head = served.head()
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.chdir(served.path)
    assert open_remote(served, "branch", "main").head == head
