from hypothesis import given
from hypothesis import strategies as st
from memory_store import facts

from conveyor.storage.names import StageName
from conveyor.storage.selection import StoredStage, believe, select
from stapel.oci.api import Description, Descriptor

D = "a" * 56


def stored(timestamp_ms: int, suffix: str = "00000000", **changes) -> StoredStage:
    name = StageName(timestamp_ms, D, suffix)
    digest = f"sha256:{suffix}" + "0" * 56
    return StoredStage(name, Description(Descriptor("m", digest, 1), {}, 1, 1, digest), facts(D, **changes))


def chosen(*stages, **arguments):
    arguments = {"rejected": (), "ancestors": None, **arguments}
    selection = select(stages, **arguments)
    return selection.chosen.stage if selection.chosen else None


def test_the_oldest_is_taken_ties_by_name():
    old, tie, new = stored(1, "aaaaaaaa"), stored(1, "bbbbbbbb"), stored(2)
    assert chosen(new, tie, old) is old
    assert chosen(new, tie) is tie
    assert chosen() is None


def test_rejected_stages_and_what_was_built_on_them_are_left_out():
    bad, child, good = stored(1, "aaaaaaaa"), stored(2, "bbbbbbbb", parents=("x", "bad")), stored(3)
    assert chosen(bad, child, good, rejected={str(bad.name), "bad"}) is good
    refused = select([bad, child], rejected={str(bad.name), "bad"}, ancestors=None).refused
    assert [reason for _, reason in refused] == ["rejected", "rejected"]


def test_all_recorded_commits_must_be_ancestors():
    foreign, half, ours = stored(1, commits=("x",)), stored(2, commits=("a", "x")), stored(3, commits=("a",))
    known = frozenset({"a"})
    assert chosen(foreign, half, ours, ancestors=lambda mapping, commits: known & frozenset(commits)) is ours
    assert chosen(foreign, half, ancestors=lambda mapping, commits: known & frozenset(commits)) is None


def test_a_stage_that_recorded_no_commit_is_not_made_from_git():
    assert chosen(stored(1), ancestors=lambda mapping, commits: frozenset(commits)) is None


def test_an_equal_tree_stands_for_ancestry_where_asked():
    amended = stored(1, commits=("old",))
    assert chosen(amended, ancestors=lambda mapping, commits: frozenset()) is None

    def nothing(mapping, commits):
        return frozenset()

    selection = select([amended], rejected=(), ancestors=nothing, same_tree=lambda facts: {"m": "new"})
    assert selection.chosen is not None
    assert selection.chosen.bases == {"m": "new"}
    assert chosen(amended, ancestors=lambda mapping, commits: frozenset(), same_tree=lambda facts: None) is None


def test_the_ancestors_of_all_candidates_are_asked_for_at_once():
    asked = []

    def ancestors(mapping, commits):
        asked.append((mapping, set(commits)))
        return frozenset(commits)

    select([stored(1, commits=("a",)), stored(2, commits=("b",))], rejected=(), ancestors=ancestors)
    assert asked == [("m", {"a", "b"})]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.sets(st.sampled_from("abcdef"), max_size=2), st.booleans()),
        max_size=8,
    ),
    st.sets(st.sampled_from("abcdef")),
    st.randoms(),
)
def test_selection_is_what_a_naive_reading_of_the_rule_gives_in_any_order(drawn, known, random):
    stages = [
        stored(timestamp, f"{index}{suffix}000000", commits=tuple(sorted(commits)))
        for index, (timestamp, suffix, commits, _) in enumerate(drawn)
    ]
    rejected = {str(stage.name) for stage, (*_, bad) in zip(stages, drawn, strict=True) if bad}
    suitable = [
        stage
        for stage in stages
        if str(stage.name) not in rejected and stage.facts.git and stage.facts.recorded_commits() <= known
    ]
    oracle = min(suitable, key=lambda stage: (stage.name.timestamp_ms, str(stage.name)), default=None)
    random.shuffle(stages)
    assert chosen(*stages, rejected=rejected, ancestors=lambda mapping, commits: known & frozenset(commits)) is oracle


def test_a_label_or_name_that_does_not_agree_is_not_believed():
    stage = stored(1, "12345678")
    assert believe(stage.name, stage.description, stage.facts)
    assert not believe(StageName(1, D, "87654321"), stage.description, stage.facts)
    assert not believe(stage.name, stage.description, facts("b" * 56))
    assert not believe(stage.name, stage.description, None)
