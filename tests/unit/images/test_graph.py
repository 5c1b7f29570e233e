import pytest

from conveyor.config.models import MountPoint, Project
from conveyor.images.graph import effective_mounts, independent_sets, needed_images
from tests.unit.build.worlds import HERE, dependency, image, imported

BASE = image("base")
TOOLS = image("tools", artifact=True)
APP = image("app", "image:base", imports=(imported("tools"), imported("tools", "after setup")))
WEB = image("web", dependencies=(dependency("app", X="ImageName"),))
OTHER = image("other")
PROJECT = Project("p", "werf.yaml", (WEB, APP, OTHER, TOOLS, BASE))


def names(images):
    return [item.name for item in images]


def test_an_image_needs_its_base_what_it_imports_and_what_it_depends_on():
    assert APP.needs() == ("base", "tools")
    assert WEB.needs() == ("app",)
    assert OTHER.needs() == ()


def test_what_is_asked_for_brings_all_that_it_needs_in_order_of_configuration():
    assert names(needed_images(PROJECT, ["web"])) == ["web", "app", "tools", "base"]
    assert names(needed_images(PROJECT, ["app", "other", "app"])) == ["app", "other", "tools", "base"]
    assert names(needed_images(PROJECT, ["other"])) == ["other"]
    assert needed_images(PROJECT, []) == ()


def test_an_image_that_is_not_there():
    with pytest.raises(KeyError):
        needed_images(PROJECT, ["nobody"])


def test_the_sets_follow_the_longest_path():
    sets = independent_sets(PROJECT.images)
    assert [names(members) for members in sets] == [["other", "tools", "base"], ["app"], ["web"]]
    assert independent_sets(()) == ()


def test_a_circle_is_refused():
    circle = (image("a", "image:b"), image("b", "image:a"), image("c"))
    with pytest.raises(ValueError, match="a, b"):
        independent_sets(circle)


def mount(to, source="x"):
    return MountPoint(HERE, "from_path", to, source)


def test_mounts_are_inherited_and_one_a_mount_point():
    low = image("low", mounts=(mount("/a", "low"), mount("/b", "low")))
    middle = image("middle", "image:low", mounts=(mount("/b", "middle"), mount("/c", "middle")))
    top = image("top", "image:middle", mounts=(mount("/c", "top"),))
    project = Project("p", "werf.yaml", (top, middle, low))
    assert [(item.to, item.source) for item in effective_mounts(project, top)] == [
        ("/a", "low"),
        ("/b", "middle"),
        ("/c", "top"),
    ]
    assert effective_mounts(project, low) == low.mounts


def test_mounts_are_not_inherited_from_what_is_imported():
    source = image("source", mounts=(mount("/a"),))
    app = image("app", imports=(imported("source"),))
    assert effective_mounts(Project("p", "werf.yaml", (app, source)), app) == ()
