"""How git is listened to while it asks a server: programs in its place say what it might say."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from conveyor.errors import GitError
from conveyor.gitrepo.addresses import parse_address
from conveyor.gitrepo.fetching import ask_remote

ADDRESS = parse_address("https://ci:pa%20ss@example.org/a.git")


@pytest.fixture
def say(tmp_path, monkeypatch):
    """`say(script)`: the program `git` is this shell script."""

    def have(script: str) -> None:
        program = tmp_path / "bin" / "git"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    return have


def test_progress_is_left_out_of_what_is_told(say):
    lines = (
        "remote: Enumerating objects: 5, done.",
        r"remote: Counting objects:  20%% (1/5)\rremote: Counting objects: 100%% (5/5), done.",
        "Receiving objects: 100%% (5/5)",
        "fatal: the end of https://x:pa%%20ss@example.org (pa ss)",
    )
    say("printf '" + r"\n".join(lines) + r"\n' >&2; echo out; exit 128")
    said = ask_remote(ADDRESS, ["fetch"])
    assert (said.status, said.output, said.complaints) == (128, b"out\n", "fatal: the end of https://example.org (***)")


def test_only_the_last_lines_are_told(say):
    say("i=0; while [ $i -lt 5000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1")
    assert ask_remote(ADDRESS, ["fetch"]).complaints.split("\n") == [f"line {number}" for number in range(4988, 5000)]


def test_the_credentials_are_in_the_environment_alone(say, tmp_path):
    say(f'echo "$@" > {tmp_path}/arguments; echo "$CONVEYOR_GIT_USERNAME:$CONVEYOR_GIT_PASSWORD:$GIT_TERMINAL_PROMPT"')
    assert ask_remote(ADDRESS, ["fetch"]).output == b"ci:pa ss:0\n"
    arguments = (tmp_path / "arguments").read_text()
    assert "pa ss" not in arguments
    assert "credential.https://example.org.helper=!f()" in arguments


def test_what_is_fed_reaches_it(say):
    say("wc -c")
    assert ask_remote(ADDRESS, ["fetch"], feed=b"x" * 1_000_000).output.split() == [b"1000000"]
    say("exit 0")
    assert ask_remote(ADDRESS, ["fetch"], feed=b"x" * 1_000_000).status == 0


def test_a_program_that_it_leaves_behind_is_not_waited_for(say, tmp_path):
    say(f"(sleep 30; touch {tmp_path}/later) & echo done")
    assert ask_remote(ADDRESS, ["fetch"]).output == b"done\n"
    assert not (tmp_path / "later").exists()


def test_one_that_says_nothing_is_ended_with_all_that_it_started(say, tmp_path):
    say(f"sh -c 'echo $$ > {tmp_path}/pid; exec sleep 60' & sleep 60")
    with pytest.raises(GitError) as raised:
        ask_remote(ADDRESS, ["fetch"], timeout_s=0.5)
    assert raised.value.reason == "remote_stalled"
    assert "pa ss" not in str(raised.value) + raised.value.hint
    pid = int((tmp_path / "pid").read_text())
    deadline_s = time.monotonic() + 20
    while _runs(pid):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
