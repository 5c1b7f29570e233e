"""Agents and the filter before them, with the system's own ssh-agent, ssh-add and ssh-keygen."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stapel.errors import StapelError
from stapel.ssh_agent import find_agent, serve_filtered, start_agent
from stapel.ssh_wire import MAX_FRAME_BYTES, BadFrame, connect, read_frame, write_frame
from tests.conftest import absent

ROOT = Path(__file__).parents[3]
FAILURE = b"\x05"
LIST = b"\x0b"


@pytest.fixture(scope="module", autouse=True)
def openssh():
    for program in ("ssh-agent", "ssh-add", "ssh-keygen"):
        if shutil.which(program) is None:
            absent(f"{program} is not on this machine (apt-get install openssh-client)")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Keys `plain`, `pem`, `locked` and `locked-pem` (protected by a passphrase), and the authority `ca`."""
    directory = tmp_path_factory.mktemp("keys")
    for name, passphrase, options in (
        ("plain", "", ["-t", "ed25519"]),
        ("pem", "", ["-t", "rsa", "-m", "PEM"]),
        ("locked", "password", ["-t", "ed25519"]),
        ("locked-pem", "password", ["-t", "rsa", "-m", "PEM"]),
        ("ca", "", ["-t", "ed25519"]),
    ):
        keygen("-q", "-f", directory / name, "-N", passphrase, "-C", f"key {name}", *options)
    return directory


@pytest.fixture
def agent(keys, tmp_path):
    with start_agent([keys / "plain"], tmp_path) as path:
        yield path


@pytest.fixture
def filtered(agent, tmp_path):
    with serve_filtered(agent, tmp_path) as path:
        yield path


def keygen(*arguments, env=None, check=True):
    return subprocess.run(["ssh-keygen", *arguments], capture_output=True, text=True, check=check, env=env, timeout=30)


def ssh_add(agent, *arguments, stdin=None):
    env = {**os.environ, "SSH_AUTH_SOCK": str(agent), "SSH_ASKPASS_REQUIRE": "never"}
    return subprocess.run(["ssh-add", *arguments], capture_output=True, text=True, env=env, input=stdin, timeout=30)


def ask(path, message):
    with connect(path) as connection:  # with a time limit it would not wait for its turn
        connection.settimeout(30)
        write_frame(connection, message)
        return read_frame(connection)


