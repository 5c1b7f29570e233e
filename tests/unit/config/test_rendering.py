"""A werf.yaml that is a template, read at a commit: what it may read, and what a person is told of its mistakes."""

from __future__ import annotations

import pytest

from conveyor.cli.option_values import ProjectOptions
from conveyor.cli.projects import open_project
from conveyor.errors import ConfigError, GiterminismError
from tests.unit.config.giterminism.conftest import place as place
from tests.unit.gitrepo.conftest import own_settings as own_settings

HEAD = "configVersion: 1\nproject: demo\n---\n"


def options(place, **fields):
    given = {
        "dir": place.path,
        "config": "werf.yaml",
        "env": "",
        "dev": False,
        "loose_giterminism": False,
        "home_dir": place.path.parent / "home",
        "tmp_dir": None,
    }
    return ProjectOptions(**{**given, **fields})


def opened(place, **fields):
    project = open_project(options(place, **fields))
    project.repo.close()
    return project


def rendered(place, template: str, **fields) -> str:
    """What a template gives as the first line after a project document; everything is committed."""
    place.write("werf.yaml", f"{HEAD}# {template}\n")
    place.commit()
    return opened(place, **fields).content.decode().removeprefix(f"{HEAD}# ").removesuffix("\n")


def mistakes(place, template: str, **fields) -> str:
    with pytest.raises((ConfigError, GiterminismError)) as caught:
        rendered(place, template, **fields)
    return f"{caught.value}\n{caught.value.hint}"


def allow(place, *names):
    listed = "".join(f"    - {name}\n" for name in names)
    place.write(
        "werf-giterminism.yaml",
        f"giterminismConfigVersion: 1\nconfig:\n  goTemplateRendering:\n    allowEnvVariables:\n{listed}",
    )


def test_a_file_without_actions_loads_no_engine(place):
    import subprocess
    import sys

    place.write("werf.yaml", HEAD + "image: a\nfrom: scratch\n")
    place.commit()
    program = (
        "import sys; from conveyor.cli.commands import run\n"
        "sys.argv = ['conveyor', 'config', 'render']\n"
        "try: run()\nexcept SystemExit: pass\n"
        "print([name for name in sys.modules if 'template' in name or 'rendering' in name or name == 're2'])"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=place.path, capture_output=True, text=True)
    assert ran.stdout == HEAD + "image: a\nfrom: scratch\n[]\n", ran.stderr


def test_what_the_root_holds(place):
    place.write("files/a", "A")
    place.write("files/deep/b", "B")
    place.write("werf.yaml", HEAD + "# {{ .Env }} {{ .Commit.Hash }} {{ .Commit.Date.Human }} {{ .Commit.Date.Unix }}\n")
    place.git("add", "--all")
    place.git("commit", "--quiet", "-m", "x", GIT_COMMITTER_DATE="1700000000 +0330", GIT_AUTHOR_DATE="1600000000 +0000")
    said = opened(place, env="prod").content.decode().splitlines()[3]
    assert said == f"# prod {place.head()} 2023-11-15 01:43:20 +0330 +0330 1700000000"
    assert rendered(place, '{{ .Files.Get "files/a" }}{{ .Files.Get "./files/a" }}{{ .Files.Get "/files/a" }}') == "AAA"
    assert rendered(place, '{{ .Files.Exists "files/a" }} {{ .Files.Exists "none" }} {{ .Files.IsDir "files" }}') == (
        "true false true"
    )
    assert rendered(place, '{{ range $p, $t := .Files.Glob "files/**/*" }}{{ $p }}={{ $t }} {{ end }}') == (
        "files/a=A files/deep/b=B "
    )


