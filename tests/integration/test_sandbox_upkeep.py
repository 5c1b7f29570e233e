"""The sandbox's store kept in bounds and looked through: what goes, what stays for builds, what is found broken."""

import contextlib
import hashlib
import io
import os
import time

import pytest

from stapel.api import Cancel, Run
from stapel.errors import Broken, NotFound
from stapel.runs import open_run
from stapel.sandbox.engine import SandboxEngine
from stapel.sandbox.taking_out import take_out_images
from tests.conformance.engines import Said, busybox_of
from tests.unit.oci.images import Image, layer

DAY_S = 86400.0
OLD_S = time.time() - 9 * DAY_S
# Others than root, and modes that stop everybody but root.
SCRIPT = "mkdir -p /d/e; echo {0} >/d/e/f; chown -R 33:33 /d; chmod 000 /d/e/f /d/e /d"


@contextlib.contextmanager
def opened(home):
    """The engine of a run of its own."""
    with open_run(home) as run:
        engine = SandboxEngine("shop", run_id=run.id, home_dir=home, tmp_dir=home)
        try:
            yield engine
        finally:
            engine.close()


@pytest.fixture
def home(tmp_path):
    """A home with a base, an image `one` on it, and `two` on that."""
    with opened(tmp_path) as engine:
        make(engine)
    return tmp_path


def make(engine):
    held = engine.base(busybox_of(engine, engine._home_dir), engine.platform(), Said())
    for name in ("one", "two"):
        made = engine.build(held, [Run(SCRIPT.format(name))], Said(), Cancel())
        engine.images.name(name, engine.put(made, made.config, engine.images, Cancel()))
        held.close()
        held = made
    held.close()


def age(home):
    for path in (home / "sandbox").glob("[bilcs]*/**/*"):
        if path.parent.name in ("images", "sha256", "steps", "logs", "compressed"):
            os.utime(path, (OLD_S, OLD_S))


def snapshots(home):
    return {path.name for path in (home / "sandbox/snapshots").iterdir()} - {"0"}


def image_id(engine, name):
    return engine.images.get(name).descriptor.digest


def test_images_are_described(home):
    with opened(home) as engine:
        base, one, two = sorted(engine.upkeep.images(), key=lambda image: len(image.chain))
        assert two.chain[:2] == one.chain
        assert one.chain[:1] == base.chain
        assert (base.names, one.names, two.names) == (("docker.io/conveyor-test/busybox:1",), ("shop:one",), ("shop:two",))
        assert all(size > 0 for image in (base, one, two) for size in image.parts.values())
        assert not any(image.is_pinned or image.is_record or image.is_fetched for image in (base, one, two))
        engine.images.put_record("record")
        assert [image.names for image in engine.upkeep.images() if image.is_record] == [("shop:record",)]


def test_an_image_goes_with_what_only_it_needs(home):
    before = snapshots(home)
    age(home)
    with opened(home) as engine:
        one, two = image_id(engine, "one"), image_id(engine, "two")
        top = engine.images.get("two").image.layers[-1].snapshot
        assert engine.upkeep.remove_images({two: OLD_S, "sha256:" + "0" * 64: OLD_S}) == (two,)
        assert snapshots(home) == before - {top}
        assert list(engine.images.names()) == ["one"]
        assert list((home / "sandbox/filling").iterdir()) == []
        assert list(engine.upkeep.check(mend=False)) == []
        assert engine.upkeep.remove_images({one: OLD_S}) == (one,)
        assert len(snapshots(home)) == 1
        make(engine)  # again, as if they had never been
        assert list(engine.upkeep.check(mend=False)) == []


