"""`ansible`: tasks as they are handed to Ansible."""

import json

from conveyor.config.decode_ansible import MODULES, missing_modules
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


def test_modules_of_collections_are_read_and_known_to_be_missing():
    tasks = "[{apk: {name: x}}, {command: make}, {block: [{block: [{npm: {}}]}], rescue: [{ansible.builtin.apk: {}}]}]"
    text = f"configVersion: 1\nproject: p\n---\nimage: a\nfrom: b\nansible: {{setup: {tasks}}}\n"
    shell = parse_project(text.encode(), "werf.yaml").image("a").shell
    assert missing_modules(shell.tasks["setup"]) == ("apk", "ansible.builtin.apk", "npm")
