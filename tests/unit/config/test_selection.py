import pytest

from conveyor.config.models import Base, Image, Project
from conveyor.config.selection import select_images
from conveyor.errors import Place, UsageError

PLACE = Place("werf.yaml")


def project(*names: str, artifacts: tuple[str, ...] = ()) -> Project:
    images = [Image(PLACE, name, Base("scratch"), artifact=name in artifacts) for name in (*names, *artifacts)]
    return Project("demo", "werf.yaml", tuple(images))


SHOP = project("web", "api", "api/v1", "api/v2", "worker", "we*b", artifacts=("assets",))


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ([], "web api api/v1 api/v2 worker we*b"),
        (["worker", "web"], "web worker"),
        (["*"], "web api worker we*b"),
        (["api/*"], "api/v1 api/v2"),
        (["api/v?", "!api/v1"], "api/v2"),
        (["api/v[12]"], "api/v1 api/v2"),
        (["api/v[^1]"], "api/v2"),
        (["api/v[!1]"], "api/v2"),
        (["w*"], "web worker we*b"),
        (["we*b"], "we*b"),
        ([r"we\*b"], "we*b"),
        (["!w*"], "api api/v1 api/v2"),
        (["!w*", "web"], "web"),
        (["*", "!nothing"], "web api worker we*b"),
        (["!*", "worker"], "worker"),
        (["assets", "web"], "web assets"),
        (["web", "web", "w?b"], "web"),
    ],
)
def test_patterns(patterns, names):
    assert select_images(SHOP, patterns) == tuple(names.split())


@pytest.mark.parametrize(
    ("patterns", "message", "hint"),
    [
        (["wep"], 'no image matches pattern "wep"', "`web`"),
        (["API"], 'no image matches pattern "API"', "`api`"),
        (["zzzzzz"], 'no image matches pattern "zzzzzz"', "images: api"),
        (["x*"], 'no image matches pattern "x*"', ""),
        (["asset*"], 'no image matches pattern "asset*"', "`assets`"),
        (["api[/]v1"], 'no image matches pattern "api[/]v1"', ""),
        (["~"], 'no image matches pattern "~"', ""),
        (["**"], "invalid pattern", "`**`"),
        (["a|b"], "invalid pattern", "`|`"),
        (["a&b"], "invalid pattern", ""),
        (["$a"], "invalid pattern", ""),
        (["!$a"], "invalid pattern", ""),
        (["[a"], "invalid pattern", "close"),
        (["[]"], "invalid pattern", ""),
        (["[z-a]"], "invalid pattern", "range"),
        (["a\\"], "invalid pattern", ""),
        (["a" * 101], "longer than 100", ""),
        ([""], "a pattern is empty", ""),
        (["!"], "a pattern is empty", ""),
        (["!*", "!*/*"], "leave no image", ""),
    ],
)
def test_patterns_that_cannot_be_used(patterns, message, hint):
    with pytest.raises(UsageError) as caught:
        select_images(SHOP, patterns)
    assert message in str(caught.value) and hint in caught.value.hint


def test_the_nameless_image_is_meant_by_a_tilde():
    assert select_images(project("", "a"), ["~"]) == ("",)
    assert select_images(project("", "a"), ["!~"]) == ("a",)
    assert select_images(project("", "a"), []) == ("", "a")


def test_a_project_without_images():
    assert select_images(project(), []) == ()
    with pytest.raises(UsageError):
        select_images(project(), ["a"])
