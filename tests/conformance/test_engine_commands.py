"""What every engine does when it runs commands: build containers and their contract, failures, stopping."""

import signal
import subprocess
import threading
import time

import pytest

from stapel.api import Cancel, Lay, Mount, Run
from stapel.errors import Cancelled, CommandFailed, StapelError
from tests.conformance.engines import ENGINES, RUNNERS, Said, file, lay, link, programs


@pytest.fixture(params=[*ENGINES.values(), *RUNNERS.values()], ids=[*ENGINES, *RUNNERS])
def subject(request, engine_home):
    """Each engine with each way to start commands, with nothing left behind at the end of the test."""
    with request.param(engine_home, request) as subject:
        yield subject


def test_commands_leave_their_files_in_one_layer(subject):
    base = subject.base()
    made = subject.build(base, Run("mkdir /made\necho text >/made/file\nrm /usr/bin/yes"))
    assert made.config.diff_ids[:-1] == base.config.diff_ids
    assert len(made.config.diff_ids) == 2
    assert made.config.with_(rootfs=None, history=None) == base.config.with_(rootfs=None, history=None)
    assert (
        subject.run(made, "cat /made/file; ls /usr/bin/yes 2>&1 || true")
        == "text\nls: /usr/bin/yes: No such file or directory\n"
    )


def test_commands_see_the_files_that_are_laid_before_them(subject):
    step = lay(file(b"app/in", b"laid", owner="www-data"), remove=[b"app/old"])
    below = subject.build(subject.base(), lay(file(b"app/old")))
    said = Said()
    made = subject.build(below, step, Run("cd /app; ls; cat in; stat -c ' %U' in; mv in out"), log=said)
    assert said.text() == "in\nlaid www-data\n"
    assert len(made.config.diff_ids) == 3
    assert subject.files(made, b"app")[1] == {b"out": b"laid"}


def test_a_layer_of_a_layer(subject):
    held = subject.base()
    for number in range(4):
        held = subject.build(held, Run(f"echo {number} >>/log"))
        held = subject.build(held, lay(file(b"n%d" % number)))
    assert len(held.config.diff_ids) == 9
    assert subject.run(held, "cat /log; ls -d /n?") == "0\n1\n2\n3\n/n0\n/n1\n/n2\n/n3\n"


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 7", 7),
        ("false\necho not reached", 1),
        ("no-such-command", 127),
        ("/etc/passwd", 126),
        ("sh -c 'kill -KILL $$'", 137),
        ("sh -c 'kill -TERM $$'", 143),
        ("if [[ a == a ]]; then (exit 9); fi", 9),
        ("syntax ( error", 2),
    ],
)
def test_commands_that_fail(subject, script, status):
    said = Said()
    for steps in (Run(script),), (lay(file(b"x")), Run(script)):
        with pytest.raises(CommandFailed) as caught:
            subject.engine.build(subject.base(), steps, said, Cancel())
        assert caught.value.status == status
    assert "not reached" not in said.text()


def test_the_log_gets_both_outputs_in_their_order(subject):
    said = Said()
    script = "for n in 1 2 3; do echo out $n; sleep 0.05; echo err $n >&2; sleep 0.05; done; printf 'no end'"
    subject.build(subject.base(), Run(script), log=said)
    joined = []
    for stream, data in said.pieces:
        if joined and joined[-1][0] == stream:
            joined[-1] = (stream, joined[-1][1] + data)
        else:
            joined.append((stream, data))
    expected = [item for n in b"123" for item in (("stdout", b"out %c\n" % n), ("stderr", b"err %c\n" % n))]
    assert joined == [*expected, ("stdout", b"no end")]
    assert not said.overlapped


def test_the_log_gets_every_byte(subject):
    said = Said()
    script = "seq 1 300000; printf '\\x00\\xff\\r\\n'; seq 1 1000 >&2"
    subject.build(subject.base(), Run(script), log=said)
    lines = b"".join(b"%d\n" % number for number in range(1, 300001))
    assert said.bytes("stdout") == lines + b"\x00\xff\r\n"
    assert said.bytes("stderr") == b"".join(b"%d\n" % number for number in range(1, 1001))


