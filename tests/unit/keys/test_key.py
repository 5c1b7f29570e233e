import pytest
from msgspec import structs

from conveyor.keys.key import Key, Part, content_digest, differing_parts

KEY = Key("linux/amd64", "install", (Part("commands", ["make"]), Part("cacheVersion", "1")), "d" * 56, {"m": ("c1",)})


def test_a_digest_has_56_hexadecimal_digits():
    assert len(KEY.digest) == 56
    assert set(KEY.digest) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"platform": "linux/arm64"}, "platform"),
        ({"parts": (Part("commands", ["make all"]), Part("cacheVersion", "1"))}, "commands"),
        ({"parts": (Part("commands", ["make"]), Part("cacheVersion", "2"))}, "cacheVersion"),
        ({"parts": (Part("commands", ["make"]),)}, "cacheVersion"),
        ({"previous_digest": "e" * 56}, "previous stage"),
        ({"previous_digest": None}, "previous stage"),
        ({"previous_commits": {"m": ("c2",)}}, "previous commits"),
        ({"previous_commits": {"m": ("c1", "c2")}}, "previous commits"),
        ({"previous_commits": {"n": ("c1",)}}, "previous commits"),
    ],
)
def test_each_part_changes_the_digest_and_is_named(change, part):
    changed = structs.replace(KEY, **change)
    assert changed.digest != KEY.digest
    assert differing_parts(changed.part_digests(), KEY.part_digests()) == (part,)


def test_the_name_of_the_stage_changes_the_digest():
    assert structs.replace(KEY, stage="setup").digest != KEY.digest


def test_a_part_of_another_name_is_another_part():
    renamed = structs.replace(KEY, parts=(Part("command", ["make"]), Part("cacheVersion", "1")))
    assert renamed.digest != KEY.digest
    assert set(differing_parts(renamed.part_digests(), KEY.part_digests())) == {"command", "commands"}


def test_a_content_digest_is_neither_the_digest_nor_that_of_other_commits():
    digests = {KEY.digest, content_digest(KEY.digest, {}), content_digest(KEY.digest, {"m": ("c",)})}
    assert len(digests) == 3
