"""The sandbox of a user who is not root: true owners by subordinate ids, and what is left to a user without any."""

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from samples.make_base import busybox_archive, find_busybox
from tests.conftest import absent

ROOT = Path(__file__).parents[2]
USER = "conveyor-test"  # made by scripts/test
PROGRAM = """
import io, sys
from pathlib import Path
from stapel.api import Cancel, Run
from stapel.oci.layer import write_layer
from stapel.runs import open_run
from stapel.sandbox.engine import SandboxEngine
from tests.conformance.engines import TRY_SWITCHES, Said, file, lay

home, archive, driver, warnings = Path(sys.argv[1]), sys.argv[2], sys.argv[4], []
with open_run(home) as run:
    engine = SandboxEngine("rootless", run_id=run.id, home_dir=home, tmp_dir=home, driver=driver, on_warning=warnings.append)
    assert engine.probe() == "", engine.probe()
    engine.import_base("busybox", open(archive, "rb"), {})
    held = engine.base("busybox", engine.platform(), print)
    def build(on, *steps):
        return engine.build(on, steps, lambda stream, data: sys.stdout.write(data.decode()), Cancel())
    try:
        exec(sys.argv[3])
    finally:
        sys.stdout.flush()
        engine.close()
print(*warnings, sep="\\n")
"""
OWNERS = """
given = {"secrets": {"token": b"value"}}
secret = build(held, Run("stat -c '%u %a %s' /run/secrets/token", **given))
secret.close()
build(held, Run(TRY_SWITCHES)).close()
laid = build(held, lay(file(b"laid", b"x", 0o4755, owner="www-data", group="users", mtime_s=7)))
print(laid.config.diff_ids[-1])
made = build(laid, Run("mkdir -m 700 /d; echo >/d/f; chown -R 33:100 /d; chmod 2755 /d/f; stat -c '%u:%g %a' /laid /d /d/f"))
with engine.tree(made) as tree:
    print([(item.path, item.uid, item.gid, oct(item.mode)) for item in tree.walk(b"d")])
laid.close(); made.close()
"""
TRUE_OWNERS = ["33:100 4755", "33:100 700", "33:100 2755", "[(b'', 33, 100, '0o700'), (b'f', 33, 100, '0o2755')]", ""]
SINGLE = """
build(held, Run("stat -c '%u %a %s' /run/secrets/token", secrets={"token": b"value"})).close()
build(held, Run(TRY_SWITCHES)).close()
laid = build(held, lay(file(b"laid", b"x", owner="www-data", group="users", mtime_s=7)))
made = build(laid, Run("echo >/f; chown 33 /f 2>/dev/null || echo no; stat -c '%u:%g %n' /f /laid"))
image = engine.images.get(engine.put(made, made.config, engine.images, Cancel()).digest)
for layer in image.layers():
    with image.open(layer) as content:
        content.read()  # verified
print(len(image.layers()) == 3)
laid.close(); made.close()
"""
SINGLE_SAID = ["0 400 5", "tried: yes", "no", "0:0 /f", "0:0 /laid", "True"]

UPKEEP = """
import time
made = build(held, Run("mkdir -p /d/e; echo >/d/e/f; chown -R 33:100 /d; chmod 000 /d/e/f /d/e /d"))
image_id = engine.put(made, made.config, engine.images, Cancel()).digest
made.close()
print(len(list(engine.upkeep.check(mend=False))), len(list((home / "sandbox/snapshots").iterdir())))
print(engine.upkeep.remove_images({image_id: time.time()}) == (image_id,), len(list((home / "sandbox/snapshots").iterdir())))
made = build(held, Run("mkdir -p /d/e; echo >/d/e/f; chown -R 33:100 /d; chmod 000 /d/e/f /d/e /d"))
engine.put(made, made.config, engine.images, Cancel())
engine.upkeep.purge([])
print(sorted(path.name for path in home.iterdir()))
"""


