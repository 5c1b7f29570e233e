"""Images that have links, or nothing, where a build container mounts something: nothing of ours is left there."""

import pytest

from stapel.api import Mount, Run
from tests.conformance.engines import directory, file, lay, link

CAT = 'while read -r line; do echo "$line"; done <{}\n'


def test_etc_that_is_a_link(sandbox):
    base = sandbox.build(sandbox.scratch(), lay(directory(b"usr/etc"), link(b"etc", b"usr/etc")))
    made = sandbox.build(base, Run(CAT.format("/etc/hostname") + ">/made"))
    assert sandbox.paths(made, b"made")
    assert sandbox.paths(made, b"etc")[b""].kind == "symlink"
    assert list(sandbox.paths(made, b"usr/etc")) == [b""]


@pytest.mark.parametrize("target", [b"../run/resolve/stub.conf", b"/run/resolve/stub.conf", b"stub.conf"])
def test_resolv_conf_that_is_a_link_to_nothing(sandbox, target):
    base = sandbox.build(sandbox.base(), lay(link(b"etc/resolv.conf", target)))
    before = sandbox.paths(base)
    made = sandbox.build(base, Run("cat /etc/resolv.conf >/made"))
    with open("/etc/resolv.conf") as expected:
        assert sandbox.files(made, b"made")[1][b""].decode().split("\n")[0] == expected.readline().rstrip("\n")
    assert sandbox.paths(made, b"etc/resolv.conf")[b""].link == target
    after = sandbox.paths(made)
    assert {path: item.kind for path, item in after.items() if path != b"made"} == {
        path: item.kind for path, item in before.items()
    }


def test_directories_of_the_base_that_were_emptied(sandbox):
    base = sandbox.build(sandbox.base(), lay(file(b"etc/own", b"x"), empty=[b"etc", b"proc", b"sys", b"dev"]))
    assert sandbox.run(base, "read -r name </etc/hostname; echo ${#name}; cat /etc/own; echo >/dev/null") == "12\nx"


def test_a_mount_below_a_link(sandbox, tmp_path):
    base = sandbox.build(sandbox.base(), lay(directory(b"real", mtime_s=11), link(b"way", b"/real")))
    made = sandbox.build(base, Run("echo host >/way/deep/er/file", mounts=[Mount(tmp_path, "/way/deep/er")]))
    assert (tmp_path / "file").read_text() == "host\n"
    assert {path: item.mtime_s for path, item in sandbox.paths(made, b"real").items()} == {b"": 11}


def test_names_of_hosts_are_a_containers_own(sandbox):
    spoil = """echo 192.0.2.1 other >>/etc/hosts; : >/etc/resolv.conf; chown 33 /etc/hostname; wc -l </etc/hosts
! head -c 99999999 /dev/zero 2>/dev/null >>/etc/hostname"""
    lines = int(sandbox.run(sandbox.base(), spoil))
    seen = sandbox.run(sandbox.base(), "wc -l </etc/hosts; stat -c %u:%a /etc/hosts /etc/hostname; wc -c </etc/resolv.conf")
    with open("/etc/resolv.conf", "rb") as resolver:
        assert seen.split() == [str(lines - 1), "0:644", "0:644", str(len(resolver.read()))]
