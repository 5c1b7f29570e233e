"""What changes with the commit or with a run of a CI system is found by rendering the text again."""

import pytest

from conveyor.config.lint.notes import Elsewhere, Files
from conveyor.config.lint.rules import lint
from conveyor.config.rendering import Surroundings
from conveyor.errors import UsageError

HEAD = "configVersion: 1\nproject: demo\n"
IMAGE = HEAD + "---\nimage: app\nfrom: alpine:3\n"
HERE = Surroundings(
    "0123456789abcdef" * 2 + "01234567",
    1_700_000_000,
    "+0000",
    {"CI_PIPELINE_ID": "41", "CI_REGISTRY": "r.example", "APP_ENV": "prod"}.get,
)


def notes_of(template, variables=("CI_PIPELINE_ID", "CI_REGISTRY", "APP_ENV", "CI_COMMIT_TAG")):
    def render(around):
        text = template.replace("HASH", around.commit).replace("TIME", str(around.time_s))
        for name in variables:
            text = text.replace(name, around.read(name) or "")
        return text.encode()

    found = lint(render(HERE), "werf.yaml (rendered)", Files(lambda *_: True), Elsewhere(render, HERE, variables))
    return [(note.place.line, note.place.column, note.message) for note in found if note.rule == "volatile"]


@pytest.mark.parametrize(
    ("template", "place", "message"),
    [
        (
            IMAGE + "shell:\n  install: echo HASH\n",
            (7, 12),
            "`shell.install` changes with the commit (`.Commit`): the stage",
        ),
        (IMAGE + "shell:\n  beforeSetup: [a, b TIME]\n", (7, 20), "the stage `beforeSetup` and all after it"),
        (
            IMAGE + "shell: {installCacheVersion: CI_PIPELINE_ID}\n",
            (6, 30),
            "changes with `CI_PIPELINE_ID`: the stage `install`",
        ),
        (IMAGE + "shell: {cacheVersion: HASH}\n", (6, 23), "all commands are"),
        (IMAGE + "fromCacheVersion: 'xCI_COMMIT_TAG'\n", (6, 19), "changes with `CI_COMMIT_TAG`: the whole image"),
        (IMAGE + "mount: [{from: tmp_dir, to: /HASH}]\n", (6, 29), "`mount.to` changes"),
        (IMAGE + "git: [{to: /app, includePaths: [a, HASH]}]\n", (6, 36), "the image from its files on"),
        (
            HEAD + "---\nimage: app\ndockerfile: Dockerfile\nargs: {PORT: 80, COMMIT: HASH}\n",
            (6, 26),
            "`args.COMMIT` changes with the commit (`.Commit`): all that follows its `ARG`",
        ),
        (HEAD + "build: {cacheVersion: TIME}\n", (3, 23), "every image is"),
    ],
)
def test_what_reaches_an_early_stage_is_told(template, place, message):
    (found,) = notes_of(template)
    assert found[:2] == place
    assert message in found[2]


@pytest.mark.parametrize(
    "template",
    [
        IMAGE + "shell: {setup: echo HASH, setupCacheVersion: TIME}\n",
        IMAGE + "docker: {LABEL: {commit: HASH, pipeline: CI_PIPELINE_ID}, ENV: {T: TIME}}\n",
        IMAGE + "shell: {install: curl CI_REGISTRY APP_ENV}\n",
        HEAD + "deploy: {namespace: demo-CI_PIPELINE_ID}\n",
    ],
)
def test_what_comes_late_or_is_the_same_in_every_run_is_not(template):
    assert notes_of(template) == []


def test_where_the_text_cannot_be_made_elsewhere_nothing_is_known_of_it():
    def render(around):
        raise UsageError("refused")

    elsewhere = Elsewhere(render, HERE, ("CI_PIPELINE_ID",))
    assert lint(IMAGE.encode(), "werf.yaml (rendered)", Files(lambda *_: True), elsewhere) == ()
