from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from conveyor.cli.command import Command, Group
from conveyor.cli.flags import values_of_environment
from conveyor.cli.option_values import BuildOptions, Introspection
from conveyor.cli.options import build_options, log_options, parse_introspection, project_options, storage_options


@pytest.fixture
def run():
    """Parse a command line; gives the values that the command got."""
    got = {}

    @click.group(cls=Group)
    def main():
        pass

    @main.command("build")
    @click.argument("images", nargs=-1)
    @project_options
    @storage_options
    @build_options
    @log_options
    def build(**values):
        got.update(values)

    assert isinstance(build, Command)

    def parse(*args, **env):
        got.clear()
        result = CliRunner().invoke(main, ["build", *args], env=env)
        return got if result.exit_code == 0 else (result.exit_code, result.output)

    return parse


def test_defaults(run):
    got = run()
    assert got["project"].dir == Path()
    assert got["project"].config == "werf.yaml"
    assert got["project"].home_dir == Path("~/.conveyor").expanduser()
    assert got["project"].tmp_dir is None
    assert got["storage"].repo == ""
    assert got["storage"].lock_timeout_s == 60
    assert got["storage"].docker_config is None
    assert got["build"] == BuildOptions(
        limit=5,
        require_built_images=False,
        platform="",
        ancestry="strict",
        virtual_merge=False,
        introspect_error=False,
        introspect_before_error=False,
        introspect_stages=(),
        fail_fast=False,
        report_path=None,
        custom_tags=(),
    )
    assert (got["log"].quiet, got["log"].color_mode, got["log"].format) == (False, "auto", "auto")


def test_the_flag_wins_over_its_twin_and_an_empty_twin_is_none(run):
    assert run(CONVEYOR_REPO="a.example/x")["storage"].repo == "a.example/x"
    assert run("--repo", "b.example/x", CONVEYOR_REPO="a.example/x")["storage"].repo == "b.example/x"
    assert run(CONVEYOR_PARALLEL_TASKS_LIMIT="")["build"].limit == 5


def test_second_twins(run):
    assert run(CONVEYOR_HOME="/h")["project"].home_dir == Path("/h")
    assert run(CONVEYOR_HOME="/h", CONVEYOR_HOME_DIR="/d")["project"].home_dir == Path("/d")
    assert run(DOCKER_CONFIG="/c")["storage"].docker_config == Path("/c")
    assert run(DOCKER_DEFAULT_PLATFORM="linux/arm64")["build"].platform == "linux/arm64"


@pytest.mark.parametrize(("text", "value"), [("1", True), ("true", True), ("YES", True), ("0", False), ("no", False)])
def test_booleans_of_the_environment(run, text, value):
    assert run(CONVEYOR_DEV=text)["project"].dev is value
    assert run(CONVEYOR_PARALLEL=text)["build"].limit == (5 if value else 1)


def test_a_boolean_that_is_none_is_refused_with_its_name(run):
    status, output = run(CONVEYOR_REQUIRE_BUILT_IMAGES="enabled")
    assert status == 2
    assert "require-built-images" in output


def test_a_command_line_takes_back_what_the_environment_says(run):
    assert run("--no-dev", CONVEYOR_DEV="1")["project"].dev is False
    assert run("--dev=false", CONVEYOR_DEV="1")["project"].dev is False
    assert run("--dev=true")["project"].dev is True
    assert run("--no-dev=false")["project"].dev is True
    assert run("--parallel=0")["build"].limit == 1
    assert run("--", "--dev=true")["images"] == ("--dev=true",)
    status, output = run("--dev=perhaps")
    assert status == 2
    assert "--dev" in output


@pytest.mark.parametrize(
    ("args", "limit"),
    [
        (["-p"], 5),
        (["--no-parallel"], 1),
        (["--parallel-tasks-limit", "3"], 3),
        (["--parallel-tasks-limit", "0"], 0),
        (["--parallel-tasks-limit=-1"], 0),
        (["--no-parallel", "--parallel-tasks-limit=-1"], 1),
        (["--introspect-error"], 1),
        (["--introspect-stage", "install"], 1),
    ],
)
def test_limit(run, args, limit):
    assert run(*args)["build"].limit == limit


