"""Shells in build containers: on a terminal (a pty), and where stdin is none."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from stapel.docker.containers import HOME_LABEL
from stapel.runs import home_label
from tests.conformance.engines import sandbox_subject

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
from stapel.api import Cancel, Lay, Mount, Run
from stapel.runs import open_run
from tests.conformance.engines import file, lay

home, name, base, call = Path(sys.argv[1]), *sys.argv[2:5]
if name == "docker":
    from stapel.docker.engine import DockerEngine as Engine
else:
    from stapel.sandbox.engine import SandboxEngine as Engine
with open_run(home) as run:
    engine = Engine("conveyor-shell", run_id=run.id, home_dir=home, tmp_dir=home)
    try:
        held = engine.base(base, engine.platform(), print)
        status = eval(call)
    finally:
        engine.close()
sys.exit(status)
"""
SHELL = 'engine.shell(held, Run("", env={"GIVEN": "to a shell"}))'
WITH_SECRETS = 'engine.shell(held, Run("", secrets={"token": b"a secret", "empty": b""}))'
FAILED_WITH_SECRETS = """engine.shell_failed(held, [Run("rm -f /left; exit 5", secrets={"token": b"a secret"})])"""
FAILED = """engine.shell_failed(held, [lay(file(b"laid", b"by git")), Run("echo left >/left; exit 5; echo >/never")])"""


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker), "sandbox"])
def where(request, home):
    """The name of an engine, and of a base that it has; nothing of its shells is left."""
    if request.param == "docker":
        base, docker_engine = request.getfixturevalue("busybox_base"), request.getfixturevalue("docker_engine")
        yield "docker", base
        label = f"{HOME_LABEL}={home_label(home)}"
        assert docker_engine.containers(all=True, filters={"label": label}) == []
        assert docker_engine.images(all=True, filters={"label": label}) == []
        return
    with sandbox_subject(home, request) as subject:
        yield "sandbox", subject.base_reference
    assert list((home / "sandbox/filling").iterdir()) == []


def command(home, base, call):
    return [sys.executable, "-c", PROGRAM, str(home), *base, call]


def piped(home, base, call, typed):
    return subprocess.run(command(home, base, call), input=typed, capture_output=True, cwd=ROOT, timeout=60)


class Terminal:
    """A program on a terminal of its own, and a person before it."""

    def __init__(self, arguments, size=(33, 101)):
        self.ours, self.theirs = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(self.theirs)
        self.process = subprocess.Popen(
            arguments, stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, cwd=ROOT, start_new_session=True
        )
        self.seen = b""

    def resize(self, lines, columns):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, text):
        os.write(self.ours, text)

    def expect(self, pattern, timeout_s=30):
        """Wait until something is shown, and forget what was shown up to it."""
        deadline_s = time.monotonic() + timeout_s
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.ours], [], [], max(0, deadline_s - time.monotonic()))
            assert ready, f"{pattern!r} is not shown, but {self.seen!r}"
            self.seen += os.read(self.ours, 65536)
        self.seen = self.seen[found.end() :]
        return found

    def status(self):
        status = self.process.wait(30)
        assert termios.tcgetattr(self.theirs) == self.before
        return status


@contextlib.contextmanager
def terminal(*arguments, **options):
    terminal = Terminal(command(*arguments), **options)
    try:
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.ours)
        os.close(terminal.theirs)


def test_a_shell_on_a_terminal(home, where):
    with terminal(home, where, SHELL) as person:
        person.expect(rb"[#$] $")
        person.type(b'echo $((6*7)) $(id -u) $(pwd) "$GIVEN"\r')
        person.expect(rb"\n42 0 / to a shell\r\n")
        person.type(b"test -t 0 && test -t 1 && stty size\r")
        person.expect(rb"\n33 101\r\n")
        person.resize(44, 55)
        person.type(b"sleep 1.5; stty size\r")
        person.expect(rb"\n44 55\r\n")
        person.type(b"sleep 1000; echo interrupt''ed\r")
        time.sleep(0.5)
        person.type(b"\x03")
        person.type(b"echo still $((40+2))\r")
        person.expect(rb"\nstill 42\r\n")
        person.type("echo ümläut; exit 7\r".encode())
        person.expect("\numläut|\nümläut".encode())
        assert person.status() == 7


