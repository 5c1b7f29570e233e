"""`ansible`: tasks as they are handed to Ansible."""

import json

from conveyor.config.decode_ansible import MODULES
from conveyor.config.reading import parse_project
from conveyor.config.tables.image import ANSIBLE, SHELL

TEXT = """\
configVersion: 1
project: demo
---
image: app
from: alpine:3
ansible:
  cacheVersion: a
  setupCacheVersion: 2
  install:
  - name: 1.10
    copy: {dest: /x, mode: 0644, content: "0644", backup: yes, force: ~}
    when: a == 1.5
    with_items: [1.5, 1e3, 0x10, 2020-01-01, .inf]
  - block:
    - ansible.builtin.command: make
    rescue: [{fail: {msg: no}}]
    always:
    - {shell: a | b, <<: {register: said}}
  setup: []
"""


def test_tasks_are_passed_on_as_ansible_would_read_them():
    shell = parse_project(TEXT.encode(), "werf.yaml").image("app").shell
    assert (shell.commands, shell.cache_version, shell.stage_cache_versions) == ({}, "a", {"setup": "2"})
    assert list(shell.tasks) == ["install"]
    assert json.loads(shell.tasks["install"]) == [
        {
            "name": 1.1,
            "copy": {"dest": "/x", "mode": 0o644, "content": "0644", "backup": True, "force": None},
            "when": "a == 1.5",
            "with_items": [1.5, 1000.0, 16, "2020-01-01", ".inf"],
        },
        {
            "block": [{"ansible.builtin.command": "make"}],
            "rescue": [{"fail": {"msg": False}}],
            "always": [{"shell": "a | b", "register": "said"}],
        },
    ]


def test_modules_of_collections_have_short_and_full_names():
    tasks = [{"apk": {"name": "x"}}, {"community.general.apk": {}}, {"ansible.builtin.apk": {}}, {"ansible.posix.mount": {}}]
    text = f"configVersion: 1\nproject: demo\n---\nimage: app\nfrom: alpine:3\nansible: {json.dumps({'install': tasks})}\n"
    assert json.loads(parse_project(text.encode(), "f").image("app").shell.tasks["install"]) == tasks


def test_the_order_of_fields_changes_no_key():
    other = TEXT.replace("{dest: /x, mode: 0644", "{mode: 0644, dest: /x")
    assert other != TEXT
    assert parse_project(other.encode(), "f").image("app").shell == parse_project(TEXT.encode(), "f").image("app").shell


def test_every_module_is_one_of_ansible_core():
    from importlib.metadata import files

    there = {path.stem for path in files("ansible-core") or () if path.parts[:2] == ("ansible", "modules")}
    assert set(MODULES) - there == {"yum"}  # which is dnf under its old name


def test_cache_versions_are_those_of_shell():
    assert ANSIBLE.keys() == SHELL.keys()