def test_lists_of_the_environment_come_first_sorted_by_name(run):
    got = run(
        "--secondary-repo",
        "flag",
        CONVEYOR_SECONDARY_REPO_B="b",
        CONVEYOR_SECONDARY_REPO_A="a",
        CONVEYOR_SECONDARY_REPO_C="",
        CONVEYOR_SECONDARY_REPO="plain",
        CONVEYOR_SECONDARY_REPOSITORY="other",
    )
    assert got["storage"].secondary_repos == ("plain", "a", "b", "flag")


def test_values_of_environment_takes_no_longer_name():
    assert values_of_environment({"X_KEY": "1", "X_KEYS": "2", "X_KEY_1": "3"}, "X_KEY") == ("1", "3")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("install", Introspection(None, "install")),
        ("*/install", Introspection(None, "install")),
        ("~/install", Introspection("", "install")),
        ("web/api/install", Introspection("web/api", "install")),
    ],
)
def test_introspection(run, text, expected):
    assert parse_introspection(text) == expected
    assert run("--introspect-stage", text)["build"].introspect_stages == (expected,)


@pytest.mark.parametrize("text", ["", "/", "web/", "/install"])
def test_introspection_of_nothing(run, text):
    with pytest.raises(ValueError, match="IMAGE/STAGE"):
        parse_introspection(text)
    assert run("--introspect-stage", text)[0] == 2


@pytest.mark.parametrize(
    ("args", "env", "path"),
    [
        ([], {}, None),
        (["--save-build-report"], {}, ".conveyor-build-report.json"),
        ([], {"CONVEYOR_SAVE_BUILD_REPORT": "1", "CONVEYOR_BUILD_REPORT_PATH": "r.env"}, "r.env"),
        ([], {"CONVEYOR_BUILD_REPORT_PATH": "r.env"}, None),
        (["--build-report-path", "r"], {}, "r"),
        (["--build-report-path", "r", "--no-save-build-report"], {}, None),
    ],
)
def test_report_path(run, args, env, path):
    assert run(*args, **env)["build"].report_path == (Path(path) if path else None)


def test_a_report_path_of_another_kind_is_refused_at_once(run):
    status, output = run("--save-build-report", "--build-report-path", "r.yaml")
    assert status == 2
    assert "--build-report-path" in output
    assert ".yaml" in output


@pytest.mark.parametrize(("text", "seconds"), [("60", 60), ("0", 0), ("1.5", 1.5), ("30s", 30)])
def test_lock_timeout(run, text, seconds):
    assert run("--lock-timeout", text)["storage"].lock_timeout_s == seconds


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "soon", ""])
def test_lock_timeout_that_is_none(run, text):
    assert run(f"--lock-timeout={text}")[0] == 2


def test_levels(run):
    assert run("--log-debug", CONVEYOR_LOG_QUIET="1")["log"].quiet is False
    assert run("--log-quiet", CONVEYOR_LOG_DEBUG="1")["log"].quiet is True
    got = run("--log-verbose", "--log-debug")["log"]
    assert (got.quiet, got.verbose, got.debug) == (False, False, True)
    assert run("--log-quiet", "--log-verbose")[0] == 2


@pytest.mark.parametrize(
    "args", [["--ancestry", "loose"], ["--log-format", "xml"], ["--devv"], ["--parallel-tasks-limit", "x"]]
)
def test_usage_errors_exit_2(run, args):
    status, output = run(*args)
    assert status == 2
    assert "Error:" in output


def test_an_unknown_flag_names_the_nearest(run):
    assert "--fail-fast" in run("--fail-fats")[1]


def test_home_is_expanded_where_the_shell_does_not(run):
    assert run("--home-dir=~/x")["project"].home_dir == Path("~/x").expanduser()