def test_output_of_what_stays_behind_does_not_keep_a_step(subject):
    started = time.monotonic()
    subject.build(subject.base(), Run("sleep 1000 & echo done"))
    assert time.monotonic() - started < 20


# -- the contract of build containers


def test_the_environment_is_the_images_and_what_is_given(subject, monkeypatch):
    for name in ("HTTP_PROXY", "https_proxy", "no_proxy"):
        monkeypatch.setenv(name, f"http://{name}.example:3128")
    monkeypatch.setenv("FTP_PROXY", "")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("SECRET", "of the host")
    base = subject.with_config(subject.base(), Env=["PATH=/bin:/usr/bin", "OF_IMAGE=a b=c", "BOTH=image", "EMPTY="])
    said = subject.run(base, "/usr/bin/env", env={"BOTH": "given", "GIVEN": "x\ny $HOME"})
    found = dict(line.partition("=")[::2] for line in said.replace("x\ny $HOME", "x|y").splitlines())
    assert found.pop("HOSTNAME")
    assert found == {
        "PATH": "/bin:/usr/bin",
        "OF_IMAGE": "a b=c",
        "BOTH": "given",
        "EMPTY": "",
        "GIVEN": "x|y",
        "HOME": "/root",
        "PWD": "/",
        "SHLVL": "1",
        "_": "/usr/bin/env",
        "HTTP_PROXY": "http://HTTP_PROXY.example:3128",
        "https_proxy": "http://https_proxy.example:3128",
        "no_proxy": "http://no_proxy.example:3128",
    }


def test_no_signal_is_ignored(subject):
    """Python ignores SIGPIPE, and whatever has started it may ignore others."""
    said = Said()
    ignored = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        subject.build(subject.base(), Run("yes | head -n 1; grep SigIgn: /proc/self/status"), log=said)
    finally:
        signal.signal(signal.SIGUSR1, ignored)
    assert said.text("stderr") == ""
    first, _, mask = said.text("stdout").split()
    assert first == "y"
    assert int(mask, 16) & 0x7FFFFFFF == 0


def test_what_was_given_to_one_step_is_not_seen_by_the_next_one(subject):
    base = subject.with_config(subject.base(), Env=["PATH=/bin:/usr/bin", "BOTH=image"])
    made = subject.build(base, Run("true", env={"BOTH": "given", "GIVEN": "1", "PATH": "/bin"}))
    for held in made, subject.build(made, Run("true", env={"MORE": "1"})), subject.build(made, lay(file(b"x"))):
        assert held.config.run == base.config.run
        seen = subject.run(held, 'echo "$PATH" "$BOTH" "${GIVEN-unset}" "${MORE-unset}"')
        assert seen == "/bin:/usr/bin image unset unset\n"


def test_the_configuration_of_a_base_does_not_change_how_commands_run(subject):
    base = subject.with_config(
        subject.base(),
        User="www-data",
        WorkingDir="/var/www",
        Entrypoint=["/bin/false"],
        Cmd=["never"],
        Healthcheck={"Test": ["CMD-SHELL", "touch /unhealthy"], "Interval": 1_000_000_000, "Retries": 1},
        StopSignal="SIGUSR1",
        Shell=["/bin/false"],
        OnBuild=["RUN false"],
        ExposedPorts={"80/tcp": {}},
    )
    made = subject.build(
        base, Run("id -u; id -g; pwd; echo $#; umask; sleep 1.5; test ! -e /unhealthy; >/made"), log=(said := Said())
    )
    assert said.text() == "0\n0\n/\n0\n0022\n"
    assert made.config.run == base.config.run
    stored = subject.store(made, made.config)
    assert {**stored.config.run, "Hostname": ""} == {**base.config.run, "Hostname": ""}
    assert subject.run(subject.build(made, lay(file(b"x"))), "whoami; ls /x /made") == "root\n/made\n/x\n"