def test_an_image_is_run_on_a_terminal(home, where):
    """By its own command, or another one, and not by the toolchain's shell."""
    script = "test -e /.conveyor/stapel || echo own; read line; stty size; echo got $line; exit 6"
    with terminal(home, where, f"engine.run(held, ('/bin/sh', '-c', {script!r}))") as person:
        person.expect(rb"own\r\n")
        person.type(b"this\r")
        person.expect(rb"33 101\r\ngot this\r\n")
        assert person.status() == 6
    ran = piped(home, where, "engine.run(held, ('cat',))", b"x" * 100_000)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"x" * 100_000, b"")


def test_the_end_of_what_is_typed_ends_the_shell(home, where):
    with terminal(home, where, SHELL) as person:
        person.expect(rb"[#$] $")
        person.type(b"\x04")
        assert person.status() == 0


def test_a_shell_in_what_failed_commands_left(home, where):
    with terminal(home, where, FAILED) as person:
        person.expect(rb"[#$] $")
        person.type(b"echo $(</laid) $(</left); ls /never; exit 9\r")
        person.expect(rb"\nby git left\r\n.*No such file")
        assert person.status() == 9


def test_a_shell_has_the_secrets_of_the_step(home, where):
    with terminal(home, where, WITH_SECRETS) as person:
        person.expect(rb"[#$] $")
        person.type(b"cat /run/secrets/token; stty size; echo $(ls /run/secrets)\r")
        person.expect(rb"\na secret33 101\r\nempty token\r\n")
        person.resize(44, 55)
        person.type(b"until [ \"$(stty size)\" = '44 55' ]; do sleep 0.1; done; exit 7\r")
        assert person.status() == 7
    ran = piped(home, where, FAILED_WITH_SECRETS, b"cat /run/secrets/token; exec cat\n" + b"x" * 100_000)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"a secret" + b"x" * 100_000, b"")


def test_a_shell_without_a_terminal_reads_commands(home, where):
    ran = piped(home, where, SHELL, b'echo "$GIVEN"; test ! -t 0; test ! -t 1; echo error >&2; exit 4\necho never\n')
    assert (ran.returncode, ran.stdout, ran.stderr) == (4, b"to a shell\n", b"error\n")
    ran = piped(home, where, SHELL, b"")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


def test_a_failed_step_without_a_terminal(home, where):
    ran = piped(home, where, FAILED, b"cat /laid /left; echo; ls /never")
    assert (ran.returncode, ran.stdout) == (1, b"by gitleft\n\n")


def test_what_a_shell_is_given_and_gives_is_whole(home, where):
    data = os.urandom(6_000_000)
    ran = piped(home, where, SHELL, b"exec cat\n" + data)
    assert ran.returncode == 0
    assert ran.stdout == data


def test_a_shell_that_says_more_than_it_is_given(home, where):
    lines = b"x" * 999 + b"\n"
    script = b"exec awk '{for (i = 0; i < 20; i++) print}'\n"
    ran = piped(home, where, SHELL, script + lines * 3000)
    assert ran.returncode == 0
    assert ran.stdout == lines * 60000


def test_a_shell_in_an_image_without_anything(home, where):
    ran = piped(home, where, "engine.shell(engine.hold(None), Run(''))", b"for f in /*; do echo $f; done; exit 3\n")
    assert ran.returncode == 3
    assert b"/.conveyor" not in ran.stdout.split()
    assert b"/etc" in ran.stdout.split()


def test_a_shell_whose_user_is_killed_goes_with_the_next_run(home, where):
    with terminal(home, where, SHELL) as person:
        person.expect(rb"[#$] $")
        person.process.kill()
        person.process.wait()
    assert piped(home, where, SHELL, b"exit 0").returncode == 0
