import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stapel.mask import Mask

SECRET = b"correct horse+battery?staple"


def test_values_and_their_base64():
    mask = Mask([SECRET])
    assert mask.replace(b"password=" + SECRET + b";") == b"password=***;"
    assert mask.replace(base64.b64encode(SECRET) + b"\n") == b"***\n"
    assert mask.replace(base64.b64encode(SECRET).rstrip(b"=")) == b"***"
    assert mask.replace(base64.urlsafe_b64encode(SECRET)) == b"***"


@given(st.binary(max_size=9), st.binary(max_size=9), st.binary(min_size=12, max_size=40))
def test_base64_of_a_text_that_holds_the_value(before, after, value):
    encoded = base64.b64encode(before + value + after)
    masked = Mask([value]).replace(encoded)
    # Two characters at each end may hold bits of the neighbours.
    inner = base64.b64encode(value)[4:-8]
    assert b"***" in masked
    if len(before) % 3 == 0 and len(inner) > 8:
        assert inner not in masked


def test_lines_of_a_value():
    key = b"-----BEGIN KEY-----\nAAAABBBBCCCC\nDDDDEEEEFFFF\nshort\n-----END KEY-----\n"
    masked = Mask([key]).replace(b"1: AAAABBBBCCCC\n2: DDDDEEEEFFFF\r\n")
    assert masked == b"1: ***\n2: ***\r\n"


def test_the_longest_value_wins():
    mask = Mask([b"secret", b"secretive"])
    assert mask.replace(b"secretive secret") == b"*** ***"
    stream = mask.stream()
    assert stream.feed(b"xsecret") == b"x"
    assert stream.feed(b"ive!") == b"***!"


@pytest.mark.parametrize("values", [[], [b""]])
def test_nothing_to_mask(values):
    stream = Mask(values).stream()
    assert stream.feed(b"anything") == b"anything"
    assert stream.end() == b""


def test_only_a_beginning_of_a_secret_is_held_back():
    stream = Mask([b"password"]).stream()
    assert stream.feed(b"enter pass") == b"enter "
    assert stream.feed(b"age\n") == b"passage\n"
    assert stream.feed(b"pas") == b""
    assert stream.end() == b"pas"
    assert stream.end() == b""


ALPHABET = st.sampled_from(b"abX")


@given(
    st.lists(st.lists(ALPHABET, min_size=1, max_size=5).map(bytes), max_size=4),
    st.lists(st.lists(ALPHABET, max_size=7).map(bytes)),
)
def test_a_stream_gives_what_the_whole_gives(values, parts):
    mask = Mask(values)
    stream = mask.stream()
    passed = b"".join(stream.feed(part) for part in parts) + stream.end()
    assert passed == mask.replace(b"".join(parts))