def test_what_is_written_to_volumes_of_a_base_is_kept(subject):
    filled = subject.build(subject.base(), lay(file(b"vol/below", b"b", uid=5), file(b"other/below", b"b")))
    base = subject.with_config(filled, Volumes={"/vol": {}, "/other": {}, "/not/there": {}})
    first = subject.build(
        base, Run("echo w >/vol/written; rm /other/below; ls -A /not 2>/dev/null || true"), log=(said := Said())
    )
    assert said.text() == ""
    second = subject.build(
        first, lay(file(b"vol/laid", b"l"), remove=[b"vol/below"]), Run("ls /vol; echo 2 >/vol/second"), log=said
    )
    assert said.text() == "laid\nwritten\n"
    third = subject.build(second, lay(file(b"vol/third", b"3")))
    assert subject.files(third, b"vol")[1] == {b"laid": b"l", b"second": b"2\n", b"third": b"3", b"written": b"w\n"}
    assert list(subject.paths(third, b"other")) == [b""]
    assert third.config.run["Volumes"] == {"/vol": {}, "/other": {}, "/not/there": {}}
    stored = subject.store(third, third.config)
    assert stored.config.run["Volumes"] == third.config.run["Volumes"]
    assert subject.files(subject.keep(subject.engine.hold(stored)), b"vol")[1][b"second"] == b"2\n"


def test_nobody_sits_before_commands(subject):
    script = "if read -r line; then exit 3; fi; test ! -t 0; test ! -t 1; test ! -t 2; echo ok"
    assert subject.run(subject.base(), script) == "ok\n"


