"""What hostile commands and hostile images cannot do in the sandbox: everything here is tried for real, as root too."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stapel.api import Cancel, Run
from stapel.errors import CommandFailed, DiskFull, StapelError
from stapel.sandbox.engine import SandboxEngine
from stapel.sandbox.inside.views import find_views
from tests.conformance.engines import TRY_SWITCHES, Said, directory, file, lay, link

ROOT = Path(__file__).parents[2]
CAPABILITIES = 0xA80425FB  # Docker's fourteen

FORBIDDEN = {
    "mount -t tmpfs none /mnt": "denied",
    "mount --bind / /mnt": "denied",
    "mount -o remount,rw /sys": "denied",
    "umount /proc/sys": "not permitted",
    "umount /.conveyor/stapel": "not permitted",
    "mknod /x c 1 3": "not permitted",
    "mknod /x b 8 0": "not permitted",
    "mknod /x c 0 0": "not permitted",
    "unshare -r true": "not permitted",
    "unshare -m true": "not permitted",
    "nsenter -t 1 -m true": "not permitted",
    "hostname other": "not permitted",
    "dmesg": "not permitted",
    "reboot -f": "not permitted",
    "renice -n -5 1": "denied",
    "touch /.conveyor/stapel/x": "read-only",
    "rm /.conveyor/stapel/bin/true": "read-only",
    "sh -c 'echo x >/proc/sys/kernel/core_pattern'": "read-only",
    "sh -c 'echo 1 >/proc/sys/vm/drop_caches'": "read-only",
    "sh -c 'echo x >/sys/kernel/uevent_helper'": "read-only|nonexistent",
}


def test_forbidden_calls_end_with_their_errors(sandbox):
    script = "mkdir -p /mnt\n" + "".join(f"echo; {command} 2>&1 || true\n" for command in FORBIDDEN)
    answers = sandbox.run(sandbox.base(), script).split("\n\n")
    answers[0] = answers[0].lstrip("\n")
    for (command, expected), answer in zip(FORBIDDEN.items(), answers, strict=True):
        assert any(word in answer.lower() for word in expected.split("|")), (command, answer)


def test_a_container_has_nothing_of_who_started_it(sandbox):
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        said = sandbox.run(
            sandbox.base(),
            "ls /proc/1/fd; grep -E 'Cap(Prm|Eff|Inh|Amb)|NoNew|Seccomp:' /proc/self/status; ls /proc | grep -c '^[0-9]'",
        )
    finally:
        os.close(reading)
        os.close(writing)
    lines = said.split()
    assert lines[:3] == ["0", "1", "2"]
    status = dict(zip(lines[3:-1:2], lines[4:-1:2], strict=True))
    assert {int(status[f"Cap{name}:"], 16) for name in ("Prm", "Eff", "Inh", "Amb")} == {CAPABILITIES}
    assert (status["NoNewPrivs:"], status["Seccomp:"]) == ("1", "2")
    assert int(lines[-1]) <= 4


def test_no_switch_of_the_kernel_can_be_written_to(sandbox):
    assert sandbox.run(sandbox.base(), "more=/sys" + TRY_SWITCHES) == "tried: yes\n"
    assert sandbox.run(sandbox.base(), TRY_SWITCHES, network="none") == "tried: yes\n"


def test_sys_is_that_of_the_host_without_its_switches_and_read_only_with_all_below(sandbox):
    said = sandbox.run(sandbox.base(), "cat /proc/self/mountinfo")
    mounts = sys_mounts(said)
    listed = Path("/proc/self/mountinfo").read_bytes()
    dropped = {os.fsdecode(point) for point in find_views(listed)} if os.geteuid() == 0 else set()
    assert set(mounts) == set(sys_mounts(listed.decode())) - dropped
    for options in mounts.values():
        assert {"ro", "nosuid", "nodev"} <= set(options)


def sys_mounts(listed):
    """The options of the mounts in /sys."""
    lines = [line.split() for line in listed.splitlines()]
    return {fields[4]: fields[5].split(",") for fields in lines if fields[4].startswith("/sys")}


@pytest.fixture
def canary(tmp_path):
    """A tree beside the store, and what it is."""
    place = tmp_path / "canary"
    (place / "etc").mkdir(parents=True)
    (place / "etc/hosts").write_text("of the host")
    (place / "empty").mkdir()
    before = describe(place)
    yield place
    assert describe(place) == before


def describe(place):
    return {
        str(path): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.lstat().st_ino,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in [place, *place.rglob("*")]
    }


@pytest.mark.parametrize("name", [b"etc", b".conveyor", b"mnt", b"var"])
def test_links_of_an_image_lead_nowhere_outside(sandbox, canary, tmp_path, name):
    from stapel.api import Mount

    (tmp_path / "shared").mkdir()
    for target in (os.fsencode(canary), b"../" * 9 + os.fsencode(canary).strip(b"/"), b"/oldroot" + os.fsencode(canary)):
        base = sandbox.build(sandbox.scratch(), lay(link(name, target)))
        mounts = [Mount(tmp_path / "shared", f"/{name.decode()}/deep/point")] if name in (b"mnt", b"var") else []
        made = sandbox.build(base, Run(f"echo x >/made; echo x >/{name.decode()}/written || true", mounts=mounts))
        assert sandbox.files(made, b"made")[1] == {b"": b"x\n"}
        assert sandbox.paths(made, name)[b""].link == target


@pytest.mark.parametrize("name", [b"proc", b"dev", b"sys"])
def test_places_of_the_runner_that_are_no_directories_are_refused(sandbox, canary, name):
    for item in (link(name, os.fsencode(canary)), link(name, b"/oldroot" + os.fsencode(canary)), file(name, b"x")):
        base = sandbox.build(sandbox.scratch(), lay(item))
        with pytest.raises(StapelError) as caught:
            sandbox.build(base, Run("echo ran"))
        assert not isinstance(caught.value, CommandFailed)
        assert f"/{name.decode()} is no directory" in str(caught.value)


def test_files_are_laid_and_removed_inside(sandbox, canary):
    base = sandbox.build(sandbox.scratch(), lay(link(b"out", os.fsencode(canary)), directory(b"d"), file(b"d/f")))
    made = sandbox.build(
        base, lay(file(b"out/etc/hosts", b"inside"), file(b"out/new"), remove=[b"d/f"], empty=[b"out/empty"])
    )
    assert sandbox.files(made, b"out/etc/hosts")[1] == {b"": b"inside"}


def test_processes_that_detach_themselves_end_with_the_step(sandbox):
    mark = str(random.randrange(10**7, 10**8))
    start = f"(setsid sh -c 'trap \"\" TERM HUP; sleep {mark}' >/dev/null 2>&1 &)"
    said = sandbox.run(sandbox.base(), f"for n in 1 2 3; do {start}; done; sleep 0.5; pidof sleep")
    assert len(said.split()) == 3
    assert running(mark) == []


def test_a_killed_engine_leaves_no_process(sandbox, tmp_path):
    mark = str(random.randrange(10**7, 10**8))
    program = f"""
