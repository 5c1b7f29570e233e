"""What goes and what stays, and the reason of each."""

import random
from collections import Counter

import pytest

from conveyor.cleanup.choosing import PROTECTED_S, Item, age_text, choose

NOW_S = 1_000_000_000.0
DAY_S = 86400.0


def image(name, chain="", age_s=DAY_S, kept="", extra=()):
    parts = dict.fromkeys(chain, 10) | dict.fromkeys(extra, 100)
    return Item("image", name, name, parts, NOW_S - age_s, tuple(chain), kept)


def log(name, size=5, age_s=DAY_S):
    return Item("log", name, name, {name: size}, NOW_S - age_s)


def decide(*items, free=0, keep_for_s=None):
    return {verdict.item.name: verdict for verdict in choose(items, now_s=NOW_S, to_free_bytes=free, keep_for_s=keep_for_s)}


def going(*items, **limits):
    return [name for name, verdict in decide(*items, **limits).items() if verdict.goes]


def test_nothing_goes_where_there_is_room():
    verdicts = decide(image("a", "x"), log("l"))
    assert [verdict.goes for verdict in verdicts.values()] == [False, False]
    assert verdicts["a"].why == "used 1 day ago, and there is room"


def test_the_least_recently_used_go_until_enough_is_free():
    items = [log("new", age_s=DAY_S), log("old", age_s=9 * DAY_S), log("middle", age_s=5 * DAY_S)]
    assert going(*items, free=6) == ["old", "middle"]
    assert going(*items, free=5) == ["old"]
    assert decide(*items, free=5)["old"].why == "least recently used, 9 days ago"


def test_age_alone_is_a_reason():
    items = [log("new", age_s=DAY_S), log("old", age_s=9 * DAY_S)]
    assert going(*items, keep_for_s=7 * DAY_S) == ["old"]
    assert decide(*items, keep_for_s=7 * DAY_S)["old"].why == "not used for 9 days"


@pytest.mark.parametrize(("age_s", "goes"), [(0, False), (PROTECTED_S - 1, False), (PROTECTED_S, True), (-50, False)])
def test_what_was_just_used_stays(age_s, goes):
    assert (going(log("l", age_s=age_s), free=1 << 40, keep_for_s=60.0) == ["l"]) is goes


def test_what_is_kept_stays_and_says_why():
    verdict = decide(image("a", "x", age_s=99 * DAY_S, kept="a build uses it"), free=1 << 40, keep_for_s=DAY_S)["a"]
    assert not verdict.goes
    assert verdict.why == "a build uses it"


def test_an_image_goes_after_those_that_stand_on_it():
    below, above = image("below", "x", age_s=9 * DAY_S), image("above", "xy", age_s=5 * DAY_S)
    assert going(below, above, free=1) == ["above"]
    assert going(below, above, free=11) == ["above", "below"]
    verdict = decide(below, image("above", "xy", age_s=10), free=1 << 40)["below"]
    assert not verdict.goes
    assert verdict.why == "above stands on it"
    assert not going(below, image("above", "xy", kept="a build uses it"), free=1 << 40)


def test_a_part_is_freed_with_the_last_that_has_it():
    verdicts = decide(image("a", "xy", age_s=9 * DAY_S), image("b", "xz", age_s=8 * DAY_S), free=25)
    assert (verdicts["a"].freed_bytes, verdicts["b"].freed_bytes) == (10, 20)
    assert verdicts["b"].goes


def test_images_of_equal_layers_do_not_hold_one_another():
    assert going(image("a", "xy", age_s=9 * DAY_S), image("b", "xy", age_s=10), free=1) == ["a"]


def test_random_homes():
    """Whatever is there: nothing protected goes, nothing goes that something kept stands on, and no more than is needed."""
    for seed in range(300):
        rng = random.Random(seed)
        chains = [""]
        for letter in "abcdefgh":
            chains.append(rng.choice(chains) + letter)
        reasons = ["", "", "", "pinned"]
        items = [
            image(str(number), rng.choice(chains), rng.uniform(0, 20 * DAY_S), rng.choice(reasons), "b" * (number % 2))
            for number in range(12)
        ] + [log(f"l{number}", rng.randrange(50), rng.uniform(0, 20 * DAY_S)) for number in range(5)]
        free = rng.randrange(200)
        verdicts = choose(items, now_s=NOW_S, to_free_bytes=free, keep_for_s=None)
        goes = [verdict.item for verdict in verdicts if verdict.goes]
        stays = [verdict.item for verdict in verdicts if not verdict.goes]
        assert Counter(item.name for item in [*goes, *stays]) == Counter(item.name for item in items)
        for item in goes:
            assert not item.kept
            assert NOW_S - item.used_s >= PROTECTED_S
            above = [other for other in stays if item.chain and len(other.chain) > len(item.chain)]
            assert not any(other.chain[: len(item.chain)] == item.chain for other in above)
        left = {part for item in stays for part in item.parts}
        freed = sum({part: size for item in goes for part, size in item.parts.items() if part not in left}.values())
        assert freed == sum(verdict.freed_bytes for verdict in verdicts)
        if goes:
            assert freed - [verdict for verdict in verdicts if verdict.goes][-1].freed_bytes < free


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "less than a minute"), (60, "1 minute"), (3599, "59 minutes"), (7200, "2 hours"), (200_000, "2 days")],
)
def test_ages(seconds, text):
    assert age_text(seconds) == text