@pytest.mark.parametrize("size_bytes", [300 << 10, 3 << 19], ids=["300 KiB", "1.5 MiB"])
def test_long_scripts(subject, size_bytes):
    line = ": 'ümläut $HOME `x` \\\\' \"quoted\"\n"
    script = "x=0\n" + (line + "x=$((x+1))\n") * (size_bytes // 45) + f"echo $x $# {size_bytes}\\\n\n\n"
    base = subject.base()
    said = Said()
    made = subject.build(base, Run(script), log=said)
    assert said.text() == f"{size_bytes // 45} 0 {size_bytes}\n"
    files = subject.paths(made, b".conveyor")
    assert {path: oct(item.mode) for path, item in files.items()} in ({b"": "0o755", b"stapel": "0o755"}, {})
    with pytest.raises(CommandFailed) as caught:
        subject.engine.build(base, [Run(script + "exit 5\n")], Said(), Cancel())
    assert caught.value.status == 5


@pytest.mark.parametrize("script", ["", "\n", "# nothing", "true"])
def test_scripts_of_nothing(subject, script):
    base = subject.base()
    made = subject.build(base, Run(script))
    assert len(made.config.diff_ids) == len(base.config.diff_ids) + 1


def test_any_bytes_in_a_script(subject):
    script = "printf %s '\udce9\udcff' \"a  b*\" $'\\t' | od -An -tx1; echo 'x\n\n  y'  \\\n  z"
    assert subject.run(subject.base(), script) == " e9 ff 61 20 20 62 2a 09\nx\n\n  y z\n"


def test_a_base_without_anything(subject):
    said = Said()
    made = subject.build(
        subject.scratch(), Run("echo text >/file; for f in /*; do echo $f; done; cd /proc/self; pwd"), log=said
    )
    assert "/file\n" in said.text()
    assert subject.files(made, b"file")[1] == {b"": b"text\n"}
    with pytest.raises(CommandFailed) as caught:
        subject.engine.build(made, [Run("cat /file")], Said(), Cancel())  # the tools of the engine are not for commands
    assert caught.value.status == 127
    shown = set(subject.paths(made))
    assert shown - {b"", b"file"} == {b".conveyor", b".conveyor/stapel"} or shown == {b"", b"file"}


def test_a_base_with_a_broken_libc(subject):
    broken = lay(file(b"lib/libc.so.6", b"no library", 0o755), file(b"lib64/ld-linux-x86-64.so.2", b"no loader", 0o755))
    base = subject.with_config(
        subject.build(subject.base(), broken), Env=["LD_LIBRARY_PATH=/lib:/lib64", "PATH=/bin:/usr/bin"]
    )
    assert subject.run(base, "echo works") == "works\n"
    assert subject.run(subject.build(base, lay(file(b"laid")), Run("true")), "ls /laid") == "/laid\n"


def test_mounts(subject, tmp_path):
    written, read = tmp_path / "written", tmp_path / "read"
    written.mkdir()
    read.mkdir()
    (read / "in").write_text("host")
    mounts = [Mount(written, "/mnt/w"), Mount(read, "/deep/r", read_only=True)]
    base = subject.base()
    script = "cat /deep/r/in; echo container >/mnt/w/out; ! touch /deep/r/x; ! rm /deep/r/in; echo; ls /mnt/w"
    said = Said()
    made = subject.build(base, Run(script, mounts=mounts), log=said)
    assert said.bytes("stdout") == b"host\nout\n"
    assert (written / "out").read_text() == "container\n"
    assert [path.name for path in read.iterdir()] == ["in"]
    files = subject.paths(made)
    assert {path for path in files if path.startswith((b"mnt", b"deep"))} <= {b"mnt", b"mnt/w", b"deep", b"deep/r"}


def test_files_under_mounts_are_laid_in_the_image_and_not_on_the_host(subject, tmp_path):
    (tmp_path / "stays").write_text("host")
    (tmp_path / "laid").write_text("host")
    below = subject.build(subject.base(), lay(file(b"mnt/w/stays", b"1"), file(b"mnt/w/goes", b"1"), link(b"way", b"mnt")))
    run = Run("cat /mnt/w/*; echo >/made", mounts=[Mount(tmp_path, "/way/w")])
    for step in (
        lay(file(b"mnt/w/laid", b"2"), file(b"elsewhere", b"3"), remove=[b"mnt/w/goes"]),
        lay(file(b"mnt/w/laid", b"2"), file(b"mnt/w/stays", b"1"), empty=[b"mnt"]),
    ):
        said = Said()
        made = subject.build(below, step, run, log=said)
        assert said.text() == "hosthost"
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"stays": "host", "laid": "host"}
        assert subject.files(made, b"mnt")[1] == {b"w/laid": b"2", b"w/stays": b"1"}
        assert subject.run(made, "ls /made") == "/made\n"


def test_a_mount_of_what_is_not_there_is_an_error(subject, tmp_path):
    with pytest.raises(StapelError):
        subject.engine.build(subject.base(), [Run("true", mounts=[Mount(tmp_path / "absent", "/mnt")])], Said(), Cancel())


def test_networks(subject):
    script = "for path in /sys/class/net/*; do echo ${path##*/}; done"
    assert subject.run(subject.base(), script, network="none").split() == ["lo"]
    assert len(subject.run(subject.base(), script).split()) > 1
    with pytest.raises(StapelError):
        subject.engine.build(subject.base(), [Run("true", network="no-such-network")], Said(), Cancel())