def test_templates_of_the_directory(place):
    place.write(".werf/a/b.tmpl", '{{ define "x" }}<{{ . }}>{{ end }}file')
    place.write(".werf/values.tmpl.yaml", "{{ this is no template }}")
    place.write("other/c.tmpl", "other")
    assert rendered(place, '{{ include "a/b.tmpl" . }} {{ include "x" 1 }}') == "file <1>"
    assert rendered(place, '{{ include "c.tmpl" . }}', config_templates_dir="other") == "other"
    place.write(".werf/broken.tmpl", "one\n{{ nosuch }}")
    assert '.werf/broken.tmpl:2: template: broken.tmpl:2: function "nosuch" not defined' in mistakes(place, "{{ 1 }}")
    place.write(".werf/broken.tmpl", "")
    place.commit()
    place.write(".werf/new.tmpl", "")
    with pytest.raises(
        GiterminismError, match=r'unable to read werf config templates: the untracked file "\.werf/new\.tmpl"'
    ):
        opened(place)
    assert opened(place, loose_giterminism=True).content
    assert opened(place, dev=True).content


# -- the environment


def test_variables_need_a_permission(place, monkeypatch):
    monkeypatch.setenv("GIVEN", "value")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("XCI_A", "value")
    monkeypatch.delenv("UNSET", raising=False)
    said = mistakes(place, '{{ env "GIVEN" }}{{ env "UNSET" "d" }}{{ $n := "EMPTY" }}{{ env $n }}')
    assert (
        'werf.yaml:4:6: the configuration with potential external dependency found in the werf config: env name "GIVEN"'
        in said
    )
    assert "werf.yaml:4:23: " in said and 'env name "UNSET" not allowed by giterminism' in said  # a default is no way out
    assert "werf.yaml:4:63: " in said and 'env name "EMPTY" not allowed by giterminism' in said
    assert "    allowEnvVariables:\n        - EMPTY\n        - GIVEN\n        - UNSET" in said

    allow(place, "GIVEN", "EMPTY", "UNSET", "/CI_.+/")
    assert (
        rendered(place, '{{ env "GIVEN" }} {{ env "GIVEN" "d" }} {{ env "EMPTY" }} {{ env "EMPTY" "d" }}')
        == "value value  d"
    )
    assert rendered(place, '{{ env "UNSET" "d" }}') == "d"
    assert 'the environment variable "UNSET" must be set or default must be provided' in mistakes(place, '{{ env "UNSET" }}')
    assert 'env name "XCI_A" not allowed' in mistakes(place, '{{ env "XCI_A" }}')  # anchored
    assert rendered(place, '{{ env "XCI_A" }}{{ env "UNSET" }}', loose_giterminism=True) == "value"


def test_what_is_refused_has_the_place_of_the_action_that_runs(place):
    place.write(".werf/a.tmpl", '{{ define "deep" }}\n  {{ get (dict "a" (env (print "DE" "EP"))) "a" }}{{ end }}')
    place.write("part", "one\n {{ env .Name }}")
    place.write("data", "text")
    template = """{{ include "deep" . }}
{{ $_ := set . "Name" "PART" }}{{ tpl (.Files.Get "part") . }}
{{ tpl (printf "{{ env %q }}" "MADE") . }}
{{ $files := .Files }}{{ range list "da" }}{{ $files.Get (print . "ta") }}{{ end }}{{ .Files.Glob (print "da" "ta") }}"""
    place.write("werf.yaml", HEAD + template)
    place.commit()
    place.write("data", "changed")
    with pytest.raises(GiterminismError) as caught:
        opened(place)
    said = str(caught.value)
    for where, name in [(".werf/a.tmpl:2:21", "DEEP"), ("part:2:5", "PART"), ("werf.yaml:6:4", "MADE")]:
        dependency = f'the configuration with potential external dependency found in the werf config: env name "{name}"'
        assert f"{where}: {dependency}" in said
    assert ".Files.Get in werf.yaml:7:47" in said


