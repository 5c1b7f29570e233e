from __future__ import annotations

from types import SimpleNamespace

import pytest

from conveyor.cli.at_head import AtHead
from conveyor.errors import StagesRequired
from stapel.errors import NotFound
from tests.unit.build.worlds import image


def test_a_stage_that_goes_after_it_was_selected_is_not_stored(world):
    app = image("app", beforeInstall="a")
    last = world.build(app)["app"].last
    rooms = world.rooms([app])
    at_head = AtHead(SimpleNamespace(project=rooms.project), rooms)
    stage, digest = at_head.take("app", lambda view: view.descriptor.digest)
    assert (stage.name, digest) == (last.name, last.image_digest)

    def take(view):
        raise NotFound(f"no {view.descriptor.digest}")

    with pytest.raises(StagesRequired, match="app is not built"):
        AtHead(SimpleNamespace(project=rooms.project), world.rooms([app])).take("app", take)
