import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conveyor.build.slugs import murmur3, slugify

TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)


@pytest.mark.parametrize("name", ["", "app", "my-app", "App_1.2", "_x", "a" * 128])
def test_a_valid_tag_stays(name):
    assert slugify(name) == name


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        ("backend/api", "backend-api-"),
        ("Caf\u00e9 Noir", "cafe-noir-"),
        ("-x-", "x-"),
        (".x", "x-"),
        ("a//b", "a-b-"),
        ("x" * 129, "x" * 119),
    ],
)
def test_what_can_be_read_stays_before_a_hash_of_the_whole(name, readable):
    slug = slugify(name)
    assert slug.startswith(readable)
    assert slug.endswith(f"-{murmur3(name.encode()):x}")


def test_what_cannot_be_read_is_a_hash():
    assert slugify("\u2764") == f"{murmur3(chr(0x2764).encode()):x}"


def test_names_that_look_alike_have_slugs_of_their_own():
    names = ["a/b", "a//b", "a b", "A/b", "a/b/"]
    assert len({slugify(name) for name in names}) == len(names)


@given(st.text(min_size=1, max_size=200))
@example("a/" + "b" * 200)
def test_a_slug_is_a_tag_and_its_own_slug(name):
    slug = slugify(name)
    assert TAG.fullmatch(slug)
    assert slugify(slug) == slug


@pytest.mark.parametrize(
    ("data", "value"),
    [
        # The published values of MurmurHash3_x86_32 with seed 0.
        (b"", 0x00000000),
        (b"\x00", 0x514E28B7),
        (b"\x00\x00", 0x30F4C306),
        (b"\x00\x00\x00", 0x85F0B427),
        (b"\x00\x00\x00\x00", 0x2362F9DE),
        (b"\xff\xff\xff\xff", 0x76293B50),
        (b"!Ce\x87", 0xF55B516B),
        (b"!Ce", 0x7E4A8634),
        (b"!C", 0xA0F7B07A),
        (b"!", 0x72661CF4),
        (b"test", 0xBA6BD213),
        (b"Hello, world!", 0xC0363E43),
        (b"The quick brown fox jumps over the lazy dog", 0x2E4FF723),
    ],
)
def test_the_hash_is_murmur3(data, value):
    assert murmur3(data) == value
