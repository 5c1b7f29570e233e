"""Moments and durations."""

from __future__ import annotations

import pytest

from tests.unit.config.template.sprig.rendering import fail, give

EXAMPLES = [
    (
        (
            '{{date "2006-01-02 15:04:05 MST" 1735776245}}|{{htmlDate 0}}'
            '|{{dateInZone "Mon Jan _2 3:04PM -0700" 1735776245 "Asia/Tokyo"}}'
        ),
        "2025-01-02 00:04:05 UTC|1970-01-01|Thu Jan  2 9:04AM +0900",
    ),
    ('{{dateInZone "MST" 0 "No/Such"}} {{htmlDateInZone (int64 86399) "Asia/Tokyo"}}', "UTC 1970-01-02"),
    (
        '{{toDate "2006-01-02" "2017-12-31" | date "02/01/2006"}} {{toDate "2006-01-02" "x"}}',
        "31/12/2017 0001-01-01 00:00:00 +0000 UTC",
    ),
    (
        '{{toDate "2006-01-02T15:04:05Z07:00" "2024-02-29T01:02:03.5+03:00"}} {{toDate "2006" "2024" | unixEpoch}}',
        "2024-02-29 01:02:03.5 +0300 +0300 1704067200",
    ),
    (
        '{{toDate "2006" "2024" | dateModify "-1h30m"}} {{toDate "2006" "2024" | dateModify "x"}}',
        "2023-12-31 22:30:00 +0000 UTC 2024-01-01 00:00:00 +0000 UTC",
    ),
    ('{{duration 95}}|{{duration "95"}}|{{duration (int64 3661)}}|{{duration (int64 -1)}}', "0s|1m35s|1h1m1s|-1s"),
    (
        '{{durationRound "2h10m5s"}} {{durationRound "2400h10m5s"}} {{durationRound (int64 1000)}} {{durationRound "x"}}',
        "2h 3mo 0s 0s",
    ),
    (
        (
            '{{$t := toDate "2006-01-02" "2024-02-29"}}{{$t.Year}} {{$t.Month}} {{$t.Weekday}} {{$t.YearDay}'
            "} {{$t.AddDate 1 0 0}} {{toJson $t}} {{toYaml $t}}"
        ),
        '2024 February Thursday 60 2025-03-01 00:00:00 +0000 UTC "2024-02-29T00:00:00Z" 2024-02-29T00:00:00Z',
    ),
]
MISTAKES = [
    ('{{mustToDate "2006-01-02" "2024-02-30"}}', 'parsing time "2024-02-30": day out of range'),
    ('{{mustToDate "2006-01-02" "x"}}', 'parsing time "x" as "2006-01-02": cannot parse "x" as "2006"'),
    ('{{toDate "2006" "2024" | mustDateModify "1d"}}', 'time: unknown unit "d" in duration "1d"'),
]


@pytest.mark.parametrize(("source", "expected"), EXAMPLES)
def test_examples(source, expected):
    assert give(source) == expected


@pytest.mark.parametrize(("source", "message"), MISTAKES)
def test_mistakes(source, message):
    assert fail(source).endswith(message)
