"""Secrets in build containers of every engine: files in memory for the commands, and nowhere else."""

import contextlib
import subprocess
from pathlib import Path

import pytest

from stapel.api import Cancel, Run
from stapel.errors import CommandFailed
from tests.conformance.engines import ENGINES, RUNNERS, Said, directory, file, lay, link, sandbox_subject

CANARY = b"canary $(x) 'q' \"d\" \\ 7f3a9c1e"
SECRETS = {"token": CANARY, "key.pem": b"one\ntwo\0three\n\n", "empty": b"", "odd name": b"\xff" * 70_000}
READ = (
    'for f in /run/secrets/*; do echo "$f $(wc -c <"$f") $(stat -c \'%a %u\' -L "$f")"; done; sha256sum /run/secrets/token'
)


@pytest.fixture(params=ENGINES.values(), ids=ENGINES)
def subject(request, engine_home):
    with request.param(engine_home, request) as subject:
        yield subject


def sha256(data):
    return subprocess.run(["sha256sum"], input=data, capture_output=True, check=True).stdout.decode().split()[0]


BASES = {
    "without /run": [],
    "with /run": [directory(b"run")],
    "with the directory": [directory(b"run"), directory(b"run/secrets"), file(b"run/secrets/other", b"hidden")],
    "with a link": [link(b"run", b"var/run"), directory(b"var"), directory(b"var/run")],
}


@pytest.mark.parametrize("base", BASES)
def test_commands_read_them_and_nothing_of_them_is_left(subject, base):
    # The base of busybox has a /run or not, as it likes: here there is none to begin with.
    bare = subject.build(subject.base(), lay(remove=[b"run"]), Run("rm -rf /run"))
    below = subject.build(bare, lay(*BASES[base])) if BASES[base] else bare
    before = subject.paths(below)
    made = subject.build(
        below, Run(READ + "; read x || echo no stdin; umask >/made; exec cat /made", secrets=SECRETS), log=(said := Said())
    )
    assert said.text().splitlines() == [
        "/run/secrets/empty 0 400 0",
        "/run/secrets/key.pem 15 400 0",
        "/run/secrets/odd name 70000 400 0",
        "/run/secrets/token 30 400 0",
        f"{sha256(CANARY)}  /run/secrets/token",
        "no stdin",
        "0022",
    ]
    after = subject.paths(made)
    assert {path for path in after.keys() ^ before.keys() if not path.startswith(b".conveyor")} == {b"made"}
    assert not {name for name in subject.top_layer(made) if "secret" in name and not name.startswith(".conveyor")}
    layer = subject.store(made, made.config)
    with layer.open(layer.layers()[-1]) as content:
        assert b"canary" not in content.read()
    assert b"canary" not in made.config.to_bytes()


def test_a_runtime_has_them_too(request, engine_home):
    (make,) = RUNNERS["sandbox-runc"].values
    with make(engine_home, request) as subject:
        assert subject.run(subject.base(), "wc -c </run/secrets/token", secrets=SECRETS) == "30\n"


@pytest.mark.parametrize(
    ("script", "status"),
    [("cat /run/secrets/token >/dev/null; exit 7", 7), ("false\necho on", 1), ("trap 'exit 9' EXIT", 9)],
)
def test_commands_end_as_they_would_without_them(subject, script, status):
    with pytest.raises(CommandFailed) as caught:
        subject.build(subject.base(), Run(script, secrets=SECRETS))
    assert caught.value.status == status


def test_a_long_script_has_them_too(subject):
    filler = "".join(f"x{number}={number}\n" for number in range(30_000))
    assert subject.run(subject.base(), f"{filler}echo $x29999; wc -c </run/secrets/token", secrets=SECRETS) == "29999\n30\n"


def test_no_process_file_or_container_tells_them(subject):
    """While the commands run: arguments and variables of all processes, what Docker tells, files of the home."""
    told = []

    def look(stream, data):
        if b"up" not in data:
            return
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                with contextlib.suppress(OSError):
                    told.append((str(process / name), (process / name).read_bytes()))
        told.extend((str(path), path.read_bytes()) for root in places for path in root.rglob("*") if path.is_file())
        if subject.engine.name == "docker":
            listed = subprocess.run(["docker", "ps", "-q"], capture_output=True, text=True, check=True).stdout.split()
            told.append(("inspect", subprocess.run(["docker", "inspect", *listed], capture_output=True).stdout))

    places = [subject.home_dir, subject.tmp_dir]
    script = "cat /run/secrets/token >/dev/null; echo up; sleep 1"
    held = subject.engine.build(subject.base(), [Run(script, secrets={"token": CANARY})], look, Cancel(), key="k" * 56)
    held.close()
    assert len(told) > 50
    assert [where for where, text in told if b"7f3a9c1e" in text] == []


def test_what_the_sandbox_keeps_of_the_output_is_masked(request, engine_home):
    with sandbox_subject(engine_home, request) as subject:
        run = Run("cat /run/secrets/token; echo end; exit 3", secrets=SECRETS)
        with pytest.raises(CommandFailed):
            subject.engine.build(subject.base(), [run], Said(), Cancel(), "m" * 56)
        (kept,) = (subject.home_dir / "sandbox/logs").glob("mmmm*")
        assert kept.read_bytes() == b"***end\n"
