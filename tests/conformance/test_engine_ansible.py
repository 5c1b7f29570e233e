"""Tasks of Ansible in build containers of every engine, over a base that has no Python."""

import json

import pytest

from stapel.ansible import ansible_script
from stapel.api import Run
from stapel.errors import CommandFailed
from tests.conformance.engines import ENGINES, Said, sandbox_subject

TASKS = [
    {"name": "the first", "copy": {"content": "one\n", "dest": "/made", "mode": 0o640}, "register": "made"},
    {"command": "cat /made", "register": "said", "changed_when": False},
    {"name": "a block", "block": [{"file": {"path": "/d/e", "state": "directory"}}], "when": "made is changed"},
    {"lineinfile": {"path": "/made", "line": "{{ said.stdout }} and {{ item }}"}, "with_items": ["two", "ümläut"]},
    {"shell": "id -u >/uid; pwd >/cwd; python3 -c '' 2>/dev/null || echo none >/python", "args": {"executable": "/bin/sh"}},
]


@pytest.fixture(params=ENGINES.values(), ids=ENGINES)
def subject(request, engine_home):
    with request.param(engine_home, request) as subject:
        yield subject


def run_tasks(subject, tasks):
    said = Said()
    return said, subject.build(subject.base(), Run(ansible_script(json.dumps(tasks)), needs_ansible=True), log=said)


def test_tasks_are_run_and_leave_what_they_made_alone(subject):
    said, made = run_tasks(subject, TASKS)
    assert "TASK [the first]" in said.text() and "failed=0" in said.text()
    with subject.engine.tree(made) as tree:
        contents = {path: tree.open(path).read() for path in (b"made", b"uid", b"cwd", b"python")}
        assert tree.stat(b"made").mode == 0o640 and tree.stat(b"d/e").kind == "directory"
    assert contents[b"made"] == "one\none and two\none and ümläut\n".encode()
    assert (contents[b"uid"], contents[b"cwd"], contents[b"python"]) == (b"0\n", b"/\n", b"none\n")
    left = [name for name in subject.top_layer(made) if "ansible" in name or name.startswith(("tmp/", "root/."))]
    assert left == []


def test_a_task_that_fails_fails_the_stage(request, engine_home):
    with sandbox_subject(engine_home, request) as subject:
        with pytest.raises(CommandFailed) as caught:
            run_tasks(subject, [{"fail": {"msg": "as it should"}}, {"command": "touch /never"}])
        assert caught.value.status == 2
