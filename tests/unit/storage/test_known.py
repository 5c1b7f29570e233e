import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.storage.known import KnownNames
from conveyor.storage.names import Mark, parse_stage_name, stage_name

D, E = "a" * 56, "b" * 56
FIRST, SECOND = stage_name(D, 1, "sha256:" + "1" * 64), stage_name(D, 2, "sha256:" + "2" * 64)
OTHER = stage_name(E, 1, "sha256:" + "3" * 64)


def know(*names):
    known = KnownNames()
    known.add(map(str, names))
    return known


def listed(*names):
    return frozenset(map(str, names))


def test_a_run_that_was_alone_is_not_told_to_look_again():
    known = know(FIRST)
    known.name(SECOND)
    known.replace_of(D, listed(FIRST, SECOND))
    known.replace_of(E, listed())
    known.add(["latest"])
    assert not known.replace(listed(FIRST, SECOND, "latest"))
    assert set(known.of(D)) == {FIRST, SECOND}


def test_what_the_run_has_named_is_there_though_a_list_lacks_it():
    known = know(FIRST)
    known.name(SECOND)
    known.replace_of(D, listed(FIRST))
    assert set(known.of(D)) == {FIRST, SECOND}
    assert not known.replace(listed(FIRST, SECOND))


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(listed(FIRST, OTHER), id="a stage more"),
        pytest.param(listed(), id="a stage less"),
        pytest.param(listed(FIRST, Mark(str(FIRST), 1, lifted=False)), id="a mark more"),
        pytest.param(listed(FIRST, "latest"), id="a name of no meaning more"),
    ],
)
def test_what_others_have_changed_is_told_once(now):
    known = know(FIRST)
    assert known.replace(now)
    assert {*known.stages()} == {name for name in map(parse_stage_name, now) if name is not None}
    assert not known.replace(now)


@pytest.mark.parametrize("between", [listed(FIRST, SECOND), listed()], ids=["came", "went"])
def test_what_others_have_changed_and_taken_back_is_told(between):
    known = know(FIRST)
    known.replace_of(D, between)
    assert set(map(str, known.of(D))) == between
    known.replace_of(D, listed(FIRST))
    assert set(known.of(D)) == {FIRST}
    assert known.replace(listed(FIRST))


def test_what_the_run_has_found_out_is_told_once():
    known = know(FIRST)
    known.unsettle()
    assert known.replace(listed(FIRST))
    assert not known.replace(listed(FIRST))


@given(st.data())
def test_where_nothing_is_told_every_list_was_of_what_is_known_at_the_end(data):
    pool = [stage_name(digest, at, "sha256:" + "4" * 64) for digest in (D, E) for at in (1, 2)]
    subsets = st.sets(st.sampled_from(pool))
    first = data.draw(subsets)
    known, seen = know(*first), [(None, first)]
    for digest in data.draw(st.lists(st.sampled_from((D, E)), max_size=4)):
        now = {name for name in data.draw(subsets) if name.digest == digest}
        known.replace_of(digest, listed(*now))
        assert set(known.of(digest)) == now
        seen.append((digest, now))
    last = data.draw(subsets)
    if not known.replace(listed(*last)):
        assert all(now == {name for name in last if digest in (None, name.digest)} for digest, now in seen)
    assert {*known.stages()} == last
