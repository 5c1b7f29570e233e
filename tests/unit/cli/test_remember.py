from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from conveyor.cli.confirm import _touches
from conveyor.cli.remember import outermost


def test_paths_below_others_are_left_out():
    assert outermost([b"b/c", b"a/b", b"a-b", b"a", b"b/c/d", b"b/cd", b"a"]) == [b"a", b"a-b", b"b/c", b"b/cd"]
    assert outermost([b"a", b"", b"b"]) == [b""]
    assert outermost([]) == []


_PATHS = st.lists(st.sampled_from([b"a", b"b", b"a-", b"a0"]), max_size=3).map(b"/".join)


@given(st.lists(_PATHS, min_size=1, max_size=6), _PATHS.filter(bool))
def test_the_same_changes_count(paths, changed):
    kept = outermost(paths)
    assert any(_touches(changed, path) for path in kept) == any(_touches(changed, path) for path in paths)
