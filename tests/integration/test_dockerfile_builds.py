"""Dockerfiles on a real BuildKit: what it asks of us while it builds, and how a build ends."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import secrets
import subprocess
import tarfile
import threading
import time

import pytest

from conveyor.dockerfile.context import Listing, select_files
from conveyor.dockerfile.ignore import Ignore
from conveyor.dockerfile.parser import parse
from conveyor.dockerfile.resolve import Question, resolve
from conveyor.gitrepo.api import Blob
from stapel.api import Cancel, File
from stapel.docker.containers import RUN_LABEL
from stapel.docker.engine import DockerEngine
from stapel.dockerfile import DockerfileBuild
from stapel.errors import Cancelled, CommandFailed, NotFound, StapelError
from stapel.runs import open_run
from tests.conftest import PASSWORD

CONTENT = {
    "Makefile": b"all:\n",
    "a.c": b"a\n",
    "a": b"a",
    "big": b"0123456789abcdef" * (1 << 17),
    "docs/deep/x.md": b"x\n",
    "docs/y.md": b"y\n",
    "empty": b"",
    "src/main.c": b"main\n",
    "src/versions/2/data": b"2\n",
    "unused": b"unused\n",
}
LINKS = {"link.c": b"src/main.c", "current": b"src/versions/2", "src/dangling": b"nowhere"}


@pytest.fixture
def engine(docker_engine, busybox_base, tmp_path):
    """An engine of its own; nothing of its run is left when it is closed."""
    with open_run(tmp_path / "home") as run:
        made = DockerEngine(
            f"conveyor-dockerfile-{secrets.token_hex(4)}", run_id=run.id, home_dir=tmp_path / "home", tmp_dir=tmp_path
        )
        try:
            yield made
        finally:
            made.close()
        mine = {"label": f"{RUN_LABEL}={run.id}"}
        assert docker_engine.images(filters=mine, all=True) == [] and docker_engine.containers(all=True, filters=mine) == []


class Said:
    """The log of a build."""

    def __init__(self) -> None:
        self.text = ""
        self.grown = threading.Event()

    def __call__(self, stream: str, data: bytes) -> None:
        self.text += data.decode()
        self.grown.set()


def files_of(paths) -> list[File]:
    ordered = sorted(paths, key=lambda path: path.replace("/", "\0"))
    return [
        File(path.encode(), "symlink", 0o777, link=LINKS[path])
        if path in LINKS
        else File(path.encode(), "file", 0o755 if path == "a" else 0o644, len(CONTENT[path]), open=reader(CONTENT[path]))
        for path in ordered
    ]


def reader(content: bytes):
    return lambda: io.BytesIO(content)


def tree_of(engine, held) -> dict[bytes, tuple]:
    with engine.tree(held) as tree:
        found = {}
        for item in tree.walk(b"out"):
            content = item.open().read() if item.open is not None else b""
            found[item.path] = (item.kind, item.mode, item.uid, item.gid, item.link, content)
        return found


def test_the_files_that_are_selected_give_what_all_files_give(engine, busybox_base):
    """And what is not selected is not there to be taken."""
    text = f"""\
