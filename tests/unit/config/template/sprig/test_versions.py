"""Semantic versions and constraints."""

from __future__ import annotations

import pytest

from tests.unit.config.template.sprig.rendering import fail, give

EXAMPLES = [
    (
        (
            '{{$v := semver "v1.2.3-alpha.1+123"}}{{$v}} {{$v.Major}} {{$v.Minor}} {{$v.Patch}}'
            " {{$v.Prerelease}} {{$v.Metadata}} {{$v.Original}}"
        ),
        "1.2.3-alpha.1+123 1 2 3 alpha.1 123 v1.2.3-alpha.1+123",
    ),
    (
        (
            '{{(semver "1.2").IncMinor}} {{(semver "1.2.3-rc").IncPatch}} {{(semver "v1").IncMajor}}'
            ' {{(semver "1.0.0").SetPrerelease "x.1"}}'
        ),
        "1.3.0 1.2.3 2.0.0 1.0.0-x.1",
    ),
    ('{{(semver "1.0.0").Compare (semver "1.0.0-rc.1")}}{{(semver "1.0.0-rc.2").LessThan (semver "1.0.0-rc.10")}}', "1true"),
    (
        (
            '{{semverCompare "1.2.0" "1.2.0"}}{{semverCompare "^1.2.0" "1.9.9"}}'
            '{{semverCompare "^0.2" "0.3.0"}}{{semverCompare "~1.2" "1.2.9"}}{{semverCompare "1.x" "2.0.0"}}'
        ),
        "truetruefalsetruefalse",
    ),
    (
        (
            '{{semverCompare ">= 1.2, < 2 || ^5" "5.1.0"}}{{semverCompare "1.2 - 1.4.5" "1.4.5"}}'
            '{{semverCompare "!=1.2" "1.2.9"}}{{semverCompare ">1.0" "1.1.0-beta"}}'
            '{{semverCompare ">1.0-0" "1.1.0-beta"}}'
        ),
        "truetruefalsefalsetrue",
    ),
]
MISTAKES = [
    ('{{semver "x"}}', "error calling semver: Invalid Semantic Version"),
    ('{{semverCompare "1.2.3.4" "1.0.0"}}', "error calling semverCompare: improper constraint: 1.2.3.4"),
    ('{{semverCompare ">=1" "x"}}', "Invalid Semantic Version"),
]


@pytest.mark.parametrize(("source", "expected"), EXAMPLES)
def test_examples(source, expected):
    assert give(source) == expected


@pytest.mark.parametrize(("source", "message"), MISTAKES)
def test_mistakes(source, message):
    assert fail(source).endswith(message)