import sys
from pathlib import Path
from stapel.api import Cancel, Run
from stapel.runs import open_run
from stapel.sandbox.engine import SandboxEngine
home = Path({str(sandbox.home_dir)!r})
with open_run(home) as run:
    engine = SandboxEngine("killed", run_id=run.id, home_dir=home, tmp_dir=Path({str(tmp_path)!r}))
    held = engine.base({sandbox.base_reference!r}, engine.platform(), print)
    engine.build(held, [Run("mkdir -m 0 /d; echo up; sleep {mark}")], lambda *said: print("up", flush=True), Cancel())
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    wait_for(lambda: running(mark))
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not running(mark))
    # What it was filling goes with the next run.
    from stapel.runs import open_run
    from stapel.sandbox.engine import SandboxEngine

    with open_run(sandbox.home_dir) as run:
        engine = SandboxEngine("next", run_id=run.id, home_dir=sandbox.home_dir, tmp_dir=tmp_path)
        engine.build(engine.hold(None), [lay(file(b"x"))], Said(), Cancel()).close()
        engine.close()
    assert list((sandbox.home_dir / "sandbox/filling").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hides parts of /proc")
def test_where_proc_is_hidden_in_part_commands_see_the_outer_one(sandbox, tmp_path):
    program = f"""
from pathlib import Path
from stapel.api import Cancel, Run
from stapel.runs import open_run
from stapel.sandbox.engine import SandboxEngine
home = Path({str(sandbox.home_dir)!r})
with open_run(home) as run:
    tmp_dir, warn = Path({str(tmp_path)!r}), lambda text: print("warned", text)
    engine = SandboxEngine("hidden", run_id=run.id, home_dir=home, tmp_dir=tmp_dir, on_warning=warn)
    assert engine.obstacle() == ""
    held = engine.base({sandbox.base_reference!r}, engine.platform(), print)
    script = (
        "exec 2>&1; cd /proc/self && pwd; ls /proc/acpi; ! touch /proc/sys/vm/drop_caches\\n"
        "exec 2>/dev/null; cat /proc/1/environ || echo no"
    )
    for text in (script, {TRY_SWITCHES!r}):
        engine.build(held, [Run(text)], lambda stream, data: print(data.decode(), end=""), Cancel()).close()
    engine.close()
"""
    hide = 'mount -t tmpfs none /proc/acpi && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", hide, "-", sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("warned this container hides parts of /proc")
    refused = "touch: /proc/sys/vm/drop_caches: Read-only file system"
    assert done.stdout.splitlines()[1:] == ["/proc/self", refused, "no", "tried: yes"]


def test_a_killed_worker_is_an_error_and_the_next_step_has_another(sandbox):
    def kill(stream, data):
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
                parent = int(path.with_name("stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == os.getpid() and any(b"stapel.sandbox.inside" in word for word in words):
                os.kill(int(path.parent.name), signal.SIGKILL)

    mark = str(random.randrange(10**7, 10**8))
    with pytest.raises(StapelError) as caught:
        sandbox.engine.build(sandbox.base(), [Run(f"mkdir -m 0 /d; echo up; sleep {mark}")], kill, Cancel())
    assert "worker" in str(caught.value)
    wait_for(lambda: not running(mark))
    assert sandbox.left() == []
    assert sandbox.run(sandbox.base(), "echo again") == "again\n"


def wait_for(condition):
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def running(mark):
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in words:
            found.append(path.parent.name)
    return found


def test_commands_are_stopped_before_the_disk_is_full(sandbox):
    """No disk has so much free: what would fill one is stopped likewise, and nothing of it is kept."""
    engine = SandboxEngine(
        "conveyor-full", run_id="f" * 12, home_dir=sandbox.home_dir, tmp_dir=sandbox.tmp_dir, min_free_bytes=1 << 62
    )
    held = engine.base(sandbox.base_reference, engine.platform(), Said())
    said = Said()
    try:
        with pytest.raises(DiskFull) as caught:
            engine.build(held, [Run("echo begins; exec sleep 60")], said, Cancel())
        assert "--min-free" in caught.value.hint
        assert said.text() == "begins\n"
        engine.build(held, [Run("true")], said, Cancel()).close()
    finally:
        held.close()
        engine.close()
