"""Ten trivial stages, one upon the other, of which nothing is stored."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from bench.harness import BASE, Harness, Project, Variant, docker_builders, show

STAGES = ("beforeInstall", "install", "beforeSetup", "setup")
CONVEYOR, BUILDKIT = "conveyor build", "docker build (BuildKit)"


def measure(harness: Harness) -> None:
    """A cold chain of ten trivial stages, whole process, against builders of Dockerfiles."""
    project = Project(harness, "chain", images())
    project.build()  # what is made once a machine
    variants = {CONVEYOR: Variant(project.build, lambda: change(project))}
    for name, (command, env) in docker_builders(harness).items():
        directory = harness.scratch / f"peer-{len(variants)}"
        directory.mkdir()
        variants[name] = Variant(_peer(harness, command, env, directory), _new_dockerfile(directory))
    show(harness.interleave(variants), {(CONVEYOR, BUILDKIT): 0.35})


def images() -> str:
    """Three images, one upon the other, with ten commands in all, of which nothing is stored."""
    documents = []
    for name, base, stages in (("a", BASE, STAGES), ("b", "a", STAGES), ("c", "b", STAGES[:2])):
        commands = "".join(f"  {stage}: echo {name} > /{name}-{stage}\n" for stage in stages)
        documents.append(f"image: {name}\nfrom: {base}\nfromCacheVersion: {secrets.token_hex(8)}\nshell:\n{commands}")
    return "---\n".join(documents)


def change(project: Project) -> None:
    """Commit a configuration of which nothing is stored."""
    project.configure(images())
    project.commit()


def write_dockerfile(directory: Path, mark: str) -> None:
    """Ten instructions that depend on a mark."""
    runs = "".join(f"RUN echo {mark} > /{number}\n" for number in range(10))
    (directory / "Dockerfile").write_text(f"FROM {BASE}\n{runs}")


def _new_dockerfile(directory: Path) -> Callable[[], None]:
    return lambda: write_dockerfile(directory, secrets.token_hex(8))


def _peer(harness: Harness, command: list[str], env: dict[str, str], directory: Path) -> Callable[[], str]:
    return lambda: harness.call(*command, str(directory), env=env)