def eventually(condition, timeout_s=10):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def processes_of(path):
    """Ids of the processes that have `path` among their arguments."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                if os.fsencode(path) in (process / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(process.name))
    return found


# -- find_agent


def test_an_agent_that_lists_keys_is_found(agent):
    assert find_agent({"SSH_AUTH_SOCK": str(agent)}) == agent


def test_an_agent_is_found_by_a_relative_path_and_given_by_an_absolute_one(agent, monkeypatch):
    monkeypatch.chdir(agent.parent)
    assert find_agent({"SSH_AUTH_SOCK": agent.name}) == agent


@pytest.mark.parametrize("named", [None, "", "absent", "a-file", "a" * 300, "."])
def test_what_is_no_socket_is_no_agent(named, tmp_path):
    (tmp_path / "a-file").write_text("")
    env = {} if named is None else {"SSH_AUTH_SOCK": named and str(tmp_path / named)}
    assert find_agent(env) is None


@contextmanager
def impostor(directory, answer):
    """A socket that answers every connection with the same bytes (None: nothing, and it stays open)."""
    path = directory / "impostor"
    kept = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve():
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    kept.append(connection)
                    if answer is not None:
                        connection.recv(4096)
                        connection.sendall(answer)
                        connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in kept:
            connection.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0\0",
        b"\0\0\0\0",
        b"\0\0\0\x01\x05",
        b"\0\0\0\x05\x0c\0",
        b"\xff\xff\xff\xff\x0c",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
    ids=["end", "half a length", "nothing in it", "failure", "cut off", "too long", "another protocol"],
)
def test_a_socket_that_does_not_list_keys_is_no_agent(answer, tmp_path):
    with impostor(tmp_path, answer) as path:
        assert find_agent({"SSH_AUTH_SOCK": str(path)}) is None


def test_a_socket_that_says_nothing_is_given_up(tmp_path):
    with impostor(tmp_path, None) as path:
        started_s = time.monotonic()
        assert find_agent({"SSH_AUTH_SOCK": str(path)}) is None
        assert time.monotonic() - started_s < 30


# -- start_agent


def test_the_agent_holds_the_keys_and_ends_with_the_context(keys, tmp_path):
    with start_agent([keys / "plain", keys / "pem"], tmp_path) as path:
        listed = ssh_add(path, "-l").stdout
        assert "key plain" in listed
        assert listed.count("\n") == 2
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        running = processes_of(path)
        assert running
    eventually(lambda: not processes_of(path))
    assert not [process for process in running if Path(f"/proc/{process}").exists()], "not even as zombies"
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_others_may_read_is_taken(keys, tmp_path):
    key = tmp_path / "mounted"
    key.write_bytes((keys / "plain").read_bytes())
    key.chmod(0o644)
    with start_agent([key], tmp_path) as path:
        assert "key plain" in ssh_add(path, "-l").stdout


def test_the_certificate_beside_a_key_is_taken(keys, tmp_path):
    for name in ("plain", "plain.pub"):
        shutil.copy(keys / name, tmp_path / name)
    keygen("-q", "-s", keys / "ca", "-I", "somebody", tmp_path / "plain.pub")
    with start_agent([tmp_path / "plain"], tmp_path) as path:
        assert "ED25519-CERT" in ssh_add(path, "-l").stdout


def test_a_directory_whose_name_is_too_long_for_a_socket(keys, tmp_path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with start_agent([keys / "plain"], deep) as path, serve_filtered(path, deep) as filtered:
        assert "key plain" in ssh_add(filtered, "-l").stdout
    assert not path.parent.exists()
    assert not filtered.parent.exists()


@pytest.mark.parametrize("mode", [0o600, 0o644], ids=oct)
@pytest.mark.parametrize("name", ["locked", "locked-pem"])
def test_a_key_with_a_passphrase_is_refused_without_a_question(name, mode, keys, tmp_path, monkeypatch):
    asked = tmp_path / "asked"
    askpass = tmp_path / "askpass"
    askpass.write_text(f"#!/bin/sh\necho asked > '{asked}'\necho password\n")
    askpass.chmod(0o755)
    monkeypatch.setenv("SSH_ASKPASS", str(askpass))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    monkeypatch.setenv("DISPLAY", ":0")
    key = tmp_path / "key"
    key.write_bytes((keys / name).read_bytes())
    key.chmod(mode)
    with pytest.raises(StapelError, match=f"{key} is protected by a passphrase") as caught, start_agent([key], tmp_path):
        pass
    assert "SSH_AUTH_SOCK" in caught.value.hint
    assert not asked.exists()


ASKED = """
import sys
from pathlib import Path
from stapel.errors import StapelError
from stapel.ssh_agent import start_agent
try:
    start_agent([Path(sys.argv[1])], Path(sys.argv[2])).__enter__()
except StapelError as error:
    print("refused:", error)
