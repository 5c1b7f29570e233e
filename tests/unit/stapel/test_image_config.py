"""The configuration of a stage's image: a golden table of (base, what is configured) -> result, and what holds for all.

Where a result is meant to change: look at `golden/image_config.json.actual`, which the failed test has written, and move it
over `golden/image_config.json`.
"""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stapel.image_config import Instructions, child, configure, drop_labels
from stapel.oci.api import ImageConfig

GOLDEN = Path(__file__).parent / "golden/image_config.json"
EMPTY = "sha256:" + "0" * 64
TOP = "sha256:" + "1" * 64

# Each base is the part `config` of its image, but for the last ones, which are whole.
BASES = {
    "nothing": {},
    "nulls": {"Cmd": None, "Entrypoint": None, "Env": None, "Labels": None, "Volumes": None, "ExposedPorts": None},
    "cmd": {"Cmd": ["bash"], "Env": ["PATH=/usr/bin:/bin"]},
    "entrypoint": {"Entrypoint": ["/entry", "--flag"]},
    "cmd and entrypoint": {"Cmd": ["serve"], "Entrypoint": ["/entry"]},
    "full": {
        "Cmd": ["serve"],
        "Entrypoint": ["/entry"],
        "Env": ["PATH=/usr/bin:/bin", "EMPTY=", "EQUALS=a=b", "HOME=/srv"],
        "ExposedPorts": {"80/tcp": {}},
        "Healthcheck": {"Test": ["CMD", "true"]},
        "Labels": {"dev.conveyor.stage": "{}", "dev.conveyor": "no dot", "vendor": "somebody"},
        "OnBuild": ["RUN true"],
        "Shell": ["/bin/bash", "-c"],
        "StopSignal": "SIGQUIT",
        "User": "app:app",
        "Volumes": {"/data": {}},
        "WorkingDir": "/srv",
    },
    "committed by an engine": {
        "AttachStdin": False,
        "AttachStdout": True,
        "Cmd": ["bash"],
        "Hostname": "0123456789ab",
        "Image": "sha256:abc",
        "OpenStdin": False,
        "Tty": True,
    },
}

INSTRUCTIONS = {
    "none": None,
    "no instruction": Instructions(),
    "cmd shell form": Instructions(cmd="echo $HOME"),
    "cmd exec form": Instructions(cmd=("echo", "$HOME", "two  words")),
    "cmd empty": Instructions(cmd=()),
    "entrypoint shell form": Instructions(entrypoint="exec /run"),
    "entrypoint exec form": Instructions(entrypoint=("/run", "-x")),
    "entrypoint empty": Instructions(entrypoint=()),
    "cmd and entrypoint": Instructions(cmd=("a",), entrypoint=("b",)),
    "user": Instructions(user="1000:1000"),
    "user reset": Instructions(user=""),
    "workdir absolute": Instructions(workdir="/app"),
    "workdir relative": Instructions(workdir="sub/dir/"),
    "workdir above": Instructions(workdir="../other/./x"),
    "volume": Instructions(volume=("/data", "/more")),
    "expose": Instructions(expose=("80", "53/UDP", "8000-8002", "90-91/tcp")),
    "env": Instructions(env={"A": "1", "HOME": "/elsewhere"}),
    "env with variables": Instructions(
        env={"PATH": "/opt/bin:$PATH", "B": "${HOME}/x", "C": r"\$HOME", "D": "$ABSENT.", "E": "$HOMES", "A": "$B"}
    ),
    "variables everywhere": Instructions(
        env={"A": "$HOME"},
        label={"$A": "${HOME}", "b": r"\$HOME"},
        volume=("$HOME/data",),
        expose=("80$EMPTY",),
        workdir="$HOME/sub",
        user="u$EMPTY",
    ),
    "exact": Instructions(label={"a": "$HOME"}, volume=("$HOME",), workdir="/$HOME", user="$HOME", exact_values=True),
    "env exact": Instructions(env={"PATH": "/opt/bin:$PATH", "C": r"\$HOME"}, exact_values=True),
    "label": Instructions(label={"vendor": "us", "quote": "\"'\n", "empty": ""}),
    "healthcheck none": Instructions(healthcheck="NONE"),
    "healthcheck shell form": Instructions(healthcheck="--interval=1m30s --timeout=500ms --retries=3 CMD a | b || exit 1"),
    "healthcheck exec form": Instructions(healthcheck='--start-period=1.5h CMD ["curl", "-f", "/"]'),
    "healthcheck test command": Instructions(healthcheck="CMD [ -f /ready ]"),
}


