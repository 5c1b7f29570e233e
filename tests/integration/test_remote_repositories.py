"""Clones of repositories that real servers of this machine serve, and servers and clients that end in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from conveyor.errors import GitError
from conveyor.gitrepo.addresses import parse_address
from conveyor.gitrepo.api import Selector
from conveyor.gitrepo.clones import Clones
from conveyor.gitrepo.fetching import ask_remote
from conveyor.gitrepo.remote_source import Login, RemoteSource
from conveyor.gitrepo.remotes import FetchedRemotes
from tests.conftest import absent
from tests.git_servers import GitHttp, basic, find_sshd, git_http, git_ssh
from tests.unit.gitrepo.repositories import Place, make_place

TOKEN = "s3cret-t0ken"
_WHO = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "a"), ("EMAIL", "a@b"))}


@pytest.fixture(autouse=True)
def own_settings(monkeypatch):
    for name, value in {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", **_WHO}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GIT_ASKPASS", raising=False)


@pytest.fixture
def served(tmp_path) -> Place:
    place = make_place(tmp_path / "served" / "a.git")
    place.git("config", "uploadpack.allowFilter", "true")
    place.write("a", os.urandom(300_000).hex())
    place.commit()
    place.git("tag", "v1")
    return place


@pytest.fixture
def server(served):
    with git_http(served.path.parent) as server:
        yield server


@pytest.fixture
def opening(tmp_path):
    """`opening(url, kind, ref, login)`: a commit of a repository, in a home of the test."""
    opened = []

    def open_source(url, kind="tag", ref="v1", login=None):
        remotes = FetchedRemotes(Clones(str(tmp_path / "home")), str(tmp_path))
        opened.append(remotes)
        return remotes.open(RemoteSource(parse_address(url), kind, ref, login))

    yield open_source
    for remotes in opened:
        remotes.close()


def contents(repo) -> list[bytes]:
    read = []
    for blob in repo.files(repo.head, Selector(b"")):
        with repo.open(blob) as content:
            read.append(content.read())
    return read


def name_of(server: GitHttp) -> str:
    return server.url("a.git")


# -- passwords


@pytest.mark.parametrize("given", ["url", "token in the url", "basicAuth"])
def test_a_password_reaches_the_server_and_no_argument(served, server, opening, given, monkeypatch):
    server.account = (TOKEN, "") if given.startswith("token") else ("ci", TOKEN)
    arguments: set[bytes] = set()
    server.on_fetch = lambda: arguments.update(_all_arguments())
    user_info = {"url": f"ci:{TOKEN}", "token in the url": TOKEN}.get(given, "")
    monkeypatch.setenv("THE_TOKEN", TOKEN)
    login = Login("ci", "env", "THE_TOKEN") if given == "basicAuth" else None
    repo = opening(server.url("a.git", user_info), login=login)
    assert contents(repo) == [(served.path / "a").read_bytes()]
    assert server.fetches == 2
    assert any(b"remote-http" in argument for argument in arguments)
    assert not any(TOKEN.encode() in argument for argument in arguments)
    for directory, _, names in os.walk(Path(os.fsdecode(repo._asked_dir))):
        for name in names:
            assert TOKEN.encode() not in Path(directory, name).read_bytes()


def _all_arguments() -> set[bytes]:
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.add((process / "cmdline").read_bytes())
        except OSError:
            continue
    return found


@pytest.mark.parametrize(("user_info", "hint"), [("", "basicAuth"), (f"ci:{TOKEN}", "basicAuth"), (f"{TOKEN}", "basicAuth")])
def test_a_wrong_password_is_an_error_that_does_not_show_it(served, server, opening, user_info, hint):
    server.account = ("ci", "another")
    with pytest.raises(GitError) as raised:
        opening(server.url("a.git", user_info))
    assert raised.value.reason == "remote_failed"
    assert f"git cannot fetch the tag v1 of {name_of(server)}: " in str(raised.value)
    assert hint in raised.value.hint
    assert TOKEN not in str(raised.value) + raised.value.hint


def test_a_server_that_one_is_led_to_gets_no_password(served, server, opening):
    server.account = ("ci", TOKEN)
    with git_http(served.path.parent, ("ci", TOKEN)) as other:
        server.elsewhere = f"http://{other.host}"
        with pytest.raises(GitError):
            opening(server.url("a.git", f"ci:{TOKEN}"))
        assert basic("ci", TOKEN) not in other.authorizations


# -- servers that fail


@pytest.mark.parametrize("cut", [0, 200, 5000, 100_000])
def test_a_server_that_dies_in_the_middle_leaves_a_clone_that_is_good(served, server, opening, cut, tmp_path):
    first = opening(name_of(server))
    served.write("a", os.urandom(300_000).hex())
    commit = served.commit()
    server.cut = cut
    with pytest.raises(GitError) as raised:
        contents(opening(name_of(server), "commit", commit))
    assert raised.value.reason == "remote_failed"
    server.cut = None
    assert contents(first)
    assert contents(opening(name_of(server), "commit", commit)) == [(served.path / "a").read_bytes()]
    (clone,) = (tmp_path / "home" / "clones").iterdir()
    served.git("--git-dir", str(clone), "-c", "remote.origin.promisor=true", "fsck", "--connectivity-only")


def test_a_server_that_says_nothing_is_left(served, server, tmp_path):
    release = threading.Event()
    empty = make_place(tmp_path / "empty")
    server.on_fetch = lambda: release.wait(30) and None
    with pytest.raises(GitError) as raised:
        ask_remote(
            parse_address(name_of(server)), ["fetch", "origin", "v1"], git_dir=str(empty.path / ".git"), timeout_s=1.5
        )
    release.set()
    assert raised.value.reason == "remote_stalled"


def test_where_no_server_is(opening):
    with pytest.raises(GitError) as raised:
        opening("http://127.0.0.1:1/a.git")
    assert raised.value.reason == "remote_failed"
    assert "Couldn't connect" in str(raised.value) or "refused" in str(raised.value)


# -- clients that are killed, and many of them

_BUILD = """
import sys
from conveyor.gitrepo.addresses import parse_address
from conveyor.gitrepo.api import Selector
from conveyor.gitrepo.clones import Clones
from conveyor.gitrepo.remote_source import RemoteSource
from conveyor.gitrepo.remotes import FetchedRemotes
remotes = FetchedRemotes(Clones(sys.argv[1]), "/")
repo = remotes.open(RemoteSource(parse_address(sys.argv[2]), "commit", sys.argv[3]))
print(repo.sizes(repo.files(repo.head, Selector(b""))))
remotes.close()
"""


def start(home: Path, url: str, commit: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", _BUILD, str(home), url, commit], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_one_fetches_for_all_and_one_that_is_killed_stops_nobody(served, server, tmp_path):
    home, commit, url = tmp_path / "home", served.head(), name_of(server)
    fetching, release = threading.Event(), threading.Event()

    def hold() -> None:
        if not fetching.is_set():
            fetching.set()
            release.wait(60)

    server.on_fetch = hold
    first = start(home, url, commit)
    assert fetching.wait(60)
    others = [start(home, url, commit) for _ in range(5)]
    first.send_signal(signal.SIGKILL)
    first.wait()
    said = [process.communicate() for process in others]
    release.set()
    assert [(output, complaints) for output, complaints in said] == [(b"[600000]\n", b"")] * 5
    assert server.fetches == 3  # the killed one's, one for the commit, one for the file
    assert start(home, url, commit).communicate() == (b"[600000]\n", b"")
    assert server.fetches == 3


# -- SSH


@pytest.fixture(scope="module")
def ssh(tmp_path_factory):
    if find_sshd() is None:
        absent("sshd is not on this machine (apt-get install openssh-server)")
    with git_ssh(tmp_path_factory.mktemp("ssh") / "server") as server:
        yield server


def test_ssh_with_the_keys_of_an_agent(served, ssh, opening, monkeypatch, tmp_path):
    from stapel.ssh_agent import start_agent

    monkeypatch.setenv("GIT_SSH_COMMAND", ssh.command)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(GitError) as raised:
        opening(ssh.url(served.path))
    assert "Permission denied" in str(raised.value)
    assert "--ssh-key" in raised.value.hint
    clones = Clones(str(tmp_path / "home"), lambda: start_agent([ssh.key], tmp_path))
    remotes = FetchedRemotes(clones, "/")
    remotes.open(RemoteSource(parse_address(f"file://{served.path}"), "tag", "v1"))
    assert not list(tmp_path.glob("ssh-*"))  # an agent is started where there is somebody to show keys to
    repo = remotes.open(RemoteSource(parse_address(ssh.url(served.path)), "tag", "v1"))
    assert contents(repo) == [(served.path / "a").read_bytes()]
    remotes.close()
    assert clones.agent() is not None
    clones.close()
    assert clones.agent() is None
    assert not list(tmp_path.glob("ssh-*"))


def test_an_ssh_server_that_nobody_knows(served, ssh, opening, monkeypatch):
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -F none -o UserKnownHostsFile=/dev/null")
    with pytest.raises(GitError) as raised:
        opening(ssh.url(served.path))
    assert "Host key verification failed" in str(raised.value)
    assert "ssh-keyscan" in raised.value.hint
