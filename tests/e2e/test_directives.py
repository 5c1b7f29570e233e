"""Directives that reach from the configuration into the engine and the image, on both engines."""

import base64
import io
import tarfile

import pytest

from stapel.oci.registry import RegistryStore

CANARIES = {"variable": "hunter2-a.*[x", "file": "hunter2-b\nsecond line of it\n", "text": "hunter2-c$(id)"}
NAMES = ("hunter2-", "second line")

WERF = """\
configVersion: 1
project: NAME
build: {imageSpec: {author: all, config: {labels: {a: all, b: all}}}}
---
image: app
from: BASE
secrets:
- {env: TOKEN, id: variable}
- {src: private/key, id: file}
- {id: text, value: hunter2-c$(id)}
shell:
  beforeInstall:
  - cat /run/secrets/variable; echo; cat /run/secrets/file >&2; base64 /run/secrets/text
  - printf hunter2-; sleep 0.2; echo 'a.*[x'
  - wc -c /run/secrets/* >/sizes
  setup: cat /run/secrets/text && echo && cat /sizes && test ! -e /absent
imageSpec:
  clearHistory: true
  config:
    labels: {b: "%project%/%image%"}
    removeEnv: [DEBUG]
    env: {PATH: "${PATH}:/opt", NEW: "1"}
    expose: [80]
    entrypoint: [cat]
    cmd: [/sizes]
"""


@pytest.fixture
def base(registry, busybox_base, images, make_project):
    """A base with a history and a variable to take away, in a registry that both engines reach."""
    reference = f"{registry.host}/directives/base:1"
    container = images.client.create_container(busybox_base, command=["x"])
    repository, _, tag = reference.rpartition(":")
    images.client.commit(container, repository, tag, changes=["ENV DEBUG=1", "LABEL a=base"], message="told by the base")
    images.client.remove_container(container)
    images.client.push(repository, tag)
    return reference


@pytest.mark.parametrize("engine", ["docker", "sandbox"])
def test_secrets_are_for_commands_alone_and_the_spec_is_the_last_word(make_project, base, registry, engine, tmp_path):
    project = make_project(WERF.replace("BASE", base), {".gitignore": "private\n", "private/key": CANARIES["file"]})
    project.commit()
    project.env |= {"TOKEN": CANARIES["variable"]}
    repo = f"{registry.host}/{project.name}/stages"
    arguments = ("--engine", engine, "--repo", repo, "--loose-giterminism")
    first = project.build("--log-verbose", *arguments)
    assert first.built == {"app": ["from", "beforeInstall", "setup", "imageSpec"]}
    assert first.run.stderr.count("***") == 5
    logs = project.conveyor("logs", "app", *arguments)
    assert logs.stdout.count("***") == 5

    store = RegistryStore(repo)
    name = first.reference("app").rpartition(":")[2]
    image = store.get(name)
    told = {"output": first.run.output, "logs": logs.output, "config": image.config.to_bytes().decode()}
    told |= {str(path): path.read_text(errors="replace") for path in project.home.rglob("*") if path.is_file()}
    told["report"] = (project.directory / ".conveyor-build-report.json").read_text()
    for layer in image.layers():
        with image.open(layer) as content, tarfile.open(fileobj=io.BytesIO(content.read())) as archive:
            for member in archive:
                assert "secret" not in member.name or member.name.startswith(".conveyor"), member.name
                file = archive.extractfile(member) if member.isfile() else None
                told[member.name] = file.read().decode(errors="replace") if file is not None else ""
    encoded = base64.b64encode(CANARIES["text"].encode()).decode()
    assert [where for where, text in told.items() if any(word in text for word in (*NAMES, encoded))] == []
    assert [word for word in told["sizes"].split() if word.isdigit()] == ["28", "14", "13", "55"]

    document, run = image.config.document, image.config.run
    assert (document["author"], document["history"]) == ("all", [])
    assert {key: value for key, value in image.config.labels.items() if key in "ab"} == {
        "a": "all",
        "b": f"{project.name}/app",
    }
    variables = dict(text.partition("=")[::2] for text in run["Env"])
    assert "DEBUG" not in variables and variables["NEW"] == "1" and variables["PATH"].endswith("/bin:/opt")
    assert (run["Entrypoint"], run["Cmd"], list(run["ExposedPorts"])) == (["cat"], ["/sizes"], ["80/tcp"])

    # Another value is no reason to build; one that is missing fails what has to run, and says where it is asked for.
    project.env["TOKEN"] = "another one"
    assert project.build(*arguments).built == {}
    del project.env["TOKEN"]
    assert project.build(*arguments).built == {}
    project.change("werf.yaml", (project.directory / "werf.yaml").read_text().replace("/absent", "/nothing"))
    failed = project.build(*arguments, status=2)
    assert "werf.yaml:8:3: the secret `variable`: the variable TOKEN is not set" in failed.run.stderr
