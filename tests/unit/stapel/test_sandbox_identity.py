"""Which ranges of ids a user has, and root in a container that has few."""

import pytest

from stapel.sandbox import identity
from stapel.sandbox.identity import Range, find_identity

ALL = "         0          0 4294967295\n"


@pytest.fixture
def find(tmp_path, monkeypatch):
    """Find the identity of a user where files say this, and the ranges of users and groups that it has."""

    def find(uid, subuid="", id_map=ALL, *, subgid=None, gid_map=None):
        monkeypatch.setattr(identity.os, "geteuid", lambda: uid)
        monkeypatch.setattr(identity.os, "getegid", lambda: uid)
        monkeypatch.setattr(identity, "_names", lambda uid: ["root" if uid == 0 else "user"])
        (tmp_path / "subuid").write_text(subuid)
        (tmp_path / "subgid").write_text(subuid if subgid is None else subgid)
        (tmp_path / "uid_map").write_text(id_map)
        (tmp_path / "gid_map").write_text(id_map if gid_map is None else gid_map)
        found = find_identity(tmp_path / "subuid", tmp_path / "subgid", tmp_path)
        assert (found.uid, found.gid) == (uid, uid)
        return found

    return find


def both(found):
    assert found.uids == found.gids
    assert found.has_ranges == bool(found.uids.count)
    return found.uids


@pytest.mark.parametrize(
    ("subuid", "expected"),
    [
        ("", Range(0, 0)),
        ("other:100000:65536\n", Range(0, 0)),
        ("user:100000:65536\n", Range(100000, 65535)),
        ("1000:100000:1000\n", Range(100000, 1000)),
        ("user:100000:1000\nuser:200000:70000\nuser:300000:70000\n", Range(200000, 65535)),
        ("user:x:1000\nuser\n\n", Range(0, 0)),
    ],
)
def test_the_range_of_a_user_is_what_is_set_aside(find, subuid, expected):
    assert both(find(1000, subuid)) == expected


def test_root_needs_none_to_be_set_aside(find):
    assert both(find(0)) == Range(100000, 65535)
    assert both(find(0, "root:500000:65536\n")) == Range(500000, 65535)


@pytest.mark.parametrize("subuid", ["", "root:100000:65536\n"])
@pytest.mark.parametrize(
    ("id_map", "expected"),
    [
        ("0 1000 1\n", Range(0, 0)),
        ("0 1000 1\n1 100000 65536\n", Range(1, 65535)),
        ("0 100000 65536\n", Range(1, 65535)),
        ("0 100000 1000\n", Range(1, 999)),
        ("0 1000 1\n10 100000 20\n2000 200000 500\n", Range(2000, 500)),
        ("0 0 200000\n", Range(100000, 65535)),
    ],
)
def test_root_of_a_container_has_the_ids_that_it_has(find, subuid, id_map, expected):
    assert both(find(0, subuid, id_map)) == expected


def test_groups_are_looked_for_by_themselves(find):
    found = find(0, "", "0 0 1\n", gid_map="0 0 1000\n")
    assert (found.uids, found.gids) == (Range(0, 0), Range(1, 999))
    assert not found.has_ranges