FROM {busybox_base}
ARG WHAT=docs
COPY Makefile *.c /out/
COPY ["a", "/out/run"]
COPY --chown=7:8 ${{WHAT}}/*/ /out/docs/
COPY current/data /out/data
COPY current /out/current
COPY src /out/src
ADD big empty /out/
RUN --mount=type=bind,source=docs/y.md,target=/y cp /y /out/y; cat /etc/hosts > /out/hosts; ls /sys/class/net > /out/net
"""
    paths = sorted([*CONTENT, *LINKS])
    blobs = [Blob(path.encode(), 0o120000 if path in LINKS else 0o100644, "") for path in paths]
    found = resolve(parse(text.encode()), Question("", {}, "linux/amd64", "linux/amd64"))
    selected = select_files(Listing(blobs), found.patterns, Ignore(), lambda blob: LINKS[blob.path.decode()])
    names = [blob.path.decode() for blob in selected]
    assert "unused" not in names and "current" in names
    trees = []
    for chosen in (names, paths):
        said = Said()
        build = DockerfileBuild(
            text.encode(),
            files_of(chosen),
            args={"NOT_DECLARED": "x"},
            mtime_s=1_600_000_000,
            add_hosts=("db:192.0.2.1", "mail:192.0.2.2"),
            network="none",
        )
        with contextlib.closing(engine.build_dockerfile(build, said, Cancel())) as held:
            trees.append(tree_of(engine, held))
            assert {name for name in held.config.labels if name.startswith("dev.conveyor.")} >= {RUN_LABEL}
        assert "[2/9] COPY" in said.text
    assert trees[0] == trees[1]
    assert trees[0].pop(b"net")[5] == b"lo\n"
    hosts = trees[0].pop(b"hosts")[5]
    assert b"192.0.2.1\tdb" in hosts and b"192.0.2.2\tmail" in hosts
    assert trees[0][b"big"][5] == CONTENT["big"] and trees[0][b"run"][1] == 0o755 and trees[0][b"docs/x.md"][2:4] == (7, 8)


# What asks an agent for its keys, for a base that has no ssh.
LIST_KEYS = """\
use IO::Socket::UNIX;
$agent = IO::Socket::UNIX->new($ENV{SSH_AUTH_SOCK}) or die "no agent: $!";
syswrite $agent, pack("NC", 1, 11);
sysread $agent, $length, 4;
sysread $agent, $keys, unpack("N", $length);
print $keys;
"""


def test_secrets_and_keys_are_given_and_stay_out_of_the_image(engine, debian_base, docker_engine, tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    nonce = secrets.token_hex(8)  # BuildKit knows nothing of the value of a secret: it would take an earlier result
    text = f"""\
FROM {debian_base}
RUN echo {nonce}
RUN --mount=type=secret,id=token md5sum /run/secrets/token > /sum
COPY keys.pl /
RUN --mount=type=ssh perl /keys.pl > /keys
"""
    value = secrets.token_hex(16).encode()
    said = Said()
    program = File(b"keys.pl", "file", 0o644, len(LIST_KEYS), open=reader(LIST_KEYS.encode()))
    build = DockerfileBuild(text.encode(), [program], secrets={"token": value}, ssh={"default": [key]})
    with contextlib.closing(engine.build_dockerfile(build, said, Cancel())) as held, engine.tree(held) as tree:
        assert tree.open(b"sum").read().split()[0] == hashlib.md5(value, usedforsecurity=False).hexdigest().encode()
        assert b"ssh-ed25519" in tree.open(b"keys").read()
        mounted = tree.stat(b"run/secrets/token")
        assert mounted is None or mounted.size == 0
        history = docker_engine.history(held.id)
    assert value.decode() not in said.text + str(history)
    missing = f"FROM {debian_base}\nRUN --mount=type=secret,id=other,required=true true\n"
    with pytest.raises(StapelError, match="other"):
        engine.build_dockerfile(DockerfileBuild(missing.encode(), []), said, Cancel())


def test_a_build_anew_takes_nothing_of_what_is_kept(engine, busybox_base):
    text = f"FROM {busybox_base}\nRUN cat /proc/sys/kernel/random/uuid > /id\n".encode()
    found = []
    for is_anew in (False, False, True):
        build = DockerfileBuild(text, [], is_anew=is_anew)
        with contextlib.closing(engine.build_dockerfile(build, Said(), Cancel())) as held, engine.tree(held) as tree:
            found.append(tree.open(b"id").read())
    assert found[0] == found[1] != found[2]


def test_the_engine_never_takes_an_old_file_for_a_new_one(engine, busybox_base):
    """It compares size and time of what it has kept under the key of a context."""
    key = secrets.token_hex(8)
    found = []
    for text in ("one", "two"):
        build = DockerfileBuild(f"FROM {busybox_base}\nLABEL is={text}\n".encode(), [], mtime_s=7, context_key=key)
        with contextlib.closing(engine.build_dockerfile(build, Said(), Cancel())) as held:
            found.append(held.config.labels["is"])
    assert found == ["one", "two"]


def test_a_build_that_is_cancelled_ends_at_once(engine, busybox_base):
    cancel, said = Cancel(), Said()
    text = f"FROM {busybox_base}\nRUN echo {secrets.token_hex(4)} begun; sleep 300\n"
    begun = time.monotonic()

    def stop() -> None:
        while "begun\n" not in said.text.partition("RUN")[2].partition("\n")[2] and time.monotonic() < begun + 60:
            said.grown.wait(0.1)
            said.grown.clear()
        cancel.set()

    stopping = threading.Thread(target=stop)
    stopping.start()
    with pytest.raises(Cancelled):
        engine.build_dockerfile(DockerfileBuild(text.encode(), []), said, cancel)
    stopping.join()
    assert time.monotonic() - begun < 120  # it sleeps for longer


def test_buildkit_is_given_the_credentials_of_registries(docker_engine, busybox_base, registry_with_auth, tmp_path):
    """It asks for them by itself where nobody has pulled the base before."""
    name = f"{registry_with_auth.host}/{secrets.token_hex(4)}/base"
    nothing = docker_engine.import_image_from_data(_archive_of("own", secrets.token_bytes(8)), repository=name, tag="1")
    image_id = json.loads(nothing.splitlines()[-1])["status"]
    credentials = {"username": "ci", "password": PASSWORD}
    pushed = list(docker_engine.push(name, "1", stream=True, decode=True, auth_config=credentials))
    assert not [line for line in pushed if "error" in line]
    docker_engine.remove_image(image_id, force=True)
    auth = base64.b64encode(f"ci:{PASSWORD}".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry_with_auth.host: {"auth": auth}}}))
    (tmp_path / "empty").mkdir()
    with open_run(tmp_path / "home") as run:
        for docker_config in (tmp_path / "empty", tmp_path):
            engine = DockerEngine(
                "conveyor-dockerfile", run_id=run.id, home_dir=tmp_path, tmp_dir=tmp_path, docker_config=str(docker_config)
            )
            build = DockerfileBuild(f"FROM {name}:1\nLABEL a=b\n".encode(), [])
            try:
                if docker_config.name == "empty":  # the engine itself knows nobody
                    with pytest.raises(StapelError, match="401 Unauthorized"):
                        engine.build_dockerfile(build, Said(), Cancel())
                else:
                    with contextlib.closing(engine.build_dockerfile(build, Said(), Cancel())) as held:
                        assert held.config.labels["a"] == "b" and len(held.config.diff_ids) == 1
            finally:
                engine.close()


def _archive_of(name: str, content: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def test_how_builds_fail(engine, busybox_base):
    def fails(kind, match, text, *files, **asked):
        with pytest.raises(kind, match=match) as caught:
            engine.build_dockerfile(DockerfileBuild(text.encode(), files, **asked), Said(), Cancel())
        return caught.value

    error = fails(CommandFailed, "exit status 7", f"FROM {busybox_base}\nRUN exit 7\n")
    assert error.status == 7 and "RUN exit 7" in error.hint
    fails(StapelError, "missing", f"FROM {busybox_base}\nCOPY missing /\n")
    shorter = File(b"x", "file", 0o644, 5, open=reader(b"1"))
    fails(StapelError, "x is shorter than it was", f"FROM {busybox_base}\nCOPY x /\n", shorter)

    def refuse(configs):
        raise NotFound(f"refused {sorted(configs)}")

    bases = [(busybox_base, "")]
    fails(NotFound, f"refused \\['{busybox_base}'\\]", f"FROM {busybox_base}\n", bases=bases, check_bases=refuse)