def test_commands_use_an_ssh_agent_and_cannot_change_it(subject, tmp_path):
    from stapel.ssh_agent import start_agent

    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "of the test", "-f", key], check=True)
    tools = lay(
        *programs("ssh-add", "ssh-keygen"),
        file(b"etc/passwd", b"root:x:0:0::/root:/bin/bash\n"),
        file(b"key.pub", key.with_suffix(".pub").read_bytes()),
        file(b"other", key.read_bytes(), 0o600),
        file(b"signed", b"content"),
    )
    base = subject.build(subject.scratch(), tools)
    script = """
        exec 2>&1
        /usr/bin/ssh-add -l
        /usr/bin/ssh-keygen -q -Y sign -n file -f /key.pub /signed
        for change in -D '-d /key.pub' /other; do ! /usr/bin/ssh-add $change; done
        echo x | { ! SSH_ASKPASS_REQUIRE=never /usr/bin/ssh-add -x; }
        /usr/bin/ssh-add -l
    """
    with start_agent([key], tmp_path) as socket:
        said = Said()
        made = subject.build(base, Run(script, ssh_socket=socket), log=said)
        lines = said.text().splitlines()
        assert lines[0] == lines[-1]
        assert "of the test" in lines[0]
        assert subject.run(made, 'echo "${SSH_AUTH_SOCK-none}"') == "none\n"
    files, contents = subject.files(made)
    (tmp_path / "signature").write_bytes(contents[b"signed.sig"])
    check = ["ssh-keygen", "-q", "-Y", "check-novalidate", "-n", "file", "-s", tmp_path / "signature"]
    subprocess.run(check, input=b"content", check=True)
    assert all(item.kind in ("file", "directory", "symlink") for item in files.values())


# -- stopping


def test_a_build_that_is_cancelled_before_it_starts(subject):
    cancel = Cancel()
    cancel.set()
    for steps in (lay(file(b"x")),), (Run("echo ran"),):
        said = Said()
        with pytest.raises(Cancelled):
            subject.engine.build(subject.base(), steps, said, cancel)
        assert said.bytes() == b""


@pytest.mark.parametrize("stubborn", ["", "trap '' TERM INT HUP; "], ids=["", "stubborn"])
def test_running_commands_are_cancelled_at_once_and_leave_nothing(subject, stubborn):
    cancel = Cancel()
    cancelled_at = []

    def log(stream, data):
        threading.Thread(target=lambda: (cancelled_at.append(time.monotonic()), cancel.set())).start()

    with pytest.raises(Cancelled):
        subject.engine.build(subject.base(), [Run(f"{stubborn}echo started; sleep 1000; sleep 1000")], log, cancel)
    assert time.monotonic() - cancelled_at[0] < 5
    subject.resources.close()
    subject.engine.close()
    assert subject.left() == []


def test_files_are_cancelled_while_they_are_laid(subject):
    cancel = Cancel()

    def files():
        for number in range(1000):
            yield file(b"%04d" % number, b"x")
            given.append(number)
            if len(given) == 1500:
                cancel.set()

    for steps in (Lay(files),), (Lay(files), Run("true")):
        given = []
        cancel = Cancel()
        with pytest.raises(Cancelled):
            subject.engine.build(subject.base(), steps, Said(), cancel)


def test_two_threads_build_at_once(subject, tmp_path):
    script = "echo >/mnt/$ME; until [[ -e /mnt/$OTHER ]]; do sleep 0.05; done; echo $ME; echo $ME >/me"
    base = subject.base()
    results = {}

    def build(me, other):
        said = Said()
        run = Run(script, env={"ME": me, "OTHER": other}, mounts=[Mount(tmp_path, "/mnt")])
        results[me] = (subject.build(base, lay(file(me.encode())), run, log=said), said)

    threads = [threading.Thread(target=build, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for me, (held, said) in results.items():
        assert said.text() == f"{me}\n"
        assert subject.files(held, b"me")[1] == {b"": f"{me}\n".encode()}
    assert sorted(results) == ["a", "b"]


def test_one_image_is_built_on_and_read_by_many_threads(subject):
    base = subject.build(subject.base(), lay(file(b"x", b"x")))
    failures = []

    def work(number):
        try:
            made = subject.build(base, lay(file(b"n%d" % number, b"%d" % number)))
            assert subject.files(made, b"n%d" % number)[1] == {b"": b"%d" % number}
            assert subject.files(base, b"x")[1] == {b"": b"x"}
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
