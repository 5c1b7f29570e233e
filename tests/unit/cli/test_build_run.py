"""What `conveyor build` says before it begins."""

from __future__ import annotations

import pytest

from conveyor.cli.build_run import _check_introspection
from conveyor.cli.option_values import BuildOptions
from conveyor.cli.options import parse_introspection
from tests.unit.build.worlds import image


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("install", ""),
        ("app/from", ""),
        ("other/install", "image other has no stage install\nstages: from"),
        ("app/instal", "image app has no stage instal\ndid you mean `install`?"),
        ("setup", "no image that is built has a stage setup\nstages: from, install"),
        ("third/install", "image third is not built"),
    ],
)
def test_a_shell_that_will_never_be_opened_is_told(asked, said):
    warned = []
    build = BuildOptions(introspect_stages=(parse_introspection(asked),))
    _check_introspection((image("app", install="a"), image("other")), build, warned.append)
    assert [event.message for event in warned] == ([f"--introspect-stage: {said}"] if said else [])
