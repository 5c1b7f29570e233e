import pytest

from conveyor.config.models import (
    Base,
    Dependency,
    DockerInstructions,
    GitMapping,
    GitWorktree,
    Import,
    Injection,
    PathFilter,
    Project,
    Shell,
)
from conveyor.config.reading import CONFIG_NAMES, parse_project
from conveyor.errors import Place

HEAD = "configVersion: 1\nproject: demo\n---\n"


def parse(text: str) -> Project:
    return parse_project(text.encode(), "werf.yaml")


def image(text: str, name: str = "app"):
    return parse(HEAD + text).image(name)


def test_the_names_that_are_looked_for():
    assert CONFIG_NAMES == ("werf.yaml", "werf.yml", "conveyor.yaml", "conveyor.yml")


@pytest.mark.parametrize("version", ["1", "1.0", "0x1", "+1", "01", "1_", "!!int 1"])
def test_config_version(version):
    assert parse(f"configVersion: {version}\nproject: demo\n").name == "demo"


@pytest.mark.parametrize("name", ["a", "0", "shop-2", "a" * 50, "1.10".replace(".", "")])
def test_names_of_projects(name):
    assert parse(f"configVersion: 1\nproject: {name}\n").name == name


def test_a_project_document_alone():
    assert parse("configVersion: 1\nproject: demo\n") == Project("demo", "werf.yaml", ())


def test_git_worktree():
    project = parse(
        "project: demo\nconfigVersion: 1\n"
        "gitWorktree: {forceShallowClone: yes, allowUnshallow: off, allowFetchOriginBranchesAndTags: N}\n"
    )
    assert project.git_worktree == GitWorktree(True, False, False)


def test_an_image_has_the_defaults():
    app = image("image: app\nfrom: alpine:3\n")
    assert app.base == Base("external", "alpine:3")
    assert app.final and not app.artifact and not app.from_latest and not app.disable_git_after_patch
    assert app.place == Place("werf.yaml", 4, 1)
    assert app.shell == Shell() and app.docker is None and app.needs() == ()


def test_documents_come_in_any_order():
    project = parse(
        "---\n# first\n---\nimage: a\nfrom: b\n---  # two\nimage: b\nfrom: alpine\n"
        "---\nproject: demo\nconfigVersion: 1\n---\n"
    )
    assert [item.name for item in project.images] == ["a", "b"]
    assert project.images[0].base == Base("image", "b")
    assert project.images[1].place == Place("werf.yaml", 7, 1)


def test_one_image_for_each_name():
    project = parse(HEAD + "image:\n- a\n- b\nfrom: alpine\nshell: {install: x}\n")
    assert [(item.name, item.place.line) for item in project.images] == [("a", 5), ("b", 6)]
    assert project.images[0].shell is project.images[1].shell


@pytest.mark.parametrize("name", ["~", "null", ""])
def test_the_nameless_image(name):
    assert parse(HEAD + f"image: {name}\nfrom: alpine\n").images[0].name == ""


def test_the_nameless_image_stands_beside_images_that_are_not_final():
    project = parse(HEAD + "image: ~\nfrom: a\n---\nimage: a\nfinal: false\nfrom: b\n---\nartifact: c\nfrom: d\n")
    assert [item.name for item in project.images] == ["", "a", "c"]


def test_an_artifact_is_never_final_and_has_no_patches():
    item = image("artifact: app\nfrom: alpine\n")
    assert item.artifact and not item.final and item.disable_git_after_patch


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("from: scratch", Base("scratch")),
        ("from: other", Base("image", "other")),
        ("fromImage: other", Base("image", "other")),
        ("fromImage: nginx:1.29", Base("external", "nginx:1.29")),
        ("fromImage: reg.example/lib/base", Base("external", "reg.example/lib/base")),
        ("fromArtifact: art", Base("image", "art")),
        ("from: other:latest", Base("external", "other:latest")),
        ("from: app", Base("external", "app")),
        ("from: localhost:5000/a/b__c-d.e:V1.2-x_y", Base("external", "localhost:5000/a/b__c-d.e:V1.2-x_y")),
        ("from: Reg.Example/a@sha256:" + "0" * 64, Base("external", "Reg.Example/a@sha256:" + "0" * 64)),
        ("from: 'a:1@sha256:" + "f" * 64 + "'", Base("external", "a:1@sha256:" + "f" * 64)),
        ("from: '[::1]:5000/a'", Base("external", "[::1]:5000/a")),
        ("from: 5", Base("external", "5")),
    ],
)
def test_bases(text, base):
    others = "---\nimage: other\nfrom: x\n---\nartifact: art\nfrom: x\n"
    assert image(f"image: app\n{text}\n{others}").base == base


