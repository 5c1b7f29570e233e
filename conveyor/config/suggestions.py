"""Did-you-mean, for everything that has a name."""

from __future__ import annotations

from collections.abc import Iterable

_MOST_CANDIDATES = 2000  # difflib compares with every one: a generated file of many thousand names gets no guess


def closest(word: str, candidates: Iterable[str]) -> str:
    """The candidate that `word` is most likely a misspelling of; "" where none is near."""
    by_lower: dict[str, str] = {}
    for candidate in candidates:
        by_lower.setdefault(candidate.lower(), candidate)
    if word.lower() in by_lower:
        return by_lower[word.lower()]
    if len(by_lower) > _MOST_CANDIDATES or len(word) > 200:
        return ""
    from difflib import get_close_matches

    matches = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[matches[0]] if matches else ""


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """A hint with the closest candidate; "" where none is near."""
    return hint_of(closest(word, candidates))


def hint_of(guess: str) -> str:
    """A guess as a hint; "" where there is none."""
    return f"did you mean `{guess}`?" if guess else ""
