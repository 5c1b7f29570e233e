"""Limits as people write them, and what follows."""

import pytest

from conveyor.cleanup.limits import Size, Volume, bytes_to_free, parse_duration, parse_size

VOLUME = Volume(total_bytes=1000, used_bytes=800, free_bytes=150)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1024", Size(1024)),
        ("20GiB", Size(20 << 30)),
        ("1.5 kB", Size(1500)),
        ("500MB", Size(500_000_000)),
        ("2ti", Size(2 << 40)),
        ("0", Size(0)),
        ("70%", Size(share=0.7)),
        ("0%", Size(share=0.0)),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "101%", "-1%", "%", "nan%", "1XB", "1 2"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError):
        parse_size(text)


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("36h", 129_600), ("7d", 604_800), ("0.5w", 302_400)])
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1y", "1d2h"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("allowed", "min_free", "to_free"),
    [
        (None, None, 0),
        ("80%", None, 0),
        ("70%", None, 150),  # to 65%
        ("3%", None, 800),
        ("500", None, 0),
        ("300", None, 100),
        (None, "100", 0),
        (None, "200", 50),
        (None, "30%", 150),
        ("300", "30%", 150),
    ],
)
def test_what_must_go(allowed, min_free, to_free):
    limits = {"allowed": allowed and parse_size(allowed), "min_free": min_free and parse_size(min_free)}
    assert bytes_to_free(VOLUME, 400, **limits) == to_free