"""


def test_nobody_is_asked_on_the_terminal(keys, tmp_path):
    """With a terminal that somebody would have to answer on, a protected key is refused like anywhere else."""
    import pty

    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", ASKED, str(keys / "locked"), str(tmp_path)])
    said = b""
    with suppress(OSError):
        while piece := os.read(terminal, 4096):
            said += piece
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert b"refused: the SSH key" in said
    assert b"Enter passphrase" not in said


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent", None, "cannot read the SSH key .*absent: No such file"),
        ("junk", b"junk\n", "does not take the SSH key .*junk"),
        ("empty", b"", "does not take the SSH key .*empty"),
        ("key.pub", b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== somebody\n", r"key\.pub is a public key"),
    ],
)
@pytest.mark.parametrize("mode", [0o600, 0o644], ids=oct)
def test_what_is_no_key_is_named(name, content, message, mode, tmp_path):
    key = tmp_path / name
    if content is not None:
        key.write_bytes(content)
        key.chmod(mode)
    with pytest.raises(StapelError, match=message) as caught, start_agent([key], tmp_path):
        pass
    assert caught.value.hint


def test_a_directory_is_no_key(tmp_path):
    with pytest.raises(StapelError, match=r"cannot read the SSH key .*: Is a directory"), start_agent([tmp_path], tmp_path):
        pass


def test_a_failed_key_leaves_no_agent(keys, tmp_path):
    before = set(tmp_path.iterdir())
    with pytest.raises(StapelError), start_agent([keys / "plain", keys / "locked"], tmp_path):
        pass
    assert set(tmp_path.iterdir()) == before


def test_a_machine_without_ssh_agent(keys, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StapelError, match="ssh-agent is not found") as caught, start_agent([keys / "plain"], tmp_path):
        pass
    assert "openssh-client" in caught.value.hint


def test_an_agent_that_does_not_start_says_why(keys, tmp_path, monkeypatch):
    broken = tmp_path / "bin/ssh-agent"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho no room for me >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    with pytest.raises(StapelError, match="ssh-agent does not start: no room for me"), start_agent([], tmp_path):
        pass


PARENT = """
import sys, time
from pathlib import Path
from stapel.ssh_agent import serve_filtered, start_agent
with start_agent([Path(sys.argv[1])], Path(sys.argv[2])) as path, serve_filtered(path, Path(sys.argv[2])):
    print(path, flush=True)
    time.sleep(300)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_the_agent_is_gone_after_its_process_was_killed(number, keys, tmp_path):
    arguments = [sys.executable, "-c", PARENT, str(keys / "plain"), str(tmp_path)]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        agent = Path(parent.stdout.readline().strip())
        assert "key plain" in ssh_add(agent, "-l").stdout
        parent.send_signal(number)
    eventually(lambda: not agent.exists() and not processes_of(agent))


def test_the_agent_survives_the_thread_that_started_it(keys, tmp_path):
    context = start_agent([keys / "plain"], tmp_path)
    with ThreadPoolExecutor(1) as pool:
        path = pool.submit(context.__enter__).result()
    try:
        assert "key plain" in ssh_add(path, "-l").stdout
    finally:
        context.__exit__(None, None, None)


# -- serve_filtered


def test_listing_passes(filtered):
    assert "key plain" in ssh_add(filtered, "-l").stdout


