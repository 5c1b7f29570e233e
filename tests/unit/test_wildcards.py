"""A joined pattern matches what its pieces one after the other match, and no number of `*` makes it slow."""

from __future__ import annotations

import random
import re

from conveyor.wildcards import DEEP, STAR, join_pieces


def test_it_matches_what_the_pieces_match():
    choose = random.Random(1)
    for _ in range(1500):
        pieces = [choose.choice(["a", "b", "/", "[^/]", STAR, STAR, DEEP]) for _ in range(choose.randint(0, 9))]
        plain, joined = (re.compile(source, re.DOTALL) for source in ("".join(pieces), join_pieces(pieces)))
        for _ in range(12):
            text = "".join(choose.choice("ab/") for _ in range(choose.randint(0, 10)))
            assert bool(plain.fullmatch(text)) == bool(joined.fullmatch(text)), (pieces, text)


def test_many_stars_end():
    assert not re.fullmatch(join_pieces([STAR, "a"] * 40 + ["b"]), "a" * 300, re.DOTALL)
    assert not re.fullmatch(join_pieces([DEEP, "a", "/"] * 20 + ["b"]), "a/" * 100, re.DOTALL)
