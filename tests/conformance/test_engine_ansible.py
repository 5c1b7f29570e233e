"""Tasks of Ansible in build containers of every engine, over a base that has no Python."""

import json

import pytest

from stapel.ansible import COLLECTIONS, ansible_script, collections_of
from stapel.api import Run
from stapel.errors import CommandFailed, StapelError
from tests.conformance.engines import ENGINES, Said, sandbox_subject

TASKS = [
    {"name": "the first", "copy": {"content": "one\n", "dest": "/made", "mode": 0o640}, "register": "made"},
    {"command": "cat /made", "register": "said", "changed_when": False},
    {"name": "a block", "block": [{"file": {"path": "/d/e", "state": "directory"}}], "when": "made is changed"},
    {"lineinfile": {"path": "/made", "line": "{{ said.stdout }} and {{ item }}"}, "with_items": ["two", "ümläut"]},
    {"shell": "id -u >/uid; pwd >/cwd; python3 -c '' 2>/dev/null || echo none >/python", "args": {"executable": "/bin/sh"}},
]


# A collection as small as can be: what it needs of its own is found, and what ansible-core sends to it.
COLLECTION = {
    "MANIFEST.json": json.dumps({"collection_info": {"version": COLLECTIONS["community.general"]}}),
    "meta/runtime.yml": "plugin_routing: {modules: {old_name: {redirect: community.general.apk}}}\n",
    "plugins/module_utils/writing.py": "def write(path, text):\n    open(path, 'a').write(text)\n",
    "plugins/modules/apk.py": """\
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.community.general.plugins.module_utils.writing import write

module = AnsibleModule({"name": {"required": True}})
write("/packages", module.params["name"] + " ")
module.exit_json(changed=True)
""",
    "plugins/filter/louder.py": "class FilterModule:\n    def filters(self):\n        return {'louder': str.upper}\n",
    "plugins/modules/README.md": "not for a container",
    "tests/unit/large.py": "not for a container",
}
TASKS_OF_COLLECTIONS = [
    {"apk": {"name": "one"}},
    {"community.general.apk": {"name": "{{ 'two' | community.general.louder }}"}},
    {"community.general.old_name": {"name": "three"}},
    {"shell": "cd /.conveyor/stapel/ansible/ansible_collections && find . -type f | sort >/found"},
]


@pytest.fixture(autouse=True)
def collections(tmp_path_factory, monkeypatch):
    """Where this host has its collections: in all tests, for each state of them makes a toolchain."""
    root = tmp_path_factory.getbasetemp() / "collections"
    for name, text in COLLECTION.items():
        path = root / "ansible_collections/community/general" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv("ANSIBLE_COLLECTIONS_PATH", str(root))


@pytest.fixture(params=ENGINES.values(), ids=ENGINES)
def subject(request, engine_home):
    with request.param(engine_home, request) as subject:
        yield subject


def run_tasks(subject, tasks):
    said, script, used = Said(), ansible_script(json.dumps(tasks)), collections_of(json.dumps(tasks))
    return said, subject.build(subject.base(), Run(script, needs_ansible=True, collections=tuple(used)), log=said)


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


def test_modules_of_a_collection_that_this_host_has(request, engine_home):
    with sandbox_subject(engine_home, request) as subject:
        _, made = run_tasks(subject, TASKS_OF_COLLECTIONS)
        with subject.engine.tree(made) as tree:
            assert tree.open(b"packages").read() == b"one TWO three "
            found = {path.rpartition("general/")[2] for path in tree.open(b"found").read().decode().split()}
    assert found == COLLECTION.keys() - {"plugins/modules/README.md", "tests/unit/large.py"}


def test_a_collection_that_this_host_has_not(subject, monkeypatch):
    monkeypatch.setenv("ANSIBLE_COLLECTIONS_PATH", "/nowhere")
    with pytest.raises(StapelError, match=r"the collection community\.general .* is not installed"):
        run_tasks(subject, TASKS_OF_COLLECTIONS[:1])