def test_signing_passes(filtered, keys, tmp_path):
    text = tmp_path / "text"
    text.write_text("what is signed")
    env = {**os.environ, "SSH_AUTH_SOCK": str(filtered)}
    public = tmp_path / "public.pub"  # alone: the private key is in the agent only
    shutil.copy(keys / "plain.pub", public)
    keygen("-Y", "sign", "-f", public, "-n", "file", text, env=env)
    allowed = tmp_path / "allowed"
    allowed.write_text("somebody " + public.read_text())
    verify = ["-Y", "verify", "-f", allowed, "-I", "somebody", "-n", "file", "-s", tmp_path / "text.sig"]
    with text.open() as content:
        done = subprocess.run(["ssh-keygen", *verify], stdin=content, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_changes_the_agent_is_refused(filtered, agent, keys):
    before = ssh_add(agent, "-L").stdout
    for arguments in (["-d", keys / "plain.pub"], ["-D"], ["-t", "60", keys / "pem"], ["-c", keys / "pem"]):
        assert ssh_add(filtered, *arguments).returncode != 0, arguments
    for number in (9, 17, 18, 19, 20, 21, 22, 23, 25, 26, 27):
        assert ask(filtered, bytes([number]) + b"\0\0\0\0") == FAILURE
    assert ssh_add(agent, "-L").stdout == before


def test_every_other_message_is_refused_and_the_connection_goes_on(filtered):
    with connect(filtered, 10) as connection:
        for number in set(range(256)) - {11, 13}:
            write_frame(connection, bytes([number]))
            assert read_frame(connection) == FAILURE
        write_frame(connection, LIST)
        assert read_frame(connection)[:1] == b"\x0c"


@pytest.mark.parametrize(
    "sent",
    [b"\0\0\0\0", (MAX_FRAME_BYTES + 1).to_bytes(4), b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"],
    ids=["nothing in it", "a byte too long", "4 GiB", "another protocol"],
)
def test_a_bad_frame_closes_its_connection_alone(sent, filtered):
    with connect(filtered, 10) as other, connect(filtered, 10) as connection:
        connection.sendall(sent)
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
        write_frame(other, LIST)
        assert read_frame(other)[:1] == b"\x0c"


def test_a_frame_that_is_cut_off_is_passed_to_nobody(filtered):
    with connect(filtered, 10) as connection:
        connection.sendall(b"\0\0\0\x09\x0b")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""


def test_the_longest_frame_is_answered(filtered):
    assert ask(filtered, b"\x1b" + bytes(MAX_FRAME_BYTES - 1)) == FAILURE


def test_a_frame_may_come_byte_by_byte(filtered):
    with connect(filtered, 10) as connection:
        for byte in b"\0\0\0\x01\x0b":
            connection.sendall(bytes([byte]))
            time.sleep(0.01)
        assert read_frame(connection)[:1] == b"\x0c"


def test_many_connections_are_served_at_once(filtered):
    idle = [connect(filtered, 10) for _ in range(20)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: ask(filtered, LIST), range(200)))
    assert {answer[0] for answer in answers} == {12}
    for connection in idle:
        connection.close()


def test_more_connections_than_are_served_wait(filtered):
    idle = [connect(filtered) for _ in range(80)]
    for connection in idle:
        connection.close()
    assert ask(filtered, LIST)[0] == 12


def test_without_an_agent_requests_fail_and_a_new_agent_is_found(tmp_path, keys):
    path = tmp_path / "later"
    with serve_filtered(path, tmp_path) as filtered, connect(filtered, 10) as connection:
        write_frame(connection, LIST)
        assert read_frame(connection) == FAILURE
        with start_agent([keys / "plain"], tmp_path) as agent:
            path.symlink_to(agent)
            write_frame(connection, LIST)
            assert read_frame(connection)[0] == 12
        write_frame(connection, LIST)
        assert read_frame(connection) == FAILURE


def test_an_agent_that_answers_nonsense_is_a_failure(tmp_path):
    with impostor(tmp_path, b"\xff\xff\xff\xffxxxx") as path, serve_filtered(path, tmp_path) as filtered:
        assert ask(filtered, LIST) == FAILURE
        assert ask(filtered, b"\x0d" + b"x" * 100) == FAILURE


def test_any_user_of_a_container_may_use_it_and_nobody_else_of_the_host(filtered):
    assert stat.S_IMODE(filtered.stat().st_mode) == 0o666
    assert stat.S_IMODE(filtered.parent.stat().st_mode) == 0o700


def test_the_end_closes_connections_and_removes_the_socket(agent, tmp_path):
    before = threading.active_count()
    with serve_filtered(agent, tmp_path) as filtered:
        idle = connect(filtered, 10)
        write_frame(idle, LIST)
        assert read_frame(idle)[0] == 12
        assert threading.active_count() > before
    assert idle.recv(1) == b""
    idle.close()
    assert not filtered.parent.exists()
    eventually(lambda: threading.active_count() == before)


def test_the_end_does_not_wait_for_an_agent_that_says_nothing(tmp_path):
    with impostor(tmp_path, None) as path:
        started_s = time.monotonic()
        with serve_filtered(path, tmp_path) as filtered:
            waiting = connect(filtered, 10)
            write_frame(waiting, LIST)
            time.sleep(0.1)
        assert time.monotonic() - started_s < 5
        # Refused or ended, as the race goes: never left waiting.
        with suppress(BadFrame, ConnectionResetError):
            assert read_frame(waiting) in (None, FAILURE)
        waiting.close()


def test_the_end_does_not_wait_for_free_connections(agent, tmp_path):
    with serve_filtered(agent, tmp_path) as filtered:
        idle = [connect(filtered) for _ in range(70)]
        time.sleep(0.1)
    for connection in idle:
        connection.close()


# -- frames


@given(st.lists(st.binary(min_size=1, max_size=2000), max_size=5))
def test_frames_come_out_as_they_went_in(messages):
    one, other = socket.socketpair()
    with one, other:
        for message in messages:
            write_frame(one, message)
        one.shutdown(socket.SHUT_WR)
        received = []
        while (message := read_frame(other)) is not None:
            received.append(message)
        assert received == messages


@given(st.binary(max_size=64))
def test_any_bytes_are_frames_an_end_or_a_bad_frame(data):
    one, other = socket.socketpair()
    with one, other:
        one.sendall(data)
        one.shutdown(socket.SHUT_WR)
        taken = b""
        with suppress(BadFrame):
            while (message := read_frame(other)) is not None:
                taken += len(message).to_bytes(4) + message
        assert data.startswith(taken)
