from __future__ import annotations

import pytest

from conveyor.config.giterminism.api import Permissions, Refusals
from conveyor.config.reading import parse_project
from conveyor.errors import GiterminismError, Place

CONFIG = """\
configVersion: 1
project: a
---
image: b
from: scratch
git:
- to: /app
  url: https://t0ken@example.org/a/b.git
"""


def read(extra: str, refusals: Refusals | None = None):
    return parse_project((CONFIG + extra).encode(), "werf.yaml", refusals).images[0].git[0]


def test_what_is_taken_of_a_repository():
    source = read("  tag: v1\n").remote
    assert source is not None
    assert (source.address.name, source.kind, source.ref) == ("example.org/a/b", "tag", "v1")
    assert source.is_fixed
    commit = read("  commit: " + "AB" * 20).remote
    assert (commit.kind, commit.ref, commit.is_fixed) == ("commit", "ab" * 20, True)
    branch, default = read("  branch: a/b\n").remote, read("").remote
    assert (branch.kind, branch.ref, branch.is_fixed) == ("branch", "a/b", False)
    assert (default.kind, default.ref, default.is_fixed) == ("branch", "", False)


def test_a_password_is_in_nothing_that_may_be_shown():
    mapping = read("  tag: v1\n")
    assert "t0ken" not in repr(mapping)
    text = CONFIG.replace("t0ken@", "") + "  tag: v1\n  basicAuth: {username: me, password: {value: t0ken}}\n"
    login = parse_project(text.encode(), "werf.yaml").images[0].git[0].remote.login
    assert (login.username, login.kind, login.password) == ("me", "value", "t0ken")
    assert "t0ken" not in repr(login)


@pytest.mark.parametrize(("extra", "line"), [("  branch: main\n", 9), ("", 8)])
def test_a_branch_needs_a_permission(extra, line):
    refusals = Refusals(Permissions())
    read(extra, refusals)
    with pytest.raises(GiterminismError) as raised:
        refusals.raise_any()
    assert "git branch directive not allowed by giterminism" in str(raised.value)
    assert str(Place("werf.yaml", line, 3)) in str(raised.value)
    allowing = Refusals(Permissions(given={"config.stapel.git.allowBranch": True}))
    read(extra, allowing)
    assert not allowing
    fixed = Refusals(Permissions())
    read("  tag: v1\n", fixed)
    assert not fixed


def test_the_line_of_a_mistake_is_shown_without_a_token():
    from conveyor.gitrepo.addresses import hide_secrets

    line = '- {url: "https://t0ken@example.org/a", tag: v1, too: x}'
    assert hide_secrets(line) == '- {url: "https://example.org/a", tag: v1, too: x}'
