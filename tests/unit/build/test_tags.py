import pytest
from msgspec.structs import replace

from conveyor.build.slugs import slugify
from conveyor.build.tags import CustomTags, tag_image
from conveyor.errors import UsageError
from tests.unit.build.worlds import image

STAGE = "0" * 56 + "-1700000000000-" + "0" * 8


def format_tag(template, name="backend/api"):
    return CustomTags().format(template, name, STAGE)


@pytest.mark.parametrize(
    ("template", "tag"),
    [
        ("v1", "v1"),
        ("%image%-v1", "backend/api-v1"),
        ("%image_slug%-v1", f"{slugify('backend/api')}-v1"),
        ("%image_safe_slug%-v1", f"{slugify('backend/api')}-v1"),
        ("%image_content_based_tag%", STAGE),
        ("x-%image_slug%-%image_slug%", f"x-{slugify('backend/api')}-{slugify('backend/api')}"),
        ("100%", "100%"),
    ],
)
def test_placeholders(template, tag):
    assert format_tag(template) == tag


def test_what_a_placeholder_gives_is_not_a_template():
    assert format_tag("%image%", "%image_slug%") == "%image_slug%"


@pytest.mark.parametrize(
    ("templates", "names"),
    [
        ((), ["a", "b"]),
        (("v1",), ["a"]),
        (("v1",), [""]),
        (("v1",), []),
        (("%image%-v1", "%image%"), ["a", "b"]),
        (("%image_slug%",), ["a/b", "a//b"]),
        (("%image_content_based_tag%",), ["a", "b"]),
        (("x" * 128,), ["a"]),
    ],
)
def test_good_templates(templates, names):
    assert CustomTags(templates).check(names) is None


@pytest.mark.parametrize(
    ("templates", "names", "message"),
    [
        (("%nothing%",), ["a"], "%nothing% means nothing"),
        (("%image%-%commit%",), ["a"], "%commit% means nothing"),
        (("%image%",), ["a/b"], r"'a/b' \(image a/b\) is no tag"),
        (("%image%",), [""], r"'' \(image ~\) is no tag"),
        (("-x",), ["a"], "is no tag"),
        (("a b",), ["a"], "is no tag"),
        (("caf\u00e9",), ["a"], "is no tag"),
        (("x" * 129,), ["a"], "is no tag"),
        (("",), ["a"], "is no tag"),
        (("v1",), ["a", "b"], "images a and b would both be v1"),
        (("v1",), ["", "b"], "images ~ and b would both be v1"),
        (("%image%", "b"), ["a", "b"], "images b and a would both be b"),
        ((STAGE,), ["a"], "conveyor's own"),
        ((STAGE + "-rejected",), ["a"], "conveyor's own"),
        (("import-" + "0" * 56 + "-" + "0" * 56,), ["a"], "conveyor's own"),
    ],
)
def test_bad_templates_are_refused(templates, names, message):
    with pytest.raises(UsageError, match=message):
        CustomTags(templates).check(names)


def test_final_images_get_their_tags_and_others_none(world):
    images = (image("a"), image("b", beforeInstall="b", final=False), image("c", beforeInstall="c", artifact=True))
    results = tuple(world.build(*images).values())
    storage = world.storage(world.store)
    before = dict(world.store.named)
    tagged = [tag_image(storage, result, CustomTags(("%image%-v1", "latest"))) for result in results]
    assert [result.custom_tags for result in tagged] == [("engine:a-v1", "engine:latest"), (), ()]
    digest = results[0].last.image_digest
    assert world.store.named == {**before, "a-v1": digest, "latest": digest}
    assert [replace(result, custom_tags=()) for result in tagged] == list(results)


def test_a_tag_that_is_ours_by_its_placeholder_names_the_stage_again(world):
    (result,) = world.build(image("a")).values()
    before = dict(world.store.named)
    tagged = tag_image(world.storage(world.store), result, CustomTags(("%image_content_based_tag%",)))
    assert tagged.custom_tags == (result.last.reference,)
    assert world.store.named == before


def test_without_templates_nothing_is_named(world):
    (result,) = world.build(image("a")).values()
    before = dict(world.store.named)
    assert tag_image(world.storage(world.store), result, CustomTags()) == result
    assert world.store.named == before


def test_an_image_that_failed_gets_no_tag(world):
    (result,) = world.build(image("a", install="fail 1")).values()
    assert tag_image(world.storage(world.store), result, CustomTags(("v1",))) == result
    assert "v1" not in world.store.named


def test_a_tag_moves_to_the_next_image(world):
    tags = CustomTags(("latest",))
    for commands in ("one", "two"):
        (result,) = world.build(image("a", install=commands)).values()
        tag_image(world.storage(world.store), result, tags)
        assert world.store.named["latest"] == result.last.image_digest
