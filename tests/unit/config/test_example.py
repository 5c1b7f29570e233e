from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from conveyor.config.explain import paths_of_fields
from conveyor.config.models import Base
from conveyor.config.reading import parse_project
from conveyor.errors import ConfigError

EXAMPLE = Path(__file__).parents[3] / "werf.yaml.example"


def test_the_example_parses_and_shows_every_kind_of_image():
    project = parse_project(EXAMPLE.read_bytes(), EXAMPLE.name)
    assert project.name == "shop"
    assert [image.name for image in project.images] == ["base", "assets", "backend", "worker", "tasks", "bundle"]
    backend = project.image("backend")
    assert backend.base == Base("image", "base")
    assert backend.git[0].paths.exclude == ("docs", "**/*.md", "static/*.css", "static/*.js")
    assert backend.docker and backend.docker.env == {"PYTHONUNBUFFERED": "1"}
    assert project.image("base").cache_version == "2026-01" and backend.cache_version == "5"
    assert project.image("bundle").needs() == ("backend",)


def test_the_example_names_every_field_that_is_not_deprecated():
    text = EXAMPLE.read_text()
    rare = {"fromLatest", "disableGitAfterPatch", "stage", "installCacheVersion"}
    rare |= {"beforeSetupCacheVersion", "setupCacheVersion"}
    for path, field in paths_of_fields().items():
        name = path.rpartition(".")[2]
        if path.startswith(("image.", "artifact.")) and not field.instead and name not in rare:
            assert name in text, path


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_with_places_inside_it(data):
    text = EXAMPLE.read_text()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        cut = data.draw(st.integers(0, 12))
        new = data.draw(
            st.sampled_from(
                ["", "~", "[", "]", "{", ": ", "\n", "- ", "'", '"', "*a", "&a ", "---\n", "\t", "0", "x", "<<: "]
            )
        )
        text = text[:at] + new + text[at + cut :]
    try:
        project = parse_project(text.encode(), "werf.yaml")
    except ConfigError as error:
        lines = text.split("\n")
        for problem in error.problems:
            place = problem.place
            assert place.line == 0 or 1 <= place.column <= len(lines[place.line - 1]) + 1
    else:
        assert all(image.base.kind != "image" or project.image(image.base.reference) for image in project.images)