def test_what_was_read_is_known(place, monkeypatch):
    monkeypatch.setenv("A", "1")
    monkeypatch.delenv("B", raising=False)
    allow(place, "A", "B")
    place.write("werf.yaml", HEAD + '# {{ env "A" }}{{ env "B" "" }}{{ .Files.Exists "x/y" }}{{ .Files.Glob "z/*" }}\n')
    place.commit()
    project = opened(place)
    assert project.variables == {"A": "1", "B": None}
    assert project.files.used == {
        *(b"werf.yaml", b"werf-giterminism.yaml", b"werf-includes.yaml", b".werf", b"x/y", b"z"),
    }


# -- mistakes


@pytest.mark.parametrize(
    ("template", "what"),
    [
        (
            '{{ .Files.Get "none" }}',
            'error calling Get: {{ .Files.Get "none" }}: the file "none" not found in the project git',
        ),
        ('{{ .Files.Get "../x" }}', 'the file "../x" not found in the project git repository'),
        ('{{ include "nome" . }}', 'no template "nome"'),
        ("{{ if }}", "werf.yaml:4: template: werfConfig:4: missing value for if"),
        ('{{ define "x" }}{{ include "x" . }}{{ end }}{{ include "x" . }}', "100 deep"),
        ("{{ range until 9999 }}{{ range until 9999 }}{{ end }}{{ end }}", "steps"),
        ('{{ tpl (.Files.Get "deep") . }}', "deep:2: template: werfConfig:4:5: "),
        ('{{ fail "told" }}', "error calling fail: told"),
        ("{{ uuidv4 }}", "uuidv4 is not allowed by giterminism"),
        ("{{ range $i := until 30000 }}{{ $.Files.Exists (print $i) }}{{ end }}", "more than 20000 files"),
        ("{{ range $i := until 1600 }}{{ $.Files.Glob (print $i) }}{{ end }}", "more than 1000 globs"),
    ],
)
def test_a_template_that_fails_names_its_place(place, template, what):
    place.write("deep", "\n{{ nosuch }}")
    said = mistakes(place, template)
    assert what in said
    assert "werf.yaml:4" in said or "deep:2" in said


def test_who_has_much_to_read_may_take_more_steps(place):
    turns = "{{ range until 1450 }}{{ range until 1450 }}{{ end }}{{ end }}done"
    assert "the templates took more than 10000000 steps" in mistakes(place, turns)
    place.write("large", "x" * 3_000_000)
    assert rendered(place, '{{ len (.Files.Get "large") }}' + turns) == "3000000done"


def test_what_templates_read_is_bounded(place, monkeypatch):
    from conveyor.config import rendering

    for name in "abc":
        place.write(f"files/{name}", "0123456789")
    monkeypatch.setattr(rendering, "MAX_BYTES", 30)
    monkeypatch.setattr(rendering, "MAX_PATHS", 5)
    # The same files again cost nothing.
    three = '{{ len (.Files.Glob "files/*") }}'
    assert (
        rendered(place, three + three + '{{ .Files.Get "files/a" }}{{ .Files.Get "/files/a" }}') == "33" + "0123456789" * 2
    )
    place.write("files/d", "x")
    assert "the templates read more than 30 bytes of files" in mistakes(place, three)
    questions = "".join(f'{{{{ .Files.Exists "x{number}" }}}}' for number in (1, 1, 2, 3, 4, 5, 6))
    assert "the templates ask for more than 5 files" in mistakes(place, questions)


def test_templates_are_bounded(place):
    place.write(".werf/many.tmpl", "{{1}}" * 50_000)
    assert "werf.yaml: the templates have 50001 actions" in mistakes(place, "{{ 1 }}")


