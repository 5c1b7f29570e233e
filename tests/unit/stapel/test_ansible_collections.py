"""Collections of Ansible: which ones tasks use, and which ones of this host are those that images are built with."""

import json

import pytest

from stapel.ansible import COLLECTIONS, collections_of
from stapel.ansible_toolchain import check_collections, describe_ansible, find_collections
from stapel.errors import StapelError

GENERAL = COLLECTIONS["community.general"]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"copy": {"content": "npm", "dest": "/apk"}}, []),
        ({"npm": {"name": "x"}}, ["community.general"]),
        ({"ansible.builtin.npm": {"name": "x"}}, ["community.general"]),
        ({"community.general.whatever": {}}, ["community.general"]),
        ({"block": [{"command": "a"}], "rescue": [{"block": [{"acl": {"path": "/"}}]}]}, ["ansible.posix"]),
        ({"debug": {"msg": "{{ x | community.general.dict_kv('a') }}"}}, ["community.general"]),
        ({"openssl_csr": {}, "vars": {"archive": 1}}, ["community.crypto"]),
        ({"debug": {"msg": "see xcommunity.general.x and community.general"}}, []),
    ],
    ids=lambda value: str(value)[:40],
)
def test_collections_are_known_by_modules_and_by_full_names(task, expected):
    assert collections_of(json.dumps([task])) == {name: COLLECTIONS[name] for name in expected}


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A host whose user has installed no collections."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ANSIBLE_COLLECTIONS_PATH", raising=False)
    return tmp_path


def install(root, name, version):
    directory = root / "ansible_collections" / name.replace(".", "/")
    directory.mkdir(parents=True)
    (directory / "MANIFEST.json").write_text(json.dumps({"collection_info": {"version": version}}))
    return directory


def test_a_collection_that_is_missing_is_told_with_what_to_install(nowhere):
    with pytest.raises(StapelError) as caught:
        check_collections(["community.general"])
    assert f"the collection community.general {GENERAL} of Ansible is not installed" in str(caught.value)
    assert "conveyor-build[ansible-collections]" in caught.value.hint
    assert f"ansible-galaxy collection install community.general:{GENERAL}" in caught.value.hint


def test_another_version_is_not_taken_and_is_told(nowhere):
    there = install(nowhere / "home/.ansible/collections", "community.general", "1.0.0")
    with pytest.raises(StapelError) as caught:
        check_collections(["community.general", "ansible.posix"])
    assert f"collections community.general {GENERAL}, ansible.posix " in str(caught.value)
    assert f"({there} has 1.0.0)" in str(caught.value)


def test_the_first_place_that_has_the_version_is_taken_and_names_the_toolchain(nowhere, monkeypatch):
    install(nowhere / "one", "community.general", "1.0.0")
    right = install(nowhere / "two", "community.general", GENERAL)
    install(nowhere / "three", "community.general", GENERAL)
    (install(nowhere / "one", "ansible.posix", "x") / "MANIFEST.json").write_text("no JSON")
    before = describe_ansible()
    places = [str(nowhere / name) for name in ("absent", "one", "two", "three")]
    monkeypatch.setenv("ANSIBLE_COLLECTIONS_PATH", ":".join(places))
    assert find_collections() == {"community.general": right}
    check_collections(["community.general"])
    assert set(describe_ansible()) - set(before) == {f"community.general {GENERAL}"}
