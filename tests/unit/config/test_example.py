import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from conveyor.config.explain import paths_of_fields
from conveyor.config.giterminism.decode import decode_permissions
from conveyor.config.lint.notes import Files
from conveyor.config.lint.rules import lint
from conveyor.config.models import Base
from conveyor.config.reading import parse_project
from conveyor.errors import ConfigError

EXAMPLE = Path(__file__).parents[3] / "werf.yaml.example"
PERMISSIONS = EXAMPLE.with_name("werf-giterminism.yaml.example")


def test_the_example_parses_and_shows_every_kind_of_image():
    project = parse_project(EXAMPLE.read_bytes(), EXAMPLE.name)
    assert project.name == "shop"
    assert [image.name for image in project.images] == ["base", "assets", "backend", "worker", "bundle", "proxy"]
    backend = project.image("backend")
    assert backend.base == Base("image", "base")
    assert backend.git[0].paths.exclude == ("docs", "**/*.md", "static/*.css", "static/*.js")
    assert project.image("bundle").docker and project.image("bundle").docker.env == {"MODE": "production"}
    assert project.image("base").cache_version == "2026-01" and backend.cache_version == "5"
    assert project.image("bundle").needs() == ("backend",)


def test_the_examples_name_every_field_that_is_not_deprecated():
    words = set(re.findall(r"[A-Za-z]+", EXAMPLE.read_text() + PERMISSIONS.read_text()))
    assert [
        path for path, field in paths_of_fields().items() if path.rpartition(".")[2] not in words and not field.instead
    ] == []


def test_the_example_of_permissions_is_right_and_knows_no_other_names():
    permissions, warnings = decode_permissions(PERMISSIONS.read_bytes(), PERMISSIONS.name)
    assert not warnings
    assert permissions.allow("config.goTemplateRendering.allowEnvVariables", "CI_JOB_ID")


KEYS = re.compile(r"^[ -]*([A-Za-z]\w*):|[{,] ([A-Za-z]\w*):", re.MULTILINE)
OF_USERS = {"MODE", "PATH", "PORT"}  # names of variables and arguments


def test_a_misspelt_key_of_the_example_is_never_taken_in_silence():
    text = re.sub("^ *#.*$", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    taken = []
    for match in KEYS.finditer(text):
        end = match.end(match.lastindex)
        try:
            parse_project(f"{text[:end]}x{text[end:]}".encode(), "werf.yaml")
        except ConfigError:
            continue
        taken.append(match[match.lastindex])
    assert len(KEYS.findall(text)) > 150
    assert set(taken) <= OF_USERS


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
        lint(text.encode(), "werf.yaml", Files(lambda *_: False))
        assert all(image.base.kind != "image" or project.image(image.base.reference) for image in project.images)
