"""Which files an import means, what its digest covers, and that what is laid is what was digested."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from conveyor.errors import StageFailed
from conveyor.stages.api import Below, Context, Taken, Workshop
from conveyor.stages.importing import describe_external, import_digest, lay_external, lay_import
from conveyor.storage.facts import Facts
from conveyor.storage.names import StageName
from conveyor.storage.selection import StoredStage
from stapel.oci.api import Description, Descriptor
from tests.unit.build.worlds import image, imported
from tests.unit.stapel.trees import MemoryTree, Node, directory, file, symlink, tree_of

FILES = {
    b"out/bin/tool": file(b"tool", mode=0o755, uid=7, gid=8, mtime_s=1000),
    b"out/bin/also": symlink(b"tool"),
    b"out/data/table": file(b"1 2 3", mtime_s=50),
    b"out/data/.hidden": file(b"h"),
    b"single": file(b"one"),
    b"current": symlink(b"out/data"),
    b"absolute": symlink(b"/out/../out/data"),
    b"chain": symlink(b"current"),
    b"out/loop": symlink(b"loop"),
    b"out/to-file": symlink(b"../single"),
    b"dangling": symlink(b"nowhere"),
}


@dataclass
class Source:
    """The other images of a run, and the engine that reads them: one stored stage with these files."""

    files: dict[bytes, Node]
    image_digest: str = "sha256:1"
    records: dict[str, str] = None  # type: ignore[assignment]
    held: int = 0
    read: int = 0

    def __post_init__(self):
        self.records = {}

    def take(self, need):
        facts = Facts("p", "tools", "install", "0" * 56, "", "", {}, "", (), (), ())
        description = Description(Descriptor("image", self.image_digest, 1), {}, 1, 1, self.image_digest)
        return Taken(StoredStage(StageName(1, "0" * 56, "00000000"), description, facts), "p:tools", self.hold, dict)

    def recorded_import(self, source):
        return self.records.get(source)

    def record_import(self, source, digest):
        self.records[source] = digest

    def base(self, reference):
        assert reference == "busybox:1"
        return self.hold()

    def hold(self):
        self.held += 1
        return self

    def close(self):
        self.held -= 1

    @contextmanager
    def tree(self, held):
        assert self.held
        self.read += 1
        yield MemoryTree(tree_of({path: node.copy() for path, node in self.files.items()}))


def context_of(source):
    return Context(None, image("app"), None, "", b"", Below({}, {}), source, source)


def digest(item, files=FILES):
    source = Source(files)
    found = import_digest(context_of(source), item, "dependenciesBeforeInstall")
    assert source.held == 0
    return found


def laid(item, files=FILES, source=None):
    """What an import lays, by path, and whether it agrees with its digest."""
    source = source or Source(files)
    context = context_of(source)
    with ExitStack() as resources:
        workshop = Workshop(source, resources, (), None, 100, source.base)
        expected = import_digest(context, item, "x")
        lay, check = lay_import(context, item, expected, "x", workshop)
        found = {}
        for entry in lay.files():
            content = b""
            if entry.open is not None:
                with entry.open() as opened:
                    content = opened.read(2) + opened.read()
            found[entry.path] = (entry, content)
        check()
    assert source.held == 0
    return found


def paths(item, **arguments):
    return sorted(laid(item, **arguments))


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (imported("t", add="/out/bin", to="/b"), [b"b", b"b/also", b"b/tool"]),
        (imported("t", add="/single", to="/x/one"), [b"x/one"]),
        (imported("t", add="/out/data", to="/d", include=["table"]), [b"d/table"]),
        (imported("t", add="/out/data", to="/d", exclude=["table"]), [b"d/.hidden"]),
        (imported("t", add="/out", to="/o", include=["**/table"]), [b"o/data/table"]),
        (imported("t", add="/out", to="/o", include=["bin"], exclude=["bin/tool"]), [b"o/bin", b"o/bin/also"]),
        (imported("t", add="/single", to="/one", include=["*"]), [b"one"]),
        # A link to a directory stands for it, however it is written; a link to a file is a link.
        (imported("t", add="/current", to="/d"), [b"d", b"d/.hidden", b"d/table"]),
        (imported("t", add="/absolute", to="/d"), [b"d", b"d/.hidden", b"d/table"]),
        (imported("t", add="/chain", to="/d"), [b"d", b"d/.hidden", b"d/table"]),
        (imported("t", add="/out/to-file", to="/l"), [b"l"]),
        (imported("t", add="/dangling", to="/l"), [b"l"]),
        (imported("t", add="/out/loop", to="/l"), [b"l"]),
        # The root of the target is never laid over.
        (imported("t", add="/out/data", to="/"), [b".hidden", b"table"]),
    ],
)
def test_the_files_of_an_import(item, expected):
    assert paths(item) == expected


def test_a_link_to_a_file_is_laid_as_a_link():
    entry, _ = laid(imported("t", add="/out/to-file", to="/l"))[b"l"]
    assert (entry.kind, entry.link) == ("symlink", b"../single")


def test_what_is_laid_has_the_owner_of_the_import_and_a_time_not_after_the_commit():
    found = laid(imported("t", add="/out", to="/o", owner="app", group="33"))
    tool, content = found[b"o/bin/tool"]
    assert (tool.owner, tool.group, tool.mode, content) == ("app", "33", 0o755, b"tool")
    assert tool.mtime_s == 100
    assert found[b"o/data/table"][0].mtime_s == 50
    plain = laid(imported("t", add="/out", to="/o"))[b"o/bin/tool"][0]
    assert (plain.owner, plain.group, plain.uid, plain.gid) == ("", "", 7, 8)


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        (b"out/bin/tool", file(b"xxxx", mode=0o755, uid=7, gid=8)),
        (b"out/bin/tool", file(b"tool", mode=0o700, uid=7, gid=8)),
        (b"out/bin/tool", file(b"tool", mode=0o755, uid=9, gid=8)),
        (b"out/bin/tool", file(b"tool", mode=0o755, uid=7, gid=9)),
        (b"out/bin/also", symlink(b"other")),
        (b"out/bin/also", file(b"tool", mode=0o777)),
        (b"out/bin/new", file()),
        (b"out/new", directory()),
    ],
)
def test_the_digest_covers(path, changed):
    item = imported("t", add="/out", to="/o")
    assert digest(item, {**FILES, path: changed}) != digest(item)


@pytest.mark.parametrize(
    ("item", "path", "changed"),
    [
        (imported("t", add="/out"), b"out/bin/tool", file(b"tool", mode=0o755, uid=7, gid=8, mtime_s=2)),
        (imported("t", add="/out"), b"single", file(b"another")),
        (imported("t", add="/out", owner="app"), b"out/bin/tool", file(b"tool", mode=0o755, uid=9, gid=8)),
        (imported("t", add="/out", group="app"), b"out/bin/tool", file(b"tool", mode=0o755, uid=7, gid=9)),
        (imported("t", add="/out", exclude=["new"]), b"out/new", file(b"x")),
    ],
)
def test_the_digest_does_not_cover(item, path, changed):
    assert digest(item, {**FILES, path: changed}) == digest(item)


def test_a_digest_is_recorded_and_then_not_computed_again():
    source, item = Source(FILES), imported("t", add="/out")
    first = import_digest(context_of(source), item, "x")
    source.files = {}
    assert import_digest(context_of(source), item, "x") == first
    assert source.read == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"add": "/out/bin"},
        {"paths": imported("t", include=["bin"]).paths},
        {"paths": imported("t", exclude=["bin"]).paths},
        {"owner": "app"},
        {"group": "app"},
    ],
)
def test_a_record_is_of_what_was_asked(changes):
    source, item = Source(FILES), imported("t", add="/out")
    import_digest(context_of(source), item, "x")
    import_digest(context_of(source), replace(item, **changes), "x")
    assert len(source.records) == 2


def test_a_record_is_of_the_stored_image_and_not_of_its_key():
    source, item = Source(FILES), imported("t", add="/out")
    first = import_digest(context_of(source), item, "x")
    source.image_digest, source.files = "sha256:2", {**FILES, b"out/more": file()}
    assert import_digest(context_of(source), item, "x") != first
    assert len(source.records) == 2


@pytest.mark.parametrize(
    "item",
    [
        imported("t", add="/nothing"),
        imported("t", add="/out", include=["nothing"]),
        imported("t", add="/out", exclude=["**"]),
    ],
)
def test_an_import_of_nothing_is_refused(item):
    with pytest.raises(StageFailed, match="matches no files in image p:tools") as caught:
        digest(item)
    assert caught.value.reason == "import_matches_nothing"
    assert caught.value.stage == "dependenciesBeforeInstall"


def test_files_that_are_not_those_that_were_recorded_are_refused():
    source, item = Source(FILES), imported("t", add="/out", to="/o")
    import_digest(context_of(source), item, "x")
    source.files = {**FILES, b"out/bin/tool": file(b"evil", mode=0o755, uid=7, gid=8)}
    with pytest.raises(StageFailed, match="not those that were recorded") as caught:
        laid(item, source=source)
    assert caught.value.reason == "import_changed"
    assert source.held == 0


def laid_from_outside(item):
    source = Source(FILES)
    with ExitStack() as resources:
        workshop = Workshop(source, resources, (), None, 100, source.base)
        lay, check = lay_external(context_of(source), item, "dependenciesAfterInstall", workshop)
        found = sorted(entry.path for entry in lay.files())
        check()
    assert (source.held, source.records) == (0, {})
    return found


def test_files_from_outside_are_laid_and_nothing_of_them_is_recorded():
    assert laid_from_outside(imported("busybox:1", add="/out/bin", to="/b", external=True)) == [b"b", b"b/also", b"b/tool"]


def test_an_import_from_outside_that_matches_nothing_fails_the_stage():
    with pytest.raises(StageFailed) as caught:
        laid_from_outside(imported("busybox:1", add="/absent", external=True))
    assert caught.value.reason == "import_matches_nothing"
    assert "busybox:1" in str(caught.value)


def test_a_key_holds_the_name_of_an_image_from_outside_in_its_one_spelling():
    short, full = (imported(name, external=True) for name in ("alpine", "docker.io/library/alpine:latest"))
    assert describe_external(short) == describe_external(full)
