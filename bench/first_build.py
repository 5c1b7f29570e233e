"""Large repositories: the first build, and one changed file."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Iterator
from functools import partial

from bench.harness import BASE, Harness, Project, Variant, show, show_absolute

IMAGE = f"image: app\nfrom: {BASE}\ngit: [{{add: /src, to: /app}}]\n"
SMALL = 1000


def measure(harness: Harness) -> None:
    """1,000 and 100,000 files by a git mapping: the first build, and one changed file; git status beside it."""
    counts = (SMALL, harness.files)
    projects = {count: make_repository(harness, count) for count in counts}
    _warm_up(harness)
    firsts: dict[str, float] = {}
    for count, project in projects.items():
        start = time.perf_counter()
        project.build()
        firsts[f"first build of {count} files"] = time.perf_counter() - start
    variants: dict[str, Variant] = {}
    for count, project in projects.items():
        variants[f"one changed file in {count}"] = Variant(project.build, partial(_change, project))
        variants[f"git status in {count}"] = Variant(partial(project.git, "status", "--porcelain", "--untracked-files=all"))
    figures = firsts | harness.interleave(variants)
    show(figures)
    small, large = (figures[f"one changed file in {count}"] for count in counts)
    status = figures[f"git status in {harness.files}"] - figures[f"git status in {SMALL}"]
    more_ms, status_ms = (large - small) * 1000, status * 1000
    print(f"   one changed file: {more_ms:.0f} ms more than in {SMALL}  (bound: what git status does, {status_ms:.0f})")
    bounds = {f"first build of {harness.files} files": 8.0, f"one changed file in {harness.files}": 0.5}
    show_absolute(figures, bounds)


def _warm_up(harness: Harness) -> None:
    Project(harness, "warm-up", f"image: app\nfrom: {BASE}\nshell: {{setup: 'true'}}\n").build()


def make_repository(harness: Harness, count: int) -> Project:
    """A repository with so many files for one image."""
    project = Project(harness, f"repository-{count}", IMAGE)
    subprocess.run(
        ["git", "fast-import", "--quiet", "--force"],
        cwd=project.directory,
        env=harness.env,
        input=b"".join(_commit(project.name, count)),
        check=True,
    )
    project.git("reset", "--quiet", "--hard")
    time.sleep(1.1)  # git must not take the files for changed in the same moment as its index
    project.git("status")
    return project


def _commit(name: str, count: int) -> Iterator[bytes]:
    """A commit for fast-import: text files of 10 bytes to 4 KiB, twenty directories of a hundred in each."""
    yield b"commit refs/heads/main\ncommitter bench <bench@localhost> 1700000000 +0000\ndata 3\nAll\ndeleteall\n"
    yield _file("werf.yaml", f"project: {name}\nconfigVersion: 1\n---\n{IMAGE}".encode())
    for number in range(count):
        path = f"src/{number // 2000:03}/{number // 100 % 20:02}/{number:06}.txt"
        yield _file(path, f"file {number}\n".encode() * (1 + number * 7919 % 300))


def _file(path: str, data: bytes) -> bytes:
    return b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(data), data)


def _change(project: Project) -> None:
    project.write({"src/000/00/000007.txt": secrets.token_hex(8)})
    project.git("commit", "--quiet", "--all", "--message", "A file")
