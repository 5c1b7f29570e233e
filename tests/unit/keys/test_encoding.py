import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.keys.encoding import Value, encode

scalars = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


def decode(data: bytes) -> Value:
    """The oracle: a reader that knows nothing but the grammar. It must give back what was written."""
    value, rest = _read(data)
    assert rest == b""
    return value


def _read(data: bytes):
    kind, rest = data[:1], data[1:]
    if kind in b"ntf":
        assert rest[:1] == b";"
        return {b"n": None, b"t": True, b"f": False}[kind], rest[1:]
    if kind == b"i":
        number, _, rest = rest.partition(b";")
        return int(number), rest
    length, _, rest = rest.partition(b":")
    count = int(length)
    if kind in b"sb":
        raw = rest[:count]
        return (raw.decode() if kind == b"s" else raw), rest[count:]
    if kind == b"l":
        items = []
        for _ in range(count):
            item, rest = _read(rest)
            items.append(item)
        return items, rest
    entries = {}
    for _ in range(count):
        key, rest = _read(rest)
        entries[key], rest = _read(rest)
    return entries, rest


@given(values)
def test_what_is_written_can_be_read_in_one_way(value):
    assert decode(encode(value)) == value


@given(values, values)
def test_different_values_have_different_encodings(one, other):
    same = repr(decode(encode(one))) == repr(decode(encode(other)))
    assert (encode(one) == encode(other)) == same


@given(st.dictionaries(st.text(), scalars, max_size=6), st.randoms())
def test_the_order_of_a_map_does_not_matter(entries, random):
    shuffled = list(entries.items())
    random.shuffle(shuffled)
    assert encode(dict(shuffled)) == encode(entries)


@given(st.lists(st.text(), max_size=4))
def test_a_tuple_is_a_list(items):
    assert encode(tuple(items)) == encode(items)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["a", "bc"], ["ab", "c"]),
        ([["a"], "b"], ["a", ["b"]]),
        ([], None),
        ("", None),
        ("1", 1),
        (1, True),
        (0, False),
        (b"a", "a"),
        ({"a": "b"}, ["a", "b"]),
        ([{}], {}),
        ("a;s1:b", ["a", "b"]),
    ],
)
def test_near_misses_differ(one, other):
    assert encode(one) != encode(other)


def test_a_name_that_is_no_utf8_is_kept():
    name = b"\xff\xfe".decode("utf-8", "surrogateescape")
    assert encode(name) == b"s2:\xff\xfe"


@pytest.mark.parametrize("value", [1.5, {1, 2}, object(), [1.5], {"a": object()}])
def test_other_types_are_refused(value):
    with pytest.raises(TypeError, match="a key cannot hold"):
        encode(value)
