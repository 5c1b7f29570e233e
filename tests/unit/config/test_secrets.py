"""`secrets`: what is read, what giterminism is asked, and what is never shown."""

import pytest

from conveyor.config.giterminism.api import Permissions, Refusals
from conveyor.config.reading import parse_project
from conveyor.errors import GiterminismError

HEAD = "configVersion: 1\nproject: demo\n---\n"
APP = """\
image: app
from: alpine:3
secrets:
- env: TOKEN
- {env: TOKEN, id: again}
- src: ~/keys/id_rsa
- {id: plain, value: hunter2}
- {id: nothing, value: ""}
"""


def parse(text, refusals=None):
    return parse_project((HEAD + text).encode(), "werf.yaml", refusals)


def test_ids_and_where_values_come_from():
    found = parse(APP).image("app").secrets
    assert [(secret.id, secret.kind, secret.origin) for secret in found] == [
        ("TOKEN", "env", "TOKEN"),
        ("again", "env", "TOKEN"),
        ("id_rsa", "src", "~/keys/id_rsa"),
        ("plain", "value", "hunter2"),
        ("nothing", "value", ""),
    ]
    assert found[0].place.line == 7


def test_a_value_is_not_shown_with_the_configuration():
    assert "hunter2" not in repr(parse(APP))


def test_each_is_asked_of_giterminism():
    refusals = Refusals(Permissions())
    parse(APP, refusals)
    with pytest.raises(GiterminismError) as caught:
        refusals.raise_any()
    told = f"{caught.value}\n{caught.value.hint}"
    assert "hunter2" not in told
    for name in ("allowEnvVariables", "allowFiles", "allowValueIds", "TOKEN", "~/keys/id_rsa", "plain", "nothing"):
        assert name in told
    allowed = {
        "config.secrets.allowEnvVariables": ("TOKEN",),
        "config.secrets.allowFiles": ("~/keys/*",),
        "config.secrets.allowValueIds": ("plain", "nothing"),
    }
    refusals = Refusals(Permissions(given=allowed))
    parse(APP, refusals)
    refusals.raise_any()