@pytest.fixture
def user(tmp_path_factory):
    """Somebody who is not root, a directory of theirs, and an interpreter that they may run."""
    if os.geteuid():
        yield Somebody(os.geteuid(), os.getegid(), tmp_path_factory.mktemp("user"), sys.executable)
        return
    try:
        account = pwd.getpwnam(USER)
    except KeyError:
        absent(f"there is no user {USER} (scripts/test makes it)")
    directory = Path(f"/tmp/conveyor-rootless-{os.getpid()}")  # where pytest's own may not be entered by others
    directory.mkdir()
    os.chown(directory, account.pw_uid, account.pw_gid)
    somebody = Somebody(account.pw_uid, account.pw_gid, directory, sys.executable)
    if somebody.run(["-c", "import os, sys; sys.exit(not os.access(sys.executable, os.X_OK))"]).returncode:
        somebody.python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or ""
    try:
        yield somebody
    finally:
        # Files of mapped owners are root's to remove.
        shutil.rmtree(directory)


class Somebody:
    def __init__(self, uid, gid, directory, python):
        self.uid, self.gid, self.directory, self.python = uid, gid, directory, python
        self.ids = 0  # that there are, where it is root of a container with few
        self.archive = directory / "busybox.tar"
        self.archive.write_bytes(busybox_archive(find_busybox()))

    def run(self, arguments):
        become = [] if os.geteuid() else ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
        if self.ids:
            become = [sys.executable, str(ROOT / "tests/few_ids.py"), str(self.ids)]
        path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry.endswith("site-packages"))])
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/bin", "/bin"])
        env = {"PYTHONPATH": path, "PATH": programs, "HOME": str(self.directory)}
        command = [*become, self.python, *arguments]
        return subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, timeout=120)

    def sandbox(self, code, driver="auto", home=None):
        done = self.run(["-c", PROGRAM, str(home or self.directory / "home"), str(self.archive), code, driver])
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.mark.parametrize("driver", ["overlay", "copy", "btrfs"])
def test_owners_are_true_and_layers_are_those_of_root(user, sandbox, driver, request):
    from tests.conformance.engines import file, lay

    home = user.directory / "home"
    if driver == "btrfs":
        home = request.getfixturevalue("btrfs_dir") / "rootless"
        home.mkdir(exist_ok=True)
        os.chown(home, user.uid, user.gid)
    said = user.sandbox(OWNERS, driver, home).splitlines()
    mine = sandbox.build(sandbox.base(), lay(file(b"laid", b"x", 0o4755, owner="www-data", group="users", mtime_s=7)))
    assert said == [
        "0 400 5",
        "tried: yes",
        mine.config.diff_ids[-1],
        *TRUE_OWNERS,
    ]
    stored = home / "sandbox"
    assert list((stored / "filling").iterdir()) == list((stored / "work").iterdir()) == []
    assert {path.stat().st_uid for path in stored.iterdir()} == {user.uid}


def test_a_user_removes_what_belongs_to_others(user):
    assert user.sandbox(UPKEEP).splitlines() == ["0 3", "True 2", "['runs', 'toolchain']", ""]


def test_a_user_without_a_range_is_told_what_will_not_work(user):
    if os.geteuid():
        pytest.skip("only root can become a user without a range")
    user.uid = user.gid = 4_000_000_123
    os.chown(user.directory, user.uid, user.uid)
    said = user.sandbox(SINGLE).splitlines()
    assert said[:-1] == SINGLE_SAID
    assert "/etc/subuid" in said[-1]


def test_root_of_another_group_writes_to_no_switch(user):
    """Bubblewrap sees no need to cover files of group 0, over which the kernel gives it no rights; but they are its own."""
    if os.geteuid():
        pytest.skip("only root can be root of another group")
    user.uid, user.gid = 0, 12345
    os.chown(user.directory, user.uid, user.gid)
    assert user.sandbox("build(held, Run(TRY_SWITCHES)).close()").split() == ["tried:", "yes"]


def test_root_of_a_container_with_few_ids_uses_what_there_are(user):
    """They stand for themselves: what the container has beside root's is what its build containers have."""
    if os.geteuid():
        pytest.skip("only root can give a user namespace several ids")
    user.uid, user.gid, user.ids = 0, 0, 1000
    os.chown(user.directory, 0, 0)
    said = user.sandbox(OWNERS).splitlines()
    assert said[:2] + said[3:] == ["0 400 5", "tried: yes", *TRUE_OWNERS]


def test_root_of_a_container_without_others_is_told_what_will_not_work(user):
    if os.geteuid():
        pytest.skip("only root can make a user namespace of root's own id")
    user.uid, user.gid, user.ids = 0, 0, 1
    os.chown(user.directory, 0, 0)
    said = user.sandbox(SINGLE).splitlines()
    assert said[:-1] == SINGLE_SAID
    assert "root is the only user" in said[-1]
