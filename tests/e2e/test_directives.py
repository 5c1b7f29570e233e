"""Directives that reach from the configuration into the engine and the image, on both engines."""

import base64
import io
import tarfile
from dataclasses import dataclass

import pytest

from stapel.oci.registry import RegistryImage, RegistryStore

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
def push(registry, busybox_base, images):
    """`push("NAME:TAG", {path: text})`: an image of busybox and these files, in a registry that both engines reach."""

    def push(name, files, *changes):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for path, text in files.items():
                member = tarfile.TarInfo(path)
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text.encode()))
        repository, _, tag = f"{registry.host}/{name}".rpartition(":")
        container = images.client.create_container(busybox_base, command=["x"])
        images.client.put_archive(container, "/", archive.getvalue())
        images.client.commit(container, repository, tag, changes=list(changes), message="told by the base")
        images.client.remove_container(container)
        images.client.push(repository, tag)
        return f"{repository}:{tag}"

    return push


@pytest.mark.parametrize("engine", ["docker", "sandbox"])
def test_secrets_are_for_commands_alone_and_the_spec_is_the_last_word(make_project, push, registry, engine):
    base = push("directives/base:1", {}, "ENV DEBUG=1", "LABEL a=base")
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


FROM = """\
image: [one, two]
from: BASE
fromLatest: true
import:
- {image: TOOLS, add: /tools/a, to: /opt/a, before: install}
- {from: TOOLS, add: /tools, includePaths: [b], to: /opt, owner: "7", group: "8", after: setup}
- {artifact: parts, stage: install, add: /part, before: setup}
shell: {beforeSetup: cat /opt/a >/seen, setup: cat /part >>/seen}
---
artifact: parts
fromImage: stem
shell: {install: echo of install >/part, setup: echo of setup >/part}
---
image: stem
final: false
from: BASE
"""


@pytest.mark.parametrize("engine", ["docker", "sandbox"])
def test_files_and_bases_from_outside(make_project, push, engine, images):
    base, tools = push("directives/moving:1", {"v": "first"}), push("directives/tools:1", {"tools/a": "A", "tools/b": "B"})
    project = make_project(FROM.replace("BASE", base).replace("TOOLS", tools))
    arguments = ("--engine", engine, "--loose-giterminism")
    first = project.build(*arguments)
    assert first.names()[: len(first.stages("one"))] == first.names()[len(first.stages("one")) :][: len(first.stages("two"))]
    stages = ["from", "dependenciesBeforeInstall", "dependenciesBeforeSetup", "setup", "dependenciesAfterSetup"]
    assert first.stages("one") == first.stages("two") == [*stages[:2], "beforeSetup", *stages[2:]]

    def files(build):
        shown = project.conveyor("run", "one", *arguments, "--", "sh", "-c", "cat /seen /v; stat -c ' %u:%g' /opt/b")
        assert shown.status == 0, shown.output
        return shown.stdout.split()

    assert files(first) == ["Aof", "install", "first", "7:8"]
    assert project.build(*arguments).built == {}
    # The tag means another image by now; an engine that has it under the tag is not asked what it means.
    push("directives/moving:1", {"v": "second"})
    again = project.build(*arguments)
    assert again.built == dict.fromkeys(("one", "two"), first.stages("one"))
    assert files(again) == ["Aof", "install", "second", "7:8"]


def test_permissions_are_asked_for(make_project):
    mounts = "mount: [{from: build_dir, to: /a}, {fromPath: /b, to: /b}]"
    werf = f"image: app\nfrom: BUSYBOX\nfromLatest: true\nsecrets: [{{env: A}}]\n{mounts}\n"
    project = make_project(werf)
    refused = project.conveyor("build")
    assert refused.status == 2, refused.output
    for directive in ("allowFromLatest", "allowEnvVariables", "allowBuildDir", "allowFromPaths"):
        assert directive in refused.stderr


@dataclass(frozen=True)
class OfPlatform:
    """An image of a registry said to be of another platform."""

    image: RegistryImage
    architecture: str

    @property
    def descriptor(self):
        return self.image.descriptor

    @property
    def config(self):
        return self.image.config.with_(architecture=self.architecture)

    def layers(self):
        return self.image.layers()

    def open(self, blob):
        return self.image.open(blob)


PLATFORMS = """\
configVersion: 1
project: NAME
build: {platform: [linux/amd64, linux/arm64]}
---
artifact: tools
from: BASE
shell: {install: echo of $PLATFORM >/tool}
---
image: app
from: BASE
git: [{add: /, to: /app, includePaths: [file]}]
import: [{artifact: tools, add: /tool, after: setup}]
shell: {setup: echo "$PLATFORM" >/made}
---
image: bare
from: scratch
platform: linux/arm64
git: [{add: /, to: /app, includePaths: [file]}]
"""


@pytest.mark.parametrize("engine", ["docker", "sandbox"])
def test_an_image_of_two_platforms_is_an_index(make_project, push, registry, engine):
    """The programs of both bases are this machine's, and bash of the toolchain is: so no emulation is needed."""
    bases = RegistryStore(f"{registry.host}/directives/both")
    made = []
    for architecture in ("amd64", "arm64"):
        push(f"directives/both:{architecture}", {"which": architecture}, f"ENV PLATFORM={architecture}")
        descriptor = bases.put(OfPlatform(bases.get(architecture), architecture))
        made.append((descriptor, f"linux/{architecture}"))
    bases.name("1", bases.put_index(made))
    project = make_project(PLATFORMS.replace("BASE", f"{registry.host}/directives/both:1"), {"file": "one\n"})
    repo = f"{registry.host}/{project.name}/stages"
    arguments = ("--engine", engine, "--repo", repo)
    first = project.build("--add-custom-tag", "%image%-tag", *arguments)
    store = RegistryStore(repo)
    tag = first.reference("app").rpartition(":")[2]
    assert tag.startswith("index-")
    assert store.digest_of("app-tag") == store.digest_of(tag) == first.report["Images"]["app"]["DockerImageDigest"]
    for architecture in ("amd64", "arm64"):
        image = store.get(tag, f"linux/{architecture}")
        assert image.config.platform == f"linux/{architecture}"
        told = first.report["ImagesByPlatform"]["app"][f"linux/{architecture}"]
        assert told["DockerImageDigest"] == image.descriptor.digest
        contents = {}
        for layer in image.layers():
            with image.open(layer) as content, tarfile.open(fileobj=io.BytesIO(content.read())) as archive:
                contents |= {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}
        expected = {"made": f"{architecture}\n", "tool": f"of {architecture}\n", "which": architecture, "app/file": "one\n"}
        assert {name: contents[name].decode() for name in expected} == expected
    assert store.get(first.reference("bare").rpartition(":")[2]).config.platform == "linux/arm64"
    assert first.report["Images"]["bare"]["TargetPlatform"] == "linux/arm64"

    again = project.build("--add-custom-tag", "%image%-tag", *arguments)
    assert again.built == {}
    assert again.reference("app") == first.reference("app")
    final = f"{registry.host}/{project.name}/final"
    published = project.build("--final-repo", final, *arguments)
    assert published.reference("app") == f"{final}:{tag}"
    assert RegistryStore(final).digest_of(tag) == store.digest_of(tag)
    assert RegistryStore(final).get(tag, "linux/arm64").config.platform == "linux/arm64"
    project.change("file", "two\n")
    patched = project.build(*arguments)
    assert patched.built["app"] == ["gitLatestPatch"] * 2
    assert patched.reference("app") != first.reference("app")
    assert project.conveyor("run", "app", *arguments, "--", "cat", "/app/file", "/made").stdout == "two\namd64\n"