def test_what_was_used_meanwhile_stays(home):
    age(home)
    with opened(home) as builder, opened(home) as keeper:
        one, two = image_id(keeper, "one"), image_id(keeper, "two")
        builder.note_used([one, "sha256:" + "0" * 64])
        held = builder.hold(builder.images.get("two"))
        os.utime(home / "sandbox/images" / two.partition(":")[2], (OLD_S, OLD_S))
        assert [image.is_pinned for image in keeper.upkeep.images()] == [True] * 3
        assert keeper.upkeep.remove_images({one: OLD_S, two: OLD_S}) == ()
        held.close()
    with opened(home) as keeper:
        assert keeper.upkeep.remove_images({one: OLD_S, two: OLD_S}) == (two,)


def test_who_finds_an_image_removed_is_told_that_it_is_not_there(home):
    with opened(home) as builder, opened(home) as keeper:
        view = builder.images.get("two")
        assert keeper.upkeep.remove_images({view.descriptor.digest: time.time()}) == (view.descriptor.digest,)
        with pytest.raises(NotFound):
            builder.hold(view)


def test_what_nobody_needs_goes(home):
    with opened(home) as engine:
        needed = snapshots(home)
        store = home / "sandbox"
        (store / "snapshots/orphan/fs").mkdir(parents=True)
        (store / "chains" / "dangling").symlink_to("nothing")
        young = hashlib.sha256(b"young").hexdigest()
        for name in ("old", young):
            (store / "blobs/sha256" / name).write_text("young")
        (store / "compressed" / "of-none").write_text("{}")
        (store / "filling/0123456789ab-1/fs").mkdir(parents=True)
        (store / "work/0123456789ab-worker7.1/work/incompat").mkdir(parents=True)
        os.utime(store / "blobs/sha256/old", (OLD_S, OLD_S))
        os.utime(store / "compressed/of-none", (OLD_S, OLD_S))
        (home / "toolchain/0000000000000000").mkdir(parents=True)
        assert sorted(engine.upkeep.unneeded(DAY_S)) == [
            "blob sha256:old",
            "half a snapshot 0123456789ab-1",
            "half a snapshot 0123456789ab-worker7.1",
            "snapshot orphan",
            "toolchain 0000000000000000",
        ]
        assert snapshots(home) == needed | {"orphan"}
        engine.upkeep.remove_unneeded(DAY_S)
        assert engine.upkeep.unneeded(DAY_S) == ()
        assert snapshots(home) == needed
        assert [path.name for path in (store / "blobs/sha256").iterdir()] == [young]
        assert not (store / "chains/dangling").is_symlink()
        assert list((store / "filling").iterdir()) == list((store / "compressed").iterdir()) == []
        assert not (store / "work/0123456789ab-worker7.1").exists()
        assert not (home / "toolchain/0000000000000000").exists()
        assert list(engine.upkeep.check(mend=False)) == []


def test_a_removal_that_was_killed_is_ended_by_the_next(home):
    with open_run(home) as run:
        engine = SandboxEngine("shop", run_id=run.id, home_dir=home, tmp_dir=home)
        engine.images.get("two")
        store = engine._store
        removed, rubbish = take_out_images(store, {image_id(engine, "two"): time.time()})
        assert len(removed) == len(rubbish) == 1
    assert len(list((home / "sandbox/filling").iterdir())) == 1
    with opened(home) as engine:
        engine.upkeep.remove_unneeded(DAY_S)
        assert list((home / "sandbox/filling").iterdir()) == []


def foreign(engine):
    """An image that came from elsewhere, in the store."""
    engine.hold(Image(layer(a=b"1"), layer(b=b"2" * 5000))).close()
    return next(image for image in engine.upkeep.images() if image.is_fetched)


def change_file(home, engine):
    path = next((home / "sandbox/snapshots").glob("*/fs/d/e/f"))
    path.write_bytes(b"else\n")
    return "its files are those of the layer"


def lose_snapshot(home, engine):
    top = engine.images.get("two").image.layers[-1].snapshot
    (home / "sandbox/snapshots" / top).rename(home / "lost")
    return "its files are gone"