def test_a_mistake_of_the_rendered_text_tells_what_wrote_it(place):
    place.write(".werf/x.tmpl", "image: a\nshel: {{ .v }}\n")
    place.write(
        "werf.yaml", HEAD + '{{ include "x.tmpl" (dict "v" "{}") }}\n---\n{{ range until 2 }}\nimage: b\n{{ end }}\n'
    )
    place.commit()
    with pytest.raises(ConfigError) as caught:
        opened(place)
    said = str(caught.value)
    assert "werf.yaml (rendered):5:1: unknown fields: `shel`" in said
    assert "the line is `shel: {}`; it comes from .werf/x.tmpl:2:1" in said
    assert "werf.yaml (rendered):11:1: duplicate key `image`" in said
    assert "the line is `image: b`; it comes from werf.yaml:7:1; the first one is in line 9" in said
    assert "conveyor config render" in caught.value.hint


def test_refusals_come_with_the_mistakes_beside_them(place):
    said = mistakes(place, '{{ env "A" }}\nimages: a')
    assert 'env name "A" not allowed by giterminism' in said
    assert "werf.yaml (rendered):5:1: cannot recognize type of config section" in said
    said = mistakes(place, '{{ env "A" }}{{ required "needed" "" }}')
    assert 'env name "A" not allowed by giterminism' in said and "error calling required: needed" in said


# -- where the repository is


def test_the_names_of_files_are_options(place):
    place.write("sub/conf/my.yaml", HEAD + '# {{ env "A" "a" }}\n')
    place.write("sub/perms.yaml", "giterminismConfigVersion: 1\nconfig: {goTemplateRendering: {allowEnvVariables: [A]}}\n")
    place.commit()
    given = {"dir": place.path / "sub", "config": "conf/my.yaml", "giterminism_config": "perms.yaml"}
    assert opened(place, **given, git_work_tree=place.path).project.file == "sub/conf/my.yaml"
    with pytest.raises(Exception, match='--giterminism-config: the file "none" not found in the project git repository'):
        opened(place, **{**given, "giterminism_config": "none"})


def test_a_linked_configuration(place):
    place.write("conf/real.yaml", HEAD)
    (place.path / "werf.yaml").symlink_to("conf/real.yaml")
    place.commit()
    assert opened(place).project.name == "demo"
    place.write("conf/real.yaml", HEAD + "\n")
    with pytest.raises(GiterminismError, match=r'the file "conf/real\.yaml" must be committed'):
        opened(place)
    assert opened(place, loose_giterminism=True).content.endswith(b"\n\n")


def test_an_accepted_configuration(place):
    place.write("werf-giterminism.yaml", "giterminismConfigVersion: 1\nconfig: {allowUncommitted: true}\n")
    place.write("werf.yaml", HEAD)
    place.commit()
    place.write("werf.yaml", HEAD.replace("demo", "other"))
    assert opened(place).project.name == "other"
    place.write("werf-giterminism.yaml", "giterminismConfigVersion: 1\nconfig: {allowUncommitted: true}\n\n")
    with pytest.raises(
        GiterminismError, match=r'unable to read werf giterminism config: the file "werf-giterminism\.yaml" must'
    ):
        opened(place)


def test_keys_that_have_no_effect_are_told(place, capsys):
    place.write("werf-giterminism.yaml", "giterminismConfigVersion: 1\nconfg: {}\n")
    place.write("werf.yaml", HEAD)
    place.commit()
    assert opened(place).warnings
    assert "Warning: werf-giterminism.yaml:2:1: unknown fields: `confg` has no effect" in capsys.readouterr().err


def test_warnings_of_a_rendered_text_name_what_wrote_the_line(place):
    place.write(
        "werf.yaml",
        f"{HEAD}image: lib\nfrom: scratch\n---\nimage: app\nfrom: scratch\n"
        'import:\n{{ range list "install" }}- {image: lib, stage: {{ . }}, add: /out, after: setup}\n{{ end }}',
    )
    place.commit()
    (warning,) = opened(place).warnings
    assert str(warning).startswith("werf.yaml (rendered):10:3: ")
    assert "has no stage `install`" in warning.message
    assert "the line is `- {image: lib, stage: install" in warning.hint
    assert "it comes from werf.yaml:10:" in warning.hint
