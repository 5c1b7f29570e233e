"""Nothing to do: `conveyor build`, whole process with children, for one image of ten stages and for many images.

The engine's own store; each image of the many has a git mapping and a command. `docker version` is printed beside it, as
a measure of the machine.

    python bench/nothing_to_do.py [ROUNDS] [IMAGES]
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

BASE = "conveyor-bench/busybox:1"
ONE = f"""\
project: conveyor-bench-one
configVersion: 1
---
image: app
from: {BASE}
git:
  - {{add: /src, to: /app, stageDependencies: {{install: "*.txt"}}}}
import:
  - {{image: tool, add: /tool, to: /tool, before: setup}}
shell:
  beforeInstall: echo a > /a
  install: echo b > /b
  beforeSetup: echo c > /c
  setup: echo d > /d
docker: {{CMD: [sh]}}
---
image: tool
from: {BASE}
shell: {{setup: echo tool > /tool}}
"""


def make_project(directory: Path, configuration: str, files: dict[str, str]) -> None:
    """A repository with one commit."""
    for name, text in {"werf.yaml": configuration, **files}.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "All"]):
        identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
        subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True)


def many(count: int) -> tuple[str, dict[str, str]]:
    """The configuration of `count` images, and their files."""
    images = "".join(
        f"---\nimage: i{number}\nfrom: {BASE}\ngit: [{{add: /i{number}, to: /app}}]\nshell: {{setup: 'cat /app/a'}}\n"
        for number in range(count)
    )
    return "project: conveyor-bench-many\nconfigVersion: 1\n" + images, {f"i{n}/a": str(n) for n in range(count)}


def median_ms(rounds: int, run: Callable[[], object]) -> float:
    """The median of the wall time, in milliseconds."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1000


def main(rounds: int, count: int) -> None:
    """Print the figures."""
    make_base = Path(__file__).parents[1] / "samples/make_base.py"
    subprocess.run([sys.executable, make_base, "busybox", BASE], check=True, capture_output=True)
    conveyor = shutil.which("conveyor", path=str(Path(sys.executable).parent)) or "conveyor"
    with tempfile.TemporaryDirectory() as scratch:
        env = {**os.environ, "CONVEYOR_HOME_DIR": f"{scratch}/home"}
        for name, (configuration, files) in {"one": (ONE, {"src/a.txt": "a"}), "many": many(count)}.items():
            directory = Path(scratch) / name
            directory.mkdir()
            make_project(directory, configuration, files)

            def build(directory: Path = directory) -> None:
                subprocess.run([conveyor, "build"], cwd=directory, env=env, check=True, capture_output=True)

            build()
            taken = median_ms(rounds, build)
            if name == "one":
                print(f"one image                {taken:7.0f} ms  (bound: 200)")
            else:
                print(f"{count} images, an image    {taken / count:7.1f} ms  (bound: 20)")
        version = median_ms(rounds, lambda: subprocess.run(["docker", "version"], check=True, capture_output=True))
        print(f"docker version           {version:7.0f} ms")
    for project in ("conveyor-bench-one", "conveyor-bench-many"):
        listed = subprocess.run(
            ["docker", "images", "--format", "{{.Repository}}:{{.Tag}}", project], check=True, capture_output=True, text=True
        ).stdout.split()
        subprocess.run(["docker", "rmi", "--force", *listed], check=True, capture_output=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15, int(sys.argv[2]) if len(sys.argv) > 2 else 150)