def image(run):
    return ImageConfig({"architecture": "amd64", "os": "linux", "config": run, "rootfs": {"type": "layers", "diff_ids": []}})


def table():
    """Every row: the whole configuration that comes out."""
    rows = {}
    for base_name, run in BASES.items():
        for name, instructions in INSTRUCTIONS.items():
            rows[f"configure / {base_name} / {name}"] = configure(image(run), instructions).run
        base = image(run)
        rows[f"configure / {base_name} / labels and env"] = configure(
            base, None, labels={"dev.conveyor.stage": '{"a":1}', "vendor": "us"}, env={"HOME": "$HOME", "NEW": "a=b"}
        ).run
        rows[f"drop_labels / {base_name}"] = drop_labels(base, "dev.conveyor.").run
    for name, document in DOCUMENTS.items():
        base = ImageConfig(document)
        rows[f"configure / whole / {name}"] = configure(base, None).document
        rows[f"child / {name}"] = child(base, diff_ids=(EMPTY, TOP), created_ms=1_700_000_000_123).document
    return rows


DOCUMENTS = {
    "empty": {},
    "scratch": {"architecture": "arm64", "os": "linux", "variant": "v8", "rootfs": {"type": "layers", "diff_ids": []}},
    "with history": {
        "architecture": "amd64",
        "os": "linux",
        "author": "somebody",
        "created": "2020-01-01T00:00:00Z",
        "config": {"Cmd": ["bash"]},
        "history": [
            {"created": "2020-01-01T00:00:00Z", "created_by": "ADD"},
            {"created": "2020-01-01T00:00:00Z", "created_by": "CMD", "empty_layer": True},
        ],
        "rootfs": {"type": "layers", "diff_ids": [EMPTY]},
        "os.version": "kept",
    },
    "with a history of layers that are gone": {
        "history": [{"created_by": "a"}, {"created_by": "b"}, {"created_by": "c"}],
        "rootfs": {"type": "layers", "diff_ids": [EMPTY]},
    },
    "with half a history": {"history": None, "rootfs": {"type": "layers", "diff_ids": [EMPTY]}},
    "docker's own": {
        "id": "abc",
        "parent": "def",
        "container": "ghi",
        "container_config": {"Cmd": ["/bin/sh", "-c", "#(nop)"]},
        "docker_version": "20.10",
        "throwaway": True,
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["bash"], "Image": "abc", "Hostname": "x"},
    },
}


