"""Trace points: their names, their cost, and that nothing in the product hooks them."""

from __future__ import annotations

import re
import sys

import pytest

from tests.trace_points import ROOMS, ROOT, Plan, hooked, trace_points

SOURCES = {path: path.read_text() for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))}


def test_points_say_what_and_when():
    assert len(trace_points()) > 40
    wrong = [name for name in trace_points() if not re.fullmatch(r"[a-z]+(-[a-z]+)*\.(before|after)-[a-z]+", name)]
    assert wrong == []


def test_a_module_has_a_point_once():
    for name, modules in trace_points().items():
        assert len(set(modules)) == len(modules), name


def test_nothing_is_named_like_an_event_of_python_itself():
    own = {
        "compile",
        "exec",
        "import",
        "open",
        "socket",
        "os",
        "shutil",
        "subprocess",
        "tempfile",
        "fcntl",
        "signal",
        "time",
    }
    assert {name.partition(".")[0] for name in trace_points()} & own == set()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_product_hooks_nothing(path):
    assert "addaudithook" not in SOURCES[path]
    assert ("trace(" in SOURCES[path]) == ("from sys import audit as trace\n" in SOURCES[path])


def test_a_hook_sees_points_and_no_other_events_until_it_ends():
    seen = []
    with hooked(seen.append):
        sys.audit("save.before-name")
        sys.audit("open", "/", "r", 0)
        sys.audit("lock.after-take")
    sys.audit("save.before-name")
    assert seen == ["save.before-name", "lock.after-take"]


def test_what_a_hook_raises_is_raised_at_the_point():
    def fail(point):
        raise OSError(point)

    with hooked(fail), pytest.raises(OSError, match=r"save\.before-name"):
        sys.audit("save.before-name")


def test_a_traced_process_is_conveyor(tmp_path):
    import os
    import subprocess

    plan = Plan(tmp_path, log=True)
    ran = subprocess.run(plan.command("version"), env={**os.environ, **plan.env()}, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", ran.stdout)
    assert plan.points() == []
