from pathlib import Path

from conveyor.config.models import Base
from conveyor.config.reading import parse_project

EXAMPLE = Path(__file__).parents[3] / "werf.yaml.example"


def test_the_example_parses_and_shows_every_kind_of_image():
    project = parse_project(EXAMPLE.read_bytes(), EXAMPLE.name)
    assert project.name == "shop"
    assert [image.name for image in project.images] == ["base", "assets", "backend", "worker", "bundle"]
    backend = project.image("backend")
    assert backend.base == Base("image", "base")
    assert backend.git[0].paths.exclude == ("docs", "**/*.md", "static/*.css", "static/*.js")
    assert backend.docker and backend.docker.env == {"PYTHONUNBUFFERED": "1"}
    assert project.image("base").cache_version == "2026-01" and backend.cache_version == "5"
    assert project.image("bundle").needs() == ("backend",)


def test_the_example_names_every_field_that_can_be_written():
    from conveyor.config import decode_docker, decode_git, decode_image, decode_links

    text = EXAMPLE.read_text()
    for name in (
        *decode_docker._FIELDS,
        *decode_git._FIELDS,
        *decode_links._IMPORT_FIELDS,
        *decode_image._IMAGE_ONLY,
        *decode_image._COMMON,
    ):
        if name not in ("fromImage", "fromArtifact", "fromLatest", "disableGitAfterPatch", "stage"):  # deprecated or rare
            assert name in text, name
