"""Images of files of other repositories, from real servers on this machine."""

from __future__ import annotations

import signal
import subprocess
import threading
from pathlib import Path

from tests.conftest import absent
from tests.e2e.conftest import MakeProject
from tests.e2e.projects import REPORT, Build
from tests.git_servers import find_sshd, git_http, git_ssh
from tests.trace_points import children
from tests.unit.gitrepo.repositories import make_place

TOKEN = "s3cret-t0ken"
CONFIG = """\
image: app
from: scratch
git:
- url: URL
  tag: v1
  add: /src
  to: /app
- {to: /own, includePaths: [file]}
---
image: same
from: scratch
git:
- url: URL
  commit: COMMIT
  add: /src
  to: /app
- {to: /own, includePaths: [file]}
"""


def test_files_of_another_repository(make_project: MakeProject, tmp_path: Path, monkeypatch) -> None:
    """A tag and the commit that it names are one stage; a later tag lays the delta; what is here needs no server.

    The token in the URL is in nothing that is told or kept.
    """
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "a")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "a@b")
    other = make_place(tmp_path / "served" / "other")
    other.git("config", "uploadpack.allowFilter", "true")
    other.write("src/a", "1\n")
    other.write("src/sub/b", "1\n")
    other.write("unused", "1\n")
    first = other.commit()
    other.git("tag", "v1")
    told = []

    def build(status: int = 0) -> Build:
        done = project.build("--engine", "sandbox", status=status)
        told.append(done.run.output + (project.directory / REPORT).read_text() if not status else done.run.output)
        return done

    def files(image: str) -> dict[str, str]:
        target = tmp_path / "exported.tar"
        target.unlink(missing_ok=True)
        ran = project.conveyor("export", image, "--to", f"docker-archive:{target}", "--engine", "sandbox")
        assert ran.status == 0, ran.output
        return _files_of(target)

    with git_http(tmp_path / "served", (TOKEN, "")) as server:
        text = CONFIG.replace("URL", server.url("other", TOKEN)).replace("COMMIT", first)
        project = make_project(text, {"file": "own\n"})
        built = build()
        assert built.built == {"app": ["from", "gitArchive"], "same": ["from", "gitArchive"]}
        assert built.stage("same", "gitArchive")["DockerImageName"] == built.stage("app", "gitArchive")["DockerImageName"]
        assert files("app") == {"app/a": "1\n", "app/sub/b": "1\n", "own/file": "own\n"}

        other.write("src/a", "2\n")
        (other.path / "src/sub/b").unlink()
        other.commit()
        other.git("tag", "v2")
        project.configure(text.replace("v1", "v2"))
        project.commit()
        assert build().built == {"app": ["gitLatestPatch"]}
        assert files("app") == {"app/a": "2\n", "own/file": "own\n"}

    assert build().built == {}
    project.configure(text.replace("tag: v1", "tag: v3"))
    project.commit()
    refused = build(status=2).run.stderr
    assert "werf.yaml:7:" in refused, refused
    assert f"git cannot fetch the tag v3 of {server.url('other')}" in refused
    assert TOKEN not in "".join(told)
    kept = [path for path in project.home.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in kept if TOKEN.encode() in path.read_bytes()]


def test_a_repository_that_only_a_key_opens(make_project: MakeProject, tmp_path: Path) -> None:
    """The keys of `--ssh-key` reach git before anything is built, or read of includes, and end with the run."""
    if find_sshd() is None:
        absent("sshd is not on this machine (apt-get install openssh-server)")
    other = make_place(tmp_path / "other")
    for name, value in {"user.name": "a", "user.email": "a@b", "uploadpack.allowFilter": "true"}.items():
        other.git("config", name, value)
    other.write("a", "by ssh\n")
    other.commit()
    other.git("tag", "v1")
    with git_ssh(tmp_path / "ssh") as server:
        url = server.url(other.path)
        project = make_project(f"image: app\nfrom: scratch\ngit: [{{url: '{url}', tag: v1, to: /app}}]\n")
        project.env["GIT_SSH_COMMAND"] = server.command
        refused = project.build("--engine", "sandbox", status=2).run.stderr
        assert "Permission denied" in refused
        assert "--ssh-key" in refused
        built = project.build("--engine", "sandbox", "--ssh-key", str(server.key))
        assert built.built == {"app": ["from", "gitArchive"]}
        assert f"Fetching the tag v1 of {url}" in built.run.stderr

        image = "image: a\nfrom: scratch\ndocker: {USER: b}\n"
        other.write("werf.yaml", f"configVersion: 1\nproject: {project.name}\n---\n{image}")
        other.commit()
        other.git("tag", "v2")
        includes = f"includes: [{{git: '{url}', tag: v2, add: /, to: /}}]\n"
        included = make_project(files={"werf-includes.yaml": includes})
        included.env["GIT_SSH_COMMAND"] = server.command
        refused = included.conveyor("includes", "update")
        assert (refused.status, "--ssh-key" in refused.output) == (2, True)
        with_key = ("--ssh-key", str(server.key), "--tmp-dir", str(tmp_path / "tmp"))
        updated = included.conveyor("includes", "update", *with_key)
        assert updated.status == 0, updated.output
        included.commit()
        assert included.build("--engine", "sandbox", *with_key).built == {"a": ["dockerInstructions"]}
        assert list((tmp_path / "tmp").iterdir()) == []
    assert project.build("--engine", "sandbox").built == {}


def test_an_interrupt_ends_what_is_fetched(make_project: MakeProject, tmp_path: Path) -> None:
    """Two servers that do not come to an end; nobody waits for them."""
    other = make_place(tmp_path / "served" / "a")
    for name, value in {"user.name": "a", "user.email": "a@b"}.items():
        other.git("config", name, value)
    other.commit()
    fetching, release = threading.Semaphore(0), threading.Event()

    def hold() -> None:
        fetching.release()
        release.wait(120)

    with git_http(tmp_path / "served") as one, git_http(tmp_path / "served") as two:
        one.on_fetch = two.on_fetch = hold
        mappings = ", ".join(
            f"{{url: '{server.url('a')}', commit: {other.head()}, to: /{server.host}}}" for server in (one, two)
        )
        project = make_project(f"image: app\nfrom: scratch\ngit: [{mappings}]\n")
        process = subprocess.Popen(
            project.command("build", "--engine", "sandbox"), cwd=project.directory, env=project.env, stderr=subprocess.PIPE
        )
        for _ in range(2):
            assert fetching.acquire(timeout=120)
        started = children(process.pid)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert (process.returncode, b"Traceback" in said) == (130, False), said
        assert not [pid for pid in started if "git" in _program(pid)]
        release.set()


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    except OSError:
        return ""


def _files_of(archive: Path) -> dict[str, str]:
    """The files of an image with links and directories left out, by what the layers say from the first to the last."""
    import io
    import json
    import tarfile

    found: dict[str, str] = {}
    with tarfile.open(archive) as image:
        manifest = json.load(image.extractfile("manifest.json"))[0]
        for name in manifest["Layers"]:
            with tarfile.open(fileobj=io.BytesIO(image.extractfile(name).read())) as layer:
                for member in layer.getmembers():
                    directory, _, base = member.name.rpartition("/")
                    if base.startswith(".wh."):
                        gone = f"{directory}/{base[4:]}"
                        found = {
                            path: text for path, text in found.items() if path != gone and not path.startswith(gone + "/")
                        }
                    elif member.isfile():
                        found[member.name] = layer.extractfile(member).read().decode()
    return found
