"""Projects whose werf.yaml is a template: built, confirmed where nothing has changed, and refused with all ways out."""

from __future__ import annotations

import pytest

from samples.make_base import busybox_archive, find_busybox
from tests.e2e.projects import Project
from tests.e2e.test_confirmed_builds import confirm

WERF_YAML = """\
configVersion: 1
project: NAME
{{- range $path, $text := .Files.Glob "images/*/image.yaml" }}
---
{{ include "image.tmpl" (tpl $text $) }}
{{- end }}
"""
FILES = {
    ".werf/image.tmpl": '{{ . }}\nfrom: BUSYBOX\nfromCacheVersion: \'{{ env "FLAVOUR" "plain" }}\'\n',
    "images/app/image.yaml": "image: app\ngit: [{add: /src, to: /app}]\nshell: {install: cat /app/a > /b}",
    "images/tool/image.yaml": "image: tool-{{ .Env }}\nshell: {install: 'echo {{ .Files.Get \"version\" | len }} > /v'}",
    "werf-giterminism.yaml": "giterminismConfigVersion: 1\n"
    "config: {goTemplateRendering: {allowEnvVariables: [FLAVOUR], allowUncommittedFiles: [local]}}\n",
    "version": "1.0",
    "src/a": "a\n",
    "other": "other\n",
}


@pytest.fixture
def project(tmp_path) -> Project:
    made = Project(
        tmp_path / "project", f"templates-{tmp_path.name.lower().replace('_', '-')}", "busybox:1", tmp_path / "home"
    )
    made.env.update({"CONVEYOR_ENGINE": "sandbox", "CONVEYOR_ENV": "test"})
    (tmp_path / "busybox.tar").write_bytes(busybox_archive(find_busybox()))
    assert made.conveyor("image", "import", "busybox:1", str(tmp_path / "busybox.tar")).status == 0
    for path, text in FILES.items():
        made.write(path, text.replace("BUSYBOX", made.base))
    made.configure(WERF_YAML)
    made.commit()
    return made


def test_a_project_of_templates(project):
    rendered = project.conveyor("config", "render")
    assert rendered.stdout.startswith(f"configVersion: 1\nproject: {project.name}\n---\nimage: app\n"), rendered.output
    assert "fromCacheVersion: 'plain'" in rendered.stdout
    assert project.conveyor("config", "render", "tool-test").stdout == (
        "image: tool-test\nshell: {install: 'echo 3 > /v'}\nfrom: busybox:1\nfromCacheVersion: 'plain'\n\n"
    )
    assert project.conveyor("config", "list").stdout == "app\ntool-test\n"
    built = project.build()
    assert set(built.built) == {"app", "tool-test"}
    assert project.build(env={"FLAVOUR": "sweet"}).built["app"][0] == "from"

    # Nothing to do is confirmed; what templates read is compared.
    asked = ("build", "--save-build-report")
    assert confirm(project, *asked) is None  # the last one was built with another FLAVOUR
    assert project.build().built == {}
    assert confirm(project, *asked) is not None
    assert confirm(project, *asked, env={"FLAVOUR": "sweet"}) is None
    assert confirm(project, *asked, env={"CONVEYOR_ENV": "production"}) is None
    project.write("other", "changed\n")
    assert confirm(project, *asked) is not None
    for path, text in ((".werf/new.tmpl", "x"), (".werf/image.tmpl", "x"), ("images/new/image.yaml", "x"), ("version", "x")):
        project.write(path, text)
        assert confirm(project, *asked) is None, path
        project.git("stash", "--quiet", "--include-untracked")
        assert confirm(project, *asked) is not None, path


def test_an_accepted_file_is_compared_as_it_is_on_the_disk(project):
    project.change("images/tool/image.yaml", "image: tool\nshell: {install: 'echo {{ .Files.Get \"local\" }} > /v'}")
    project.write("local", "one")
    assert "tool" in project.build().built
    assert confirm(project, "build", "--save-build-report") is not None
    project.write("local", "two")
    assert confirm(project, "build", "--save-build-report") is None
    assert project.build().built == {"tool": ["install"]}


def test_everything_that_is_refused_is_told_at_once(project):
    project.change("images/more/image.yaml", 'image: more{{ env "SECRET" }}{{ .Files.Get "new" }}')
    project.write("new", "x")
    project.configure(WERF_YAML + "\n")
    project.write(".werf/other.tmpl", "x")
    project.write("src/b", "x")
    failed = project.build(status=2, env={"SECRET": "s3cret"})
    said = failed.run.stderr
    assert "Error: 5 refusals" in said and "s3cret" not in said
    for part in (
        "images/more/image.yaml:1:15: the configuration with potential external dependency found in the werf config: "
        'env name "SECRET" not allowed by giterminism',
        'unable to read werf config: the file "werf.yaml" must be committed: it has changes',
        'unable to read werf config templates: the untracked file ".werf/other.tmpl" must be committed',
        "the following untracked files must be committed:\n  - new; used by .Files.Get in images/more/image.yaml:1:33\n"
        "  - src/b; used by image app (git.add: /src)\n",
        "--dev",
        "allowUncommittedTemplates:\n      - .werf/other.tmpl",
    ):
        assert part in said, said
    # In its own words the file allows it.
    added = "\n".join(line[4:] for line in said[said.index("    giterminismConfigVersion") :].splitlines())
    project.write("werf-giterminism.yaml", added.replace("- SECRET", "- SECRET\n    - FLAVOUR"))
    project.remove("src/b")
    project.git("add", "werf-giterminism.yaml")
    project.git("commit", "--quiet", "--message", "Allowed")
    assert "more3x\n" in project.conveyor("config", "list", env={"SECRET": "3"}).stdout


def test_a_mistake_of_the_rendered_text_names_its_line(project):
    project.change("images/app/image.yaml", "image: app\nshel: {}")
    failed = project.build(status=2)
    assert "werf.yaml (rendered):5:1: unknown fields: `shel`" in failed.run.stderr
    assert "conveyor config render" in failed.run.stderr
    shown = project.conveyor("config", "render")
    assert shown.status == 2 and shown.stdout.splitlines()[4] == "shel: {}"
