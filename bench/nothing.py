"""Builds where nothing is to do."""

from __future__ import annotations

from collections.abc import Callable

from bench.chain import write_dockerfile
from bench.harness import BASE, Harness, Project, Variant, docker_builders, show, show_absolute

ONE = f"""\
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
CONVEYOR, USUAL, BUILDKIT = "conveyor build, ten stages", "the same, not remembered", "docker build (BuildKit)"


def measure(harness: Harness) -> None:
    """Nothing to do: one image of ten stages, and many images, whole process, against builders of Dockerfiles."""
    one = Project(harness, "one", ONE, {"src/a.txt": "a"})
    many = Project(harness, "many", *many_images(harness.images))
    conveyor_many = f"conveyor build, {harness.images} images"
    one.build()
    many.build()
    variants = {
        CONVEYOR: Variant(one.build),
        USUAL: Variant(lambda: one.build("--log-format=json")),  # which is never remembered
        conveyor_many: Variant(many.build),
    }
    for name, (command, env) in docker_builders(harness).items():
        directory = harness.scratch / f"peer-{len(variants)}"
        directory.mkdir()
        write_dockerfile(directory, harness.run_id)
        run = _call(harness, [*command, str(directory)], env)
        run()
        variants[name] = Variant(run)
    variants["python -c pass"] = Variant(_call(harness, ["python", "-c", "pass"], {}))
    figures = harness.interleave(variants)
    show(figures, {(CONVEYOR, BUILDKIT): 1.0, (CONVEYOR, "docker build (legacy)"): 1.0})
    show_absolute(figures, {conveyor_many: 0.2})


def _call(harness: Harness, command: list[str], env: dict[str, str]) -> Callable[[], str]:
    return lambda: harness.call(*command, env=env)


def many_images(count: int) -> tuple[str, dict[str, str]]:
    """The configuration of `count` images with a git mapping and a command each, and their files."""
    images = "---\n".join(
        f"image: i{number}\nfrom: {BASE}\ngit: [{{add: /i{number}, to: /app}}]\nshell: {{setup: 'cat /app/a'}}\n"
        for number in range(count)
    )
    return images, {f"i{number}/a": str(number) for number in range(count)}
