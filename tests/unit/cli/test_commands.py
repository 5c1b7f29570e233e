"""The command line as a stranger meets it: help, misspelt words, completion, errors that hold a terminal's sequences."""

import subprocess
import sys

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from conveyor import __version__
from conveyor.cli.commands import conveyor, run


def invoke(*args):
    result = CliRunner().invoke(conveyor, args, prog_name="conveyor")
    return result.exit_code, result.output


def test_help_tells_of_every_command_in_whole_sentences():
    status, output = invoke("--help")
    assert status == 0
    listed = output.partition("Commands:")[2]
    for name in conveyor.list_commands(None):
        assert f"\n  {name} " in listed
    assert "..." not in listed


def test_the_version():
    assert invoke("--version") == (0, f"{__version__}\n")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["bild"], "No such command 'bild'. Did you mean 'build'?"),
        (["config", "lst"], "No such command 'lst'. Did you mean 'list'?"),
        (["converge"], "conveyor builds images, and does not deploy them"),
        (["render"], "Did you mean 'conveyor config render'?"),
        (["help"], "conveyor COMMAND --help"),
        (["config", "zzz"], "No such command 'zzz'.\n"),
        (["build", "--repositry", "x"], "--repositry"),
        (["\x1b[31mred"], r"No such command '\x1b[31mred'"),
    ],
)
def test_a_word_that_is_none_is_answered_with_the_nearest(args, said):
    status, output = invoke(*args)
    assert status == 2
    assert said in output


def complete(*words):
    *before, last = words
    return [item.value for item in BashComplete(conveyor, {}, "conveyor", "_X").get_completions(list(before), last)]


@pytest.fixture
def project(tmp_path, monkeypatch):
    text = (
        "configVersion: 1\nproject: demo\n---\nimage: web\nfrom: a\n---\nimage: worker\nfrom: a\n---\nimage: api\nfrom: a\n"
    )
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    commit(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commit(directory, text):
    (directory / "werf.yaml").write_text(text)
    for command in (["add", "."], ["commit", "-qm", "change"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *command], cwd=directory, check=True)


def test_completion_offers_commands_flags_images_and_fields(project):
    assert complete("conf") == ["config"]
    assert complete("build", "--fail") == ["--fail-fast"]
    assert complete("build", "w") == ["web", "worker"]
    assert complete("config", "graph", "a") == ["api"]
    assert complete("config", "explain", "image.git.ex") == ["image.git.excludePaths"]
    assert "image.git" in complete("config", "explain", "im")


def test_completion_is_silent_where_the_configuration_cannot_be_read(project, capfd):
    commit(project, "image: [\n")
    assert complete("build", "w") == []
    assert complete("build", "--dir", "/nowhere", "w") == []
    assert capfd.readouterr() == ("", "")


def test_lint_fails_where_it_was_asked_to_and_where_a_build_would(project):
    assert invoke("config", "lint") == (0, "")
    commit(project, "configVersion: 1\nproject: demo\n---\nartifact: a\nfrom: b\ngit: [{add: /nothing, to: /x}]\n")
    status, output = invoke("config", "lint")
    assert status == 0
    assert "werf.yaml:4:1: warning: `artifact` is deprecated [deprecated]" in output
    assert "werf.yaml:6:8: warning: `git.add: /nothing`" in output
    assert invoke("config", "lint", "--strict")[0] == 2
    (project / "werf-giterminism.yaml").write_text(
        "giterminismConfigVersion: 1\nconfig: {stapel: {allowFromLatests: true}}\n"
    )
    commit(project, "configVersion: 1\nproject: demo\n")
    status, output = invoke("config", "lint")
    assert status == 0
    assert output.startswith("werf-giterminism.yaml:2:19: warning: unknown fields: `config.stapel.allowFromLatests`")
    assert "Warning" not in output
    commit(project, "configVersion: 1\nproject: demo\n---\nimage: a\nfrm: b\n")
    status, output = invoke("config", "lint", "--format", "github")
    assert status == 2
    assert "::error file=werf.yaml,title=conveyor%3A mistake,line=5,col=1::unknown fields: `frm`" in output


def test_lint_reads_dockerfiles(project):
    commit(project, "configVersion: 1\nproject: demo\n---\nimage: a\ncontext: sub\ndockerfile: D\nargs: {PROT: 80}\n")
    status, output = invoke("config", "lint")
    assert status == 2
    assert "werf.yaml:4:1: error: `dockerfile: D`: there is no file sub/D at this commit" in output
    (project / "sub").mkdir()
    (project / "sub/D").write_text("FROM scratch\nARG PORT\n")
    commit(project, (project / "werf.yaml").read_text())
    status, output = invoke("config", "lint")
    assert status == 0
    assert "werf.yaml:7:8: warning: the argument `PROT` has no effect" in output
    assert "did you mean `PORT`?" in output
    (project / "sub/D").write_text("FROM scratch\nRUNN x\n")
    assert invoke("config", "lint")[0] == 1  # it is not as the commit has it
    commit(project, (project / "werf.yaml").read_text())
    status, output = invoke("config", "lint")
    assert status == 2
    assert "sub/D:2:1: error: unknown instruction: RUNN" in output


def test_lint_of_a_template_tells_what_changes_with_the_commit(project):
    text = "configVersion: 1\nproject: demo\n---\nimage: a\nfrom: b\nshell:\n"
    commit(project, text + "  install: echo {{ .Commit.Hash }}\n  setup: echo {{ .Commit.Date.Unix }}\n")
    status, output = invoke("config", "lint")
    assert status == 0
    assert output.count("[volatile]") == 1
    assert "werf.yaml (rendered):7:12: warning: `shell.install` changes with the commit" in output
    assert "the line is `install: echo " in output
    status, output = invoke("config", "lint", "--format", "gitlab")
    assert '"path": "werf.yaml"' in output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell):
    status, output = invoke("completion", shell)
    assert status == 0
    assert "_CONVEYOR_COMPLETE" in output


def test_no_error_puts_a_sequence_of_a_terminal_or_a_line_of_its_own_on_the_terminal(project, monkeypatch, capsys):
    text = 'configVersion: 1\nproject: "a\\e[2J\\nError: forged"\n---\nimage: app\nfrom: "b\\e]0;x\\a"\nnetworc: 1\n'
    (project / "werf.yaml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["conveyor", "config", "list", "--loose-giterminism"])
    assert run() == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said and "\x07" not in said and "\nError: forged" not in said
    assert r"\x1b[2J\nError: forged" in said
    monkeypatch.setattr(sys, "argv", ["conveyor", "config", "list", "--config", "a\x1b[2Jb"])
    assert run() == 2
    assert "\x1b" not in capsys.readouterr().err
