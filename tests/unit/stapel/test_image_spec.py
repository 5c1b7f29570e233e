"""What `imageSpec` makes of a base's configuration."""

import pytest

from stapel.image_config import child
from stapel.image_spec import ImageSpec, apply_spec, pattern_of
from stapel.oci.api import ImageConfig

LAYER = "sha256:" + "0" * 64
BASE = ImageConfig(
    {
        "architecture": "amd64",
        "os": "linux",
        "author": "the base's",
        "config": {
            "Cmd": ["serve"],
            "Entrypoint": ["/entry"],
            "Env": ["PATH=/bin", "HOME=/srv", "DEBUG=1"],
            "Labels": {"vendor": "a", "build.date": "b", "build.host": "c"},
            "Volumes": {"/data": {}, "/logs/a": {}, "/logs/b": {}},
            "ExposedPorts": {"80/tcp": {}},
            "User": "app",
            "WorkingDir": "/srv",
            "StopSignal": "SIGQUIT",
        },
        "history": [{"created_by": "COPY secret-ish"}, {"created_by": "CMD", "empty_layer": True}],
        "rootfs": {"type": "layers", "diff_ids": [LAYER]},
    }
)


def applied(**fields):
    return apply_spec(BASE, ImageSpec(**fields))


def changed(**fields):
    """The values of the part `config` that differ from the base's."""
    run = applied(**fields).run
    return {name: run.get(name) for name in {*run, *BASE.run} if run.get(name) != BASE.run.get(name)}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"clear_cmd": True}, {"Cmd": []}),
        ({"clear_entrypoint": True}, {"Entrypoint": [""]}),
        ({"clear_user": True}, {"User": ""}),
        ({"clear_working_dir": True}, {"WorkingDir": ""}),
        ({"clear_user": True, "user": "1000"}, {"User": "1000"}),
        ({"clear_working_dir": True, "working_dir": "app"}, {"WorkingDir": "/app"}),
        ({"working_dir": "app"}, {"WorkingDir": "/srv/app"}),
        ({"cmd": ("a", "b")}, {"Cmd": ["a", "b"]}),
        ({"cmd": ()}, {"Cmd": []}),
        ({"entrypoint": ("/run",)}, {"Entrypoint": ["/run"], "Cmd": []}),
        ({"entrypoint": ("/run",), "cmd": ("x",)}, {"Entrypoint": ["/run"], "Cmd": ["x"]}),
        ({"clear_entrypoint": True, "cmd": ("x",)}, {"Entrypoint": [""], "Cmd": ["x"]}),
        ({"stop_signal": "SIGINT"}, {"StopSignal": "SIGINT"}),
        ({"remove_labels": ("vendor", "absent")}, {"Labels": {"build.date": "b", "build.host": "c"}}),
        ({"remove_labels": ("/build\\..*/",)}, {"Labels": {"vendor": "a"}}),
        ({"remove_labels": ("/build/", "/end/")}, {}),
        ({"remove_labels": ("/.*/",), "labels": {"vendor": "us"}}, {"Labels": {"vendor": "us"}}),
        ({"remove_volumes": ("/data",)}, {"Volumes": {"/logs/a": {}, "/logs/b": {}}}),
        ({"remove_volumes": ("//logs/.*/",)}, {"Volumes": {"/data": {}}}),
        ({"remove_volumes": ("/.*/",), "volumes": ("/new",)}, {"Volumes": {"/new": {}}}),
        ({"remove_env": ("DEBUG",)}, {"Env": ["PATH=/bin", "HOME=/srv"]}),
        ({"remove_env": ("/[A-G].*/",), "env": {"A": "1"}}, {"Env": ["PATH=/bin", "HOME=/srv", "A=1"]}),
        ({"expose": ("53/udp", "81-82")}, {"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "81/tcp": {}, "82/tcp": {}}}),
        (
            {"healthcheck": {"Test": ("CMD", "true"), "Interval": 10**9}},
            {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 10**9}},
        ),
    ],
)  # fmt: skip
def test_a_value_changes_this_and_nothing_else(fields, expected):
    assert changed(**fields) == expected


def test_variables_are_those_of_the_base_alone():
    env = {"PATH": "/opt:${PATH}", "NEW": "${DEBUG}/${ABSENT}/$HOME", "OTHER": "${NEW}"}
    found = dict(text.partition("=")[::2] for text in applied(env=env, remove_env=("DEBUG",)).run["Env"])
    assert found == {"HOME": "/srv", "PATH": "/opt:/bin", "NEW": "1//$HOME", "OTHER": ""}


def test_the_author():
    assert applied(author="us").document["author"] == "us"
    assert applied().document["author"] == "the base's"


def test_a_cleared_history_stays_empty_in_the_image_and_above_it():
    made = child(applied(clear_history=True), diff_ids=(LAYER,), created_ms=1)
    assert made.document["history"] == []
    above = child(made, diff_ids=(LAYER, LAYER), created_ms=2)
    assert above.document["history"] == []
    assert len(child(applied(), diff_ids=(LAYER,), created_ms=1).document["history"]) == 2


@pytest.mark.parametrize(
    ("text", "pattern"), [("/a.*/", "a.*"), ("//data/", "/data"), ("/data", None), ("a", None), ("/", None), ("//", None)]
)
def test_what_a_pattern_is(text, pattern):
    assert pattern_of(text) == pattern
