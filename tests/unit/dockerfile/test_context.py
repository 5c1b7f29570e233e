"""The files that patterns take of a context."""

import random
from fnmatch import fnmatchcase

import pytest

from conveyor.dockerfile.context import Listing, may_take, select_files
from conveyor.dockerfile.ignore import Ignore
from conveyor.gitrepo.api import Blob

FILES = {
    "Makefile": "",
    "a.c": "",
    "b.c": "",
    "docs/b.md": "",
    "docs/deep/a.md": "",
    "link.c": "src/main.c",
    "loop": "loop",
    "out": "../outside",
    "src-2/x": "",
    "src/[x].c": "",
    "src/main.c": "",
    "src/sub/current": "../versions/2",
    "src/sub/x": "",
    "src/versions/2/data": "",
    "to docs": "docs",
}


def blob(path: str) -> Blob:
    return Blob(path.encode(), 0o120000 if FILES[path] else 0o100644, "0")


def select(patterns, ignore: str = "") -> list[str]:
    blobs = sorted((blob(path) for path in FILES), key=lambda item: item.path)
    found = select_files(Listing(blobs), patterns, Ignore(ignore.encode()), lambda item: FILES[item.path.decode()].encode())
    return [item.path.decode() for item in found]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["Makefile"], ["Makefile"]),
        (["missing", "src-2"], ["src-2/x"]),
        (["src/sub"], ["src/sub/current", "src/sub/x"]),
        (["*.c"], ["a.c", "b.c", "link.c", "src/main.c"]),
        (["?.c"], ["a.c", "b.c"]),
        (["[ab].c"], ["a.c", "b.c"]),
        (["[^a].c"], ["b.c"]),
        (["docs/*"], ["docs/b.md", "docs/deep/a.md"]),
        (["*/*.md"], ["docs/b.md", "to docs"]),
        (["docs/*/a.md"], ["docs/deep/a.md"]),
        (["src/\\[x].c"], ["src/[x].c"]),
        (["src/[[]x].c"], ["src/[x].c"]),
        (["link.c"], ["link.c", "src/main.c"]),
        (["to docs/deep"], ["docs/deep/a.md", "to docs"]),
        (["src/sub/current/data"], ["src/sub/current", "src/versions/2/data"]),
        (["loop", "out"], ["loop", "out"]),
        ([], []),
        ([""], sorted(FILES)),
    ],
)
def test_patterns(patterns, expected):
    assert select(patterns) == expected


def test_a_wildcard_is_what_it_is_for_every_path_alone():
    """Random trees and patterns: a path is taken where its first components match those of the pattern."""
    chance = random.Random(7)
    names = ("a", "a.c", "a-", "b", "ab", "a0")
    for _ in range(300):
        paths = {"/".join(chance.choices(names, k=chance.randint(1, 3))) for _ in range(8)}
        paths = {path for path in paths if not any(other.startswith(path + "/") for other in paths)}
        pattern = "/".join(chance.choices(("a*", "?", "*", "a", "[ab]", "*.c", "[^b]*"), k=chance.randint(1, 3)))
        parts = pattern.split("/")
        expected = sorted(
            path
            for path in paths
            if len(path.split("/")) >= len(parts)
            and all(fnmatchcase(name, part.replace("^", "!")) for name, part in zip(path.split("/"), parts, strict=False))
        )
        blobs = [Blob(path.encode(), 0o100644, "0") for path in sorted(paths)]
        found = select_files(Listing(blobs), [pattern], Ignore(), lambda item: b"")
        assert [item.path.decode() for item in found] == expected, (pattern, sorted(paths))


def test_everything_but_what_is_left_out():
    assert select(None, "**/*.c\n!src/main.c\ndocs\nsrc/versions") == [
        *("Makefile", "loop", "out", "src-2/x", "src/main.c", "src/sub/current", "src/sub/x", "to docs"),
    ]
    assert select(["docs", "src/sub"], "docs/deep") == ["docs/b.md", "src/sub/current", "src/sub/x"]
    assert select(["link.c"], "src") == ["link.c"]
    assert select(["link.c"], "link.c") == []


@pytest.mark.parametrize(
    ("patterns", "path", "whole", "expected"),
    [
        (None, "x", False, True),
        ([], "x", False, False),
        (["src"], "src/new", False, True),
        (["src"], "srx", False, False),
        (["src/a"], "src", False, False),
        (["src/a"], "src", True, True),
        (["src/*.c"], "src/new.c", False, True),
        (["src/*.c"], "src/new.h", False, False),
        (["src/*.c"], "lib", True, False),
    ],
)
def test_what_patterns_may_take(patterns, path, whole, expected):
    assert may_take(patterns, path.encode(), is_whole=whole) == expected
