"""The cases that every reimplementation must get right, by their numbers in the description of the rules, a test each.

Cases 4 and 4b are about contexts of Dockerfiles, and stand with them.
"""

from __future__ import annotations

import pytest

from conveyor.build.preflight import check_uncommitted
from conveyor.cli.option_values import ProjectOptions
from conveyor.cli.projects import open_project
from conveyor.errors import ConveyorError

WERF_YAML = (
    "configVersion: 1\nproject: demo\n---\nimage: app\nfrom: scratch\ngit: [{add: /src, to: /app, excludePaths: '*.md'}]\n"
)


@pytest.fixture
def project(place):
    place.write("werf.yaml", WERF_YAML)
    place.write("src/a")
    place.write("src/notes.md")
    place.write("README")
    place.commit()
    return place


def refused(place) -> str:
    """What a build is refused before it begins; "" where it is not."""
    options = ProjectOptions(place.path, "werf.yaml", "", False, False, place.path.parent / "home", None)
    try:
        opened = open_project(options, builds=True)
        try:
            check_uncommitted(opened.project.images, opened.repo, opened.prefix, (), opened.refusals)
            opened.refusals.raise_any()
        finally:
            opened.repo.close()
    except ConveyorError as error:
        return f"{error}\n{error.hint}"
    return ""


def test_a_clean_project_is_not_refused(project):
    assert refused(project) == ""


def test_case_1_modified_configuration(project):
    project.write("werf.yaml", WERF_YAML + " \n")
    said = refused(project)
    assert 'unable to read werf config: the file "werf.yaml" must be committed' in said
    assert "allowUncommitted: true" in said and "git add and git commit" in said and "--dev" in said


def test_templates_are_read_where_the_configuration_uses_none(project):
    project.write(".werf/a.tmpl", '{{ define "a" }}{{ nothing }}{{ end }}')
    project.commit()
    assert 'template: a.tmpl:1: function "nothing" not defined' in refused(project)
    project.write(".werf/a.tmpl", '{{ define "a" }}{{ end }}')
    project.commit()
    assert refused(project) == ""
    project.write(".werf/b.tmpl")
    assert 'the untracked file ".werf/b.tmpl" must be committed' in refused(project)


def test_case_2_modified_file_that_nothing_uses(project):
    project.write("README", "changed\n")
    project.write("src/notes.md", "changed\n")
    project.write("new", "untracked\n")
    assert refused(project) == ""


def test_case_3_untracked_file_in_a_mapping(project):
    project.write("src/new")
    assert 'the untracked file "src/new" must be committed' in refused(project)
    project.write(".gitignore", "new\n")
    project.git("add", ".gitignore")
    project.git("commit", "--quiet", "-m", "ignored")
    assert refused(project) == ""


def test_case_5_an_untracked_file_does_not_exist(project):
    project.write("werf.yaml", WERF_YAML + '# {{ if .Files.Exists "new" }}{{ fail "it is there" }}{{ end }}\n')
    project.commit()
    project.write("new")
    assert refused(project) == ""


def test_case_6_linked_configuration(project):
    project.git("mv", "werf.yaml", "conf.yaml")
    (project.path / "werf.yaml").symlink_to("conf.yaml")
    project.commit()
    assert refused(project) == ""


def test_case_7_a_link_out_of_the_repository(project, tmp_path):
    (tmp_path / "outside.yaml").write_text(WERF_YAML)
    (project.path / "werf.yaml").unlink()
    (project.path / "werf.yaml").symlink_to("../outside.yaml")
    project.commit()
    assert "no configuration at commit" in refused(project)


def test_case_8_a_change_of_mode_is_a_change(project):
    (project.path / "src/a").chmod(0o755)
    assert 'the file "src/a" must be committed: it has changes' in refused(project)


def test_case_9_a_default_is_no_permission(project):
    project.write("werf.yaml", WERF_YAML + '# {{ env "X" "d" }}\n')
    project.commit()
    assert (
        'werf.yaml:7:6: the configuration with potential external dependency found in the werf config: env name "X" not'
        in (refused(project))
    )


def test_case_10_expressions_are_anchored(project):
    project.write("werf.yaml", WERF_YAML + '# {{ env "XCI_A" "" }}{{ env "CI_A" "" }}\n')
    project.write(
        "werf-giterminism.yaml",
        "giterminismConfigVersion: 1\nconfig: {goTemplateRendering: {allowEnvVariables: [/CI_.+/]}}\n",
    )
    project.commit()
    said = refused(project)
    assert 'env name "XCI_A" not allowed by giterminism' in said and 'env name "CI_A"' not in said


def test_case_11_line_ends_that_git_converts(project):
    project.git("config", "core.autocrlf", "true")
    for path in ("werf.yaml", "src/a"):
        (project.path / path).unlink()
    project.git("checkout", ".")
    assert b"\r\n" in (project.path / "werf.yaml").read_bytes()
    assert refused(project) == ""


def test_case_12_no_commits_and_no_repository(place, tmp_path):
    place.write("werf.yaml", WERF_YAML)
    assert "has no commits" in refused(place)
    assert "--git-work-tree" in refused(place)
    elsewhere = type(place)(tmp_path / "elsewhere")
    elsewhere.write("werf.yaml", WERF_YAML)
    said = refused(elsewhere)
    assert "is not in a git repository" in said and "--git-work-tree" in said
