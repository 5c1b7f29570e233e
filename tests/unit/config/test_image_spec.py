"""`imageSpec`: reading it, and what holds where the project and an image say something."""

import pytest

from conveyor.config.decode_image_spec import merge_specs
from conveyor.config.reading import parse_project
from stapel.image_spec import ImageSpec

EVERYTHING = """\
image: app
from: alpine:3
imageSpec:
  author: us <us@example.org>
  clearHistory: true
  config:
    keepEssentialWerfLabels: true
    clearWerfLabels: true
    clearCmd: yes
    clearEntrypoint: yes
    clearUser: yes
    clearWorkingDir: yes
    removeLabels: [a, /b.*/]
    removeVolumes: /data
    removeEnv: [DEBUG]
    labels: {image: "%project%/%image%", one: 1}
    env: {PATH: "${PATH}:/x", N: 1.10}
    volumes: [/v]
    expose: ["80", 53/udp]
    user: 1000
    workingDir: /app
    stopSignal: SIGINT
    cmd: [run, 2]
    entrypoint: [/entry]
    healthcheck: {test: [CMD, "true"], interval: 30s, timeout: 5, startperiod: 2000000, retries: 3}
"""


def parse(text, build=""):
    return parse_project(f"configVersion: 1\nproject: demo\n{build}---\n{text}".encode(), "werf.yaml")


def spec(text, build="", name="app"):
    return parse(text, build).image(name).image_spec


def test_every_field_of_an_image():
    assert spec(EVERYTHING) == ImageSpec(
        author="us <us@example.org>",
        clear_history=True,
        clear_cmd=True,
        clear_entrypoint=True,
        clear_user=True,
        clear_working_dir=True,
        remove_labels=("a", "/b.*/", "/werf(?:[-.].*)?/"),
        remove_volumes=("/data",),
        remove_env=("DEBUG",),
        labels={"image": "%project%/%image%", "one": "1"},
        env={"PATH": "${PATH}:/x", "N": "1.10"},
        volumes=("/v",),
        expose=("80", "53/udp"),
        user="1000",
        working_dir="/app",
        stop_signal="SIGINT",
        cmd=("run", "2"),
        entrypoint=("/entry",),
        healthcheck={
            "Test": ("CMD", "true"),
            "Interval": 30_000_000_000,
            "Timeout": 5_000_000_000,
            "StartPeriod": 2_000_000,
            "Retries": 3,
        },
    )


@pytest.mark.parametrize(
    "text", ["", "imageSpec:\n", "imageSpec: {}\n", "imageSpec: {config: {keepEssentialWerfLabels: yes}}\n"]
)
def test_what_says_nothing_is_no_spec(text):
    assert spec("image: app\nfrom: alpine:3\n" + text) is None


BUILD = """\
build:
  imageSpec:
    author: the project
    clearHistory: true
    config: {labels: {a: project, b: project}, removeLabels: [x], clearWerfLabels: yes}
"""


def test_the_projects_holds_for_final_images_alone():
    project = parse(
        "image: [a, b]\nfrom: alpine:3\n---\nimage: c\nfinal: false\nfrom: x:1\nimageSpec: {author: c}\n"
        "---\nartifact: d\nfrom: x:1\n",
        BUILD,
    )
    of_all = ImageSpec(
        author="the project",
        clear_history=True,
        remove_labels=("x", "/werf(?:[-.].*)?/"),
        labels={"a": "project", "b": "project"},
    )
    assert [item.image_spec for item in project.images] == [of_all, of_all, None, None]


def test_what_an_image_says_wins_over_the_project():
    own = "imageSpec: {author: own, clearHistory: false, config: {labels: {b: own}, removeLabels: [y, x], cmd: [run]}}\n"
    assert spec("image: app\nfrom: alpine:3\n" + own, BUILD) == ImageSpec(
        author="own",
        clear_history=False,
        remove_labels=("x", "/werf(?:[-.].*)?/", "y"),
        labels={"a": "project", "b": "own"},
        cmd=("run",),
    )


def test_an_image_that_says_nothing_of_a_value_has_the_projects():
    merged = merge_specs(ImageSpec(author="p", clear_history=True), ImageSpec(user="app"))
    assert merged == ImageSpec(author="p", clear_history=True, user="app")
