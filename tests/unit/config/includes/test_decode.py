from __future__ import annotations

import pytest

from conveyor.config.includes.decode import decode_includes, format_lock, lock_includes
from conveyor.config.models import PathFilter
from conveyor.errors import ConfigError

A, B = "a" * 40, "b" * 40
CONFIG = """\
includes:
- git: https://t0ken@example.org/a/common.git
  branch: main
  add: /
  to: /
  includePaths: [.werf]
  excludePaths: [.werf/old]
- git: ../other
  tag: v1
  add: /x/
  to: /y
- git: https://example.org/b
  commit: COMMIT
  add: /
  to: /z
""".replace("COMMIT", B)


def problems(call, *arguments) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        call(*arguments)
    return [str(problem) for problem in raised.value.problems]


def test_what_is_included():
    common, other, third = decode_includes(CONFIG.encode(), "werf-includes.yaml")
    assert common.source.address.url == "https://example.org/a/common.git"
    assert (common.source.kind, common.source.ref, common.add, common.to) == ("branch", "main", "/", "/")
    assert common.paths == PathFilter((".werf",), (".werf/old",))
    assert (other.source.kind, other.source.ref, other.add, other.to) == ("tag", "v1", "/x", "/y")
    assert (third.source.kind, third.source.ref) == ("commit", B)
    assert "t0ken" not in repr(common)
    assert decode_includes(b"includes: []\n", "f") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("includes: [a]", "every item of `includes` must be a map"),
        ("- a", "it must be a map, not a list"),
        ("includes:\n- {git: ../a, add: /, to: /}", "an include needs one of `branch`, `tag` or `commit`"),
        ("includes:\n- {git: ../a, tag: a, branch: b, add: /, to: /}", "at most one of"),
        ("includes:\n- {git: ../a, tag: a, add: x, to: /}", "`add: x` must be an absolute path"),
        ("includes:\n- {tag: a, add: /, to: /}", "`git` is required"),
        ("includes:\n- {git: ../a, tag: a, add: /, to: /, includePath: [a]}", "unknown fields: `includePath`"),
        ("include: []", "unknown fields: `include`"),
        ("a: [", "YAML"),
        ("includes: []\n---\nincludes: []", "a second document starts here"),
    ],
)
def test_mistakes_have_places(text, said):
    found = problems(decode_includes, text.encode(), "werf-includes.yaml")
    assert any(said in problem for problem in found) or said == "YAML"
    assert all(problem.startswith("werf-includes.yaml:") for problem in found)


def test_a_lock_fixes_branches_and_tags():
    includes = decode_includes(CONFIG.encode(), "werf-includes.yaml")
    lock = format_lock([(includes[0].source, A), (includes[1].source, B), (includes[2].source, B)])
    assert b"t0ken" not in lock
    locked = lock_includes(includes, lock, "werf-includes.lock")
    assert [(item.source.kind, item.source.ref) for item in locked] == [("commit", A), ("commit", B), ("commit", B)]
    assert [(item.add, item.to, item.paths) for item in locked] == [(item.add, item.to, item.paths) for item in includes]


def test_the_lock_is_what_people_read_in_reviews():
    includes = decode_includes(CONFIG.encode(), "werf-includes.yaml")
    text = format_lock([(include.source, A) for include in includes[:2]] + [(includes[2].source, B)] * 2).decode()
    assert text == (
        "# Written by `conveyor includes update`.\n"
        "includes:\n"
        "- git: https://example.org/a/common.git\n"
        f"  branch: main\n  commit: {A}\n"
        "- git: ../other\n"
        f"  tag: v1\n  commit: {A}\n"
        "- git: https://example.org/b\n"
        f"  commit: {B}\n"
    )


@pytest.mark.parametrize("ref", ["1.10", "true", "null", "a b", "v1#2", "0x1", "'", "é"])
def test_a_name_that_yaml_reads_as_something_else_comes_back(ref):
    text = f"includes:\n- git: ../a\n  tag: {ref!r}\n  add: /\n  to: /\n" if ref != "'" else ""
    if not text or " " in ref:
        return
    includes = decode_includes(text.encode(), "f")
    assert lock_includes(includes, format_lock([(includes[0].source, A)]), "l")[0].source.ref == A


def test_what_is_not_locked_is_an_error_with_the_way_out():
    includes = decode_includes(CONFIG.encode(), "werf-includes.yaml")
    none = problems(lock_includes, includes, None, "werf-includes.lock")
    assert len(none) == 2
    assert "werf-includes.yaml:2:3: https://example.org/a/common.git (branch main)" in none[0]
    assert "there is no werf-includes.lock" in none[0]
    assert "`conveyor includes update`" in none[0]
    other = format_lock([(includes[0].source, A)])
    assert "werf-includes.lock does not know it" in problems(lock_includes, includes, other, "werf-includes.lock")[0]
    moved = decode_includes(CONFIG.replace("branch: main", "branch: next").encode(), "werf-includes.yaml")
    assert len(problems(lock_includes, moved, other, "werf-includes.lock")) == 2


@pytest.mark.parametrize(
    "text", ["includes:\n- {git: ../a, tag: v1}", "includes:\n- {git: ../a, tag: v1, commit: abc}", "x: 1"]
)
def test_a_lock_that_is_wrong(text):
    assert problems(lock_includes, (), text.encode(), "werf-includes.lock")[0].startswith("werf-includes.lock:")
