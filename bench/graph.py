"""A skewed graph of images."""

from __future__ import annotations

import secrets

from bench.harness import BASE, Harness, Project, Variant, show

AT_ONCE = 5
# Seconds of each image, and what it is built on. The sets with a barrier after each take 3 + 7 + 7, the longest path 10.
GRAPH = {"a": (3, ""), "b": (1, ""), "c": (7, "a"), "d": (2, "b"), "e": (7, "d")}
CONVEYOR, PATH = "a skewed graph of five images", "its longest path"


def measure(harness: Harness) -> None:
    """A graph of images whose sets with a barrier take longer than its longest path, against that path."""
    project = Project(harness, "graph", _images())
    project.build()  # what is made once a machine
    figures = harness.interleave({CONVEYOR: Variant(lambda: _build(project), lambda: _change(project))})
    figures[PATH] = float(max(map(_path, GRAPH)))
    figures["its sets, one after the other"] = float(_sets())
    show(figures, {(CONVEYOR, PATH): 1.05})


def _images() -> str:
    version = secrets.token_hex(8)
    return "---\n".join(
        f"image: {name}\nfrom: {below or BASE}\nfromCacheVersion: {version}\nshell: {{setup: sleep {seconds}}}\n"
        for name, (seconds, below) in GRAPH.items()
    )


def _change(project: Project) -> None:
    project.configure(_images())
    project.commit()


def _build(project: Project) -> None:
    project.build(f"--parallel-tasks-limit={AT_ONCE}")


def _path(image: str) -> int:
    seconds, below = GRAPH[image]
    return seconds + (_path(below) if below else 0)


def _depth(image: str) -> int:
    below = GRAPH[image][1]
    return 1 + _depth(below) if below else 0


def _sets() -> int:
    depths = {_depth(image) for image in GRAPH}
    return sum(max(GRAPH[image][0] for image in GRAPH if _depth(image) == depth) for depth in depths)