def test_the_golden_table():
    actual = json.dumps(table(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if not GOLDEN.exists() or GOLDEN.read_text() != actual:
        written = GOLDEN.with_name(GOLDEN.name + ".actual")
        written.write_text(actual)
        golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
        found = json.loads(actual)
        differ = [name for name in sorted({*golden, *found}) if golden.get(name) != found.get(name)]
        pytest.fail(f"{len(differ)} rows differ from {GOLDEN.name}, see {written.name}: {differ[:10]}")


def test_a_base_is_never_changed():
    for run in (*BASES.values(), *(document.get("config", {}) for document in DOCUMENTS.values())):
        before = json.dumps(run)
        for instructions in INSTRUCTIONS.values():
            configure(image(run), instructions, labels={"a": "b"}, env={"c": "d"})
        drop_labels(image(run), "dev.conveyor.")
        assert json.dumps(run) == before


@pytest.mark.parametrize(
    ("instructions", "message"),
    [
        (Instructions(expose=("http",)), "EXPOSE http"),
        (Instructions(expose=("80-x",)), "EXPOSE 80-x"),
        (Instructions(expose=("$PORT",)), r"EXPOSE \$PORT: .* not ``"),
        (Instructions(expose=("",)), "EXPOSE"),
        (Instructions(healthcheck="curl /"), "HEALTHCHECK curl /"),
        (Instructions(healthcheck="CMD"), "HEALTHCHECK CMD"),
        (Instructions(healthcheck=""), "HEALTHCHECK"),
        (Instructions(healthcheck="NONE at all"), "HEALTHCHECK NONE at all"),
        (Instructions(healthcheck="--intervall=1s CMD true"), "--intervall is not known.*interval"),
        (Instructions(healthcheck="--interval=soon CMD true"), "soon is no duration"),
        (Instructions(healthcheck="--interval=10 CMD true"), "10 is no duration"),
        (Instructions(healthcheck="--retries=few CMD true"), "a number, not few"),
    ],
)
def test_values_without_a_meaning_are_refused(instructions, message):
    with pytest.raises(ValueError, match=message):
        configure(image({}), instructions)


# -- what holds for all

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
WORDS = st.lists(TEXTS, max_size=4)
RUNS = st.fixed_dictionaries(
    {},
    optional={
        "Cmd": st.none() | WORDS,
        "Entrypoint": st.none() | WORDS,
        "Env": st.none() | st.lists(st.builds("{}={}".format, st.sampled_from(["A", "B", "PATH"]), TEXTS), max_size=3),
        "Labels": st.none() | st.dictionaries(TEXTS, TEXTS, max_size=3),
        "User": TEXTS,
        "WorkingDir": TEXTS,
        "Tty": st.booleans(),
        "Unknown": TEXTS,
    },
)


@given(RUNS)
def test_configuring_nothing_twice_is_configuring_it_once(run):
    once = configure(image(run), None)
    assert configure(once, None) == once
    assert once.to_bytes() == configure(once, None).to_bytes()


@given(RUNS)
def test_configuring_nothing_keeps_what_the_base_has(run):
    configured = configure(image(run), None).run
    assert configured["Cmd"] == (run.get("Cmd") or [])
    assert configured["Entrypoint"] == (run.get("Entrypoint") or [""])
    for key in ("Env", "Labels", "User", "WorkingDir", "Unknown"):
        assert configured.get(key) == run.get(key)


@given(cmd=WORDS, entrypoint=WORDS, env=st.dictionaries(st.sampled_from(["A", "B"]), TEXTS))
def test_odd_characters_come_through_ten_stages_unchanged(cmd, entrypoint, env):
    instructions = Instructions(cmd=tuple(cmd), entrypoint=tuple(entrypoint), env=env, exact_values=True)
    config = configure(image({}), instructions)
    for number in range(10):
        config = configure(config, None, labels={"stage": str(number)})
        config = child(config, diff_ids=(*config.diff_ids, TOP), created_ms=number)
        config = ImageConfig(json.loads(config.to_bytes()))
    assert config.run["Cmd"] == cmd
    assert config.run["Entrypoint"] == (entrypoint or [""])
    assert dict(entry.split("=", 1) for entry in config.run.get("Env", [])) == env
    assert config.labels == {"stage": "9"}
    assert len(config.document["history"]) == len(config.diff_ids) == 10


@given(st.dictionaries(st.sampled_from(["p.a", "p.", "p", "q.a", ""]), TEXTS))
def test_labels_are_dropped_by_prefix_alone(labels):
    left = drop_labels(image({"Labels": labels}), "p.").labels
    assert left == {name: value for name, value in labels.items() if not name.startswith("p.")}


@given(value=TEXTS, home=TEXTS)
def test_a_value_without_a_dollar_is_never_changed(value, home):
    value = value.replace("$", "")
    configured = configure(image({"Env": [f"HOME={home}"]}), Instructions(env={"A": value, "B": "<$HOME>"}))
    assert configured.run["Env"] == [f"HOME={home}", f"A={value}", f"B=<{home}>"]


@given(
    history=st.lists(
        st.fixed_dictionaries({}, optional={"empty_layer": st.booleans(), "created_by": TEXTS}) | st.text(max_size=1),
        max_size=5,
    ),
    count=st.integers(0, 5),
    created_ms=st.integers(0, 4_000_000_000_000),
)
def test_the_history_has_as_many_layers_as_there_are(history, count, created_ms):
    base = image({}).with_(history=history)
    made = child(base, diff_ids=(TOP,) * count, created_ms=created_ms).document
    assert sum(1 for entry in made["history"] if not entry.get("empty_layer")) == count
    assert made["rootfs"] == {"type": "layers", "diff_ids": [TOP] * count}
    assert made["created"].endswith("Z")
