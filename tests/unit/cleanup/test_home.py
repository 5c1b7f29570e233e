"""What a home has beside the engine's store, and what is known of images."""

import json
import os

from conveyor.build.logs import begin_log
from conveyor.cleanup.home import home_items, image_items, remembered_uses, remove, remove_rubbish
from stapel.api import KeptImage

DIGEST = "ab" * 28
STAGE = f"shop:{DIGEST}-1700000000000-12345678"


def kept(image_id, *names, **fields):
    facts = {"chain": ("x",), "parts": {"x": 7}, "used_s": 5.0, "is_pinned": False, "is_record": False, "is_fetched": False}
    return KeptImage(id=image_id, names=names, **facts | fields)


def test_why_images_are_kept():
    images = [
        kept("1", STAGE),
        kept("2", "busybox:1"),
        kept("3", "busybox:2", is_fetched=True),
        kept("4", is_pinned=True),
        kept("5", "shop:import-x", is_record=True, chain=(), parts={}),
        kept("6"),
    ]
    items = image_items(images, {"6": 9.0, "1": 2.0})
    assert [item.kept for item in items] == ["", "imported: nobody else has it", "", "a build uses it", "a record", ""]
    assert [item.used_s for item in items] == [5.0, 5.0, 5.0, 5.0, 5.0, 9.0]
    assert [item.name for item in items[:1]] == [STAGE]
    assert items[5].name == "6"


def test_remembered_builds_tell_when_their_images_were_used(tmp_path):
    (tmp_path / "remembered").mkdir()
    for name, at_s, names in (("a", 50, {"n": "1", "m": "2"}), ("b", 70, {"n": "1", "r": ""})):
        path = tmp_path / "remembered" / f"{name}.json"
        path.write_text(json.dumps({"names": names}))
        os.utime(path, (at_s, at_s))
    (tmp_path / "remembered/c.json").write_text("[half of it")
    (tmp_path / "remembered/d.json").write_text('{"names": 5}')
    uses = remembered_uses(tmp_path)
    assert (uses["1"], uses["2"]) == (70.0, 50.0)


def test_what_a_home_has(tmp_path):
    assert home_items(tmp_path, []) == []
    log = begin_log(tmp_path, DIGEST)
    log.write(b"12345")
    log.keep("sha256:12345678")
    running = begin_log(tmp_path, "cd" * 28)
    running.open()
    (tmp_path / "stages/1/ab").mkdir(parents=True)
    (tmp_path / "stages/1/ab/x").write_text("123")
    (tmp_path / "dev/2/objects").mkdir(parents=True)
    (tmp_path / "clones/3/objects").mkdir(parents=True)
    (tmp_path / "clones/3/HEAD").write_text("1234")
    (tmp_path / "lfs/objects/aa/bb").mkdir(parents=True)
    (tmp_path / "lfs/objects/aa/bb/aabb").write_text("12")
    for path in (tmp_path / "logs").glob("*-*"):
        os.utime(path, (100, 100))
    items = {item.kind: item for item in home_items(tmp_path, image_items([kept("1", STAGE, used_s=200.0)], {}))}
    assert sorted(items) == ["clone", "content of Git LFS", "log", "memory of stages", "objects of git"]
    assert (items["clone"].size_bytes, items["content of Git LFS"].size_bytes) == (4, 2)
    assert (items["log"].size_bytes, items["log"].used_s) == (5, 200.0)
    assert items["memory of stages"].size_bytes == 3
    running.discard()


def test_removal(tmp_path):
    (tmp_path / "dev/2").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / ".rubbish-1/x").mkdir(parents=True)
    remove(tmp_path, tmp_path / "dev/2")
    remove(tmp_path, tmp_path / "file")
    remove(tmp_path, tmp_path / "file")
    remove_rubbish(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dev"]
    assert list((tmp_path / "dev").iterdir()) == []