def test_scalars_keep_their_source_text():
    app = image(
        "image: app\nfrom: alpine\ncacheVersion: 1.10\nfromCacheVersion: 0777\nnetwork: 2020-01-01\n"
        "git: [{to: /a, owner: 1000, group: 0o17, includePaths: [1.0, on]}]\n"
        "shell: {install: [true, 22:22], cacheVersion: 1e3, setupCacheVersion: yes}\n"
        "docker: {ENV: {A: 1.10, B: , C: 'x', D: 0x10}, USER: 010, CMD: [1, 2.50]}\n"
    )
    assert (app.cache_version, app.from_cache_version, app.network) == ("1.10", "0777", "2020-01-01")
    assert (app.git[0].owner, app.git[0].group, app.git[0].paths.include) == ("1000", "0o17", ("1.0", "on"))
    assert app.shell == Shell({"install": ("true", "22:22")}, "1e3", {"setup": "yes"})
    assert app.docker and app.docker.env == {"A": "1.10", "B": "", "C": "x", "D": "0x10"}
    assert app.docker.user == "010" and app.docker.cmd == ("1", "2.50")


@pytest.mark.parametrize("text", ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"])
def test_true(text):
    assert image(f"image: app\nfrom: alpine\nfromLatest: {text}\n").from_latest is True


@pytest.mark.parametrize("text", ["n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"])
def test_false(text):
    assert image(f"image: app\nfrom: alpine\nfinal: {text}\n").final is False


def test_the_own_value_wins_over_that_of_build():
    build = "configVersion: 1\nproject: demo\nbuild: {cacheVersion: 7, platform: [linux/arm64/v8]}\n"
    project = parse(
        "image: a\nfrom: x\ncacheVersion: 8\nplatform: linux/amd64\n---\nimage: b\nfrom: x\nplatform:\n---\n" + build
    )
    assert [(item.cache_version, item.platform) for item in project.images] == [
        ("8", "linux/amd64"),
        ("7", "linux/arm64/v8"),
    ]


def test_a_git_mapping_in_full():
    app = image(
        "image: app\nfrom: alpine\ngit:\n- to: /srv//app/./x/../\n"
        "- add: /src/\n  to: /data/\n  owner: app\n  group: www\n  includePaths: ['./a/', '**/*.{js,ts}', a]\n"
        "  excludePaths: b/../c\n  stageDependencies:\n    setup: ['x?', '.']\n    install: y\n    beforeSetup: []\n"
    )
    assert app.git == (
        GitMapping(Place("werf.yaml", 7, 3), "/", "/srv/app"),
        GitMapping(
            Place("werf.yaml", 8, 3),
            "/src",
            "/data",
            "app",
            "www",
            PathFilter(("a", "**/*.{js,ts}"), ("c",)),
            {"install": ("y",), "setup": ("x?", "**")},
        ),
    )
    assert list(app.git[1].stage_dependencies) == ["install", "setup"]


def test_including_the_directory_itself_includes_everything():
    assert image("image: app\nfrom: a\ngit:\n- {to: /a, includePaths: [./, x]}\n").git[0].paths == PathFilter()


def test_shell():
    app = image(
        "image: app\nfrom: a\nshell:\n  beforeInstall: |\n    a\n    b\n"
        "  install: [c, 'd: e']\n  beforeSetup: []\n  setup: ''\n"
        "  installCacheVersion: 2\n"
    )
    assert app.shell == Shell({"beforeInstall": ("a\nb\n",), "install": ("c", "d: e")}, "", {"install": "2"})


def test_docker_in_full():
    app = image(
        "image: app\nfrom: a\ndocker:\n  VOLUME: /a\n  EXPOSE: [80, 53/udp, 7000-7010/TCP, $PORT]\n  LABEL: {a.b: 'c'}\n"
        "  CMD: run it\n  ENTRYPOINT: []\n  WORKDIR: /w\n  HEALTHCHECK: NONE\n  exactValues: true\n"
    )
    assert app.docker == DockerInstructions(
        place=Place("werf.yaml", 6, 1),
        volume=("/a",),
        expose=("80", "53/udp", "7000-7010/TCP", "$PORT"),
        label={"a.b": "c"},
        cmd="run it",
        entrypoint=(),
        workdir="/w",
        healthcheck="NONE",
        exact_values=True,
    )


def test_imports_dependencies_and_mounts():
    app = image(
        "image: app\nfrom: a\nimport:\n- from: other\n  before: setup\n  add: /out/\n  stage: install\n"
        "- artifact: art\n  after: install\n  add: /\n  to: /x\n  owner: 0\n  group: 0\n  includePaths: bin\n"
        "dependencies:\n- image: other\n  after: setup\n  imports:\n  - {type: ImageDigest, targetEnv: D}\n"
        "- {image: art, before: install}\n"
        "mount:\n- {to: /t, from: tmp_dir}\n- {to: /b/, from: build_dir}\n- {to: /p, fromPath: ~/cache}\n"
        "---\nimage: other\nfrom: x\nshell: {install: make}\n---\nartifact: art\nfrom: x\n"
    )
    assert app.imports == (
        Import(Place("werf.yaml", 7, 3), "other", "before", "setup", "/out", "/out", from_stage="install"),
        Import(Place("werf.yaml", 11, 3), "art", "after", "install", "/", "/x", "0", "0", PathFilter(("bin",))),
    )
    assert app.dependencies == (
        Dependency(Place("werf.yaml", 19, 3), "other", "after", "setup", (Injection("ImageDigest", "D"),)),
        Dependency(Place("werf.yaml", 23, 3), "art", "before", "install", ()),
    )
    assert [(mount.kind, mount.to, mount.source) for mount in app.mounts] == [
        ("tmp_dir", "/t", ""),
        ("build_dir", "/b", ""),
        ("from_path", "/p", "~/cache"),
    ]
    assert app.needs() == ("other", "art")


def test_merge_keys_inside_a_document():
    app = image(
        "image: app\nfrom: a\ngit:\n- &m\n  to: /a\n  owner: x\n  excludePaths: &e [b]\n- <<: *m\n  to: /c\n"
        "- <<: [{group: g}, *m, {group: h}]\n  to: /d\n  includePaths: *e\n"
    )
    assert [(item.to, item.owner, item.group) for item in app.git] == [("/a", "x", ""), ("/c", "x", ""), ("/d", "x", "g")]
    assert app.git[2].paths == PathFilter(("b",), ("b",))


def test_a_name_that_is_merged_in_counts():
    project = parse(HEAD + "<<: {image: app, from: alpine}\nshell: {install: x}\n")
    assert [item.name for item in project.images] == ["app"]


def test_crlf_and_a_byte_order_mark_change_nothing():
    text = HEAD + "image: app\nfrom: a\nshell:\n  install: |\n    a\n    b\n"
    unix = parse(text)
    assert parse_project(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(), "werf.yaml") == unix


def test_cleanup_and_deploy_are_accepted():
    parse(
        "configVersion: 1\nproject: demo\n"
        "cleanup:\n  disable: false\n  disableKubernetesBasedPolicy: true\n  disableGitHistoryBasedPolicy: no\n"
        "  disableBuiltWithinLastNHoursPolicy: no\n  keepImagesBuiltWithinLastNHours: 4\n  keepPolicies:\n"
        "  - references: {tag: /.*/, limit: {last: 10, in: 1h30m, operator: Or}}\n"
        "    imagesPerReference: {last: -1, in: 168h, operator: And}\n  - references: {branch: main}\n"
        "deploy:\n  helmChartDir: .helm\n  helmChartConfig: {appVersion: 1.0}\n  helmRelease: '[[ project ]]'\n"
        "  helmReleaseSlug: true\n  namespace: a\n  namespaceSlug: false\nbuild: {staged: true}\n"
    )


def test_unsupported_directives_without_a_value_are_nothing():
    assert image("image: app\nfrom: a\nimageSpec:\nsecrets: ~\n").name == "app"


def test_a_cache_version_makes_a_stage_that_can_be_imported_from():
    text = "image: app\nfrom: a\nimport:\n- {image: o, add: /x, after: setup, stage: setup}\n---\nimage: o\nfrom: x\nshell: "
    assert image(text + "{cacheVersion: 1}\n").imports[0].from_stage == "setup"
    assert image(text + "{setupCacheVersion: 1}\n").imports[0].from_stage == "setup"


def test_starting_up_loads_no_yaml():
    import subprocess
    import sys

    code = (
        "import sys, conveyor.config, conveyor.config.reading, conveyor.config.selection, conveyor.config.graph\n"
        "sys.exit('yaml' in sys.modules or 'difflib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("image: lib\nfrom: alpine:3\nshell: {setup: make}\n", "it has `setup`"),
        ("image: lib\nfrom: alpine:3\nansible: {setup: [{command: a}], beforeSetupCacheVersion: 1}\n", "`beforeSetup`"),
        ("artifact: lib\nfrom: alpine:3\n", "remove `stage`: it has none to take from"),
        ("image: lib\ndockerfile: Dockerfile\n", "remove `stage`: it has none to take from"),
    ],
    ids=["shell", "ansible", "nothing", "dockerfile"],
)
def test_an_import_from_a_stage_that_is_not_there_takes_from_the_whole_image_and_says_so(source, hint):
    before = HEAD + source + "---\nimage: [app, other]\nfrom: alpine:3\nimport:\n"
    project = parse(before + "- {image: lib, stage: install, add: /out, after: setup}\n")
    assert [project.image(name).imports[0].from_stage for name in ("app", "other")] == [None, None]
    (warning,) = project.warnings
    assert warning.place == Place("werf.yaml", before.count("\n") + 1, 3)
    assert warning.message == 'image "lib" has no stage `install`: files are taken from the whole image'
    assert hint in warning.hint


def test_an_import_from_a_stage_that_a_cache_version_alone_makes():
    project = parse(
        HEAD + "image: lib\nfrom: alpine:3\nshell: {cacheVersion: 1}\n---\nimage: app\nfrom: alpine:3\n"
        "import: [{image: lib, stage: install, add: /out, after: setup}]\n"
    )
    assert project.image("app").imports[0].from_stage == "install"
    assert project.warnings == ()