def cut_record(home, engine):
    path = home / "sandbox/images" / image_id(engine, "two").partition(":")[2]
    path.write_bytes(path.read_bytes()[:-40])
    return "cannot be read"


def lie_in_a_record(home, engine):
    path = home / "sandbox/images" / image_id(engine, "two").partition(":")[2]
    path.write_bytes(path.read_bytes().replace(b"linux", b"plan9"))
    return "its configuration has the digest"


def name_nothing(home, engine):
    (home / "sandbox/names/shop/none").symlink_to("sha256:" + "0" * 64)
    return "name shop:none: there is no image"


def change_blob(home, engine):
    path = home / "sandbox/blobs" / [part for part in foreign(engine).parts if ":" in part][-1].replace(":", "/")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    return "other bytes"


def lose_blob(home, engine):
    (home / "sandbox/blobs" / [part for part in foreign(engine).parts if ":" in part][-1].replace(":", "/")).unlink()
    return "that it came as is gone"


def add_to_a_foreign_layer(home, engine):
    (home / "sandbox/snapshots" / foreign(engine).chain[-1] / "fs/added").touch()
    return "its files are those of the layer"


DAMAGES = (
    change_file,
    lose_snapshot,
    cut_record,
    lie_in_a_record,
    name_nothing,
    change_blob,
    lose_blob,
    add_to_a_foreign_layer,
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_mended(home, damage):
    with opened(home) as engine:
        foreign(engine)
        assert list(engine.upkeep.check(mend=False)) == []
        text = damage(home, engine)
    with opened(home) as engine:
        found = list(engine.upkeep.check(mend=False))
        assert any(text in fault.what for fault in found), found
        assert not any(fault.is_mended for fault in found)
        assert len(list(engine.upkeep.check(mend=True))) == len(found)
    with opened(home) as engine:
        assert list(engine.upkeep.check(mend=False)) == []
        make(engine)
        foreign(engine)
        assert list(engine.upkeep.check(mend=False)) == []
        with engine.tree(engine.hold(engine.images.get("two"))) as tree, tree.open(b"d/e/f") as content:
            assert content.read() == b"two\n"


@pytest.mark.parametrize("later", [False, True], ids=["by the run that has made it", "by another run"])
def test_a_layer_that_has_changed_is_not_given_away(tmp_path, later):
    def spoil():
        (path,) = (tmp_path / "sandbox/snapshots").glob("*/fs/large")
        with path.open("r+b") as file:
            file.seek(1 << 20)
            file.write(b"other")

    def give(engine):
        view = engine.images.get("x")
        view.open(view.layers()[-1]).close()

    with opened(tmp_path) as engine:
        base = engine.base(busybox_of(engine, tmp_path), engine.platform(), Said())
        made = engine.build(base, [Run("dd if=/dev/zero of=/large bs=1M count=2; echo 1 >/small")], Said(), Cancel())
        engine.images.name("x", engine.put(made, made.config, engine.images, Cancel()))
        if not later:
            spoil()
            with pytest.raises(Broken, match=r"layer sha256:\w+ of image .* has changed"):
                give(engine)
    if later:
        spoil()
        with opened(tmp_path) as engine, pytest.raises(Broken, match=r"has changed: it is sha256:"):
            give(engine)


def test_a_purge_leaves_nothing(home):
    (home / "mounts/x").mkdir(parents=True)
    (home / "purged-0123456789ab-0/of-a-killed-purge").mkdir(parents=True)
    with opened(home) as engine:
        engine.upkeep.purge([home / "mounts"])
    assert sorted(path.name for path in home.iterdir()) == ["runs", "toolchain"]
    with opened(home) as engine:
        assert engine.upkeep.images() == ()
        make(engine)


def test_an_import_is_whole_too(home):
    with opened(home) as engine:
        engine.import_base("other:1", io.BytesIO(layer(x=b"1")), {})
        assert list(engine.upkeep.check(mend=False)) == []
