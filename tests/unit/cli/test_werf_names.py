"""Variables by their names in werf."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from conveyor.cli.command import Group
from conveyor.cli.options import build_options, log_options, project_options, storage_options
from conveyor.cli.werf_names import told


@pytest.fixture
def run():
    """Parse a command line under an environment; gives the values that the command got, and what it said on stderr."""
    got = {}

    @click.group(cls=Group)
    def main():
        pass

    @main.command("build")
    @click.option("--final-images-only", is_flag=True, envvar="CONVEYOR_FINAL_IMAGES_ONLY")
    @project_options
    @storage_options
    @build_options
    @log_options
    @click.pass_context
    def build(ctx, /, **values):
        got.update(values, told=told(ctx))

    def parse(*args, **env):
        got.clear()
        result = CliRunner().invoke(main, ["build", *args], env=env)
        assert (result.exit_code == 0) == bool(got), result.output
        return got, result.stderr

    return parse


def test_a_variable_of_werf_stands_in_for_ours(run):
    got, said = run(WERF_REPO="r.example/x", WERF_ENV="stage", WERF_DEV="true", WERF_FINAL_IMAGES_ONLY="1")
    assert (got["storage"].repo, got["project"].env, got["project"].dev) == ("r.example/x", "stage", True)
    assert got["final_images_only"] is True
    assert said.count("\n") == 1
    assert "read WERF_DEV, WERF_ENV, WERF_FINAL_IMAGES_ONLY, WERF_REPO (" in said
    assert got["told"] == said


def test_ours_and_the_flag_win(run):
    got, said = run(WERF_REPO="r.example/x", CONVEYOR_REPO="r.example/y", WERF_ENV="a")
    assert got["storage"].repo == "r.example/y" and "read WERF_ENV (" in said
    got, said = run("--env", "b", WERF_ENV="a")
    assert (got["project"].env, said) == ("b", "")
    got, said = run(WERF_ENV="a", CONVEYOR_ENV="")
    assert got["project"].env == "a"
    got, said = run(WERF_ENV="", WERF_NAMESPACE="n", WERF_SET_1="a=b")
    assert (got["project"].env, said) == ("", "")


def test_those_of_others_come_after_werfs(run):
    got, _ = run(
        WERF_PLATFORM="linux/amd64", DOCKER_DEFAULT_PLATFORM="linux/arm64", WERF_DOCKER_CONFIG="/a", DOCKER_CONFIG="/b"
    )
    assert "linux/amd64" in got["build"].platform and "linux/arm64" not in got["build"].platform
    assert got["storage"].docker_config == Path("/a")


def test_lists_are_read_by_their_prefix_in_the_order_of_their_lines_and_before_the_flags(run):
    variables = {"WERF_ADD_CUSTOM_TAG_2": "b", "WERF_ADD_CUSTOM_TAG_10": "c", "WERF_ADD_CUSTOM_TAG_1": "a"}
    got, said = run("--add-custom-tag", "d", **variables)
    # `_10=` stands before `_1=` and `_2=`: werf sorts lines, not names.
    assert got["build"].custom_tags == ("c", "a", "b", "d")
    assert all(name in said for name in variables)
    got, said = run(WERF_ADD_CUSTOM_TAG="a")
    assert (got["build"].custom_tags, said) == ((), "")
    got, said = run(WERF_ADD_CUSTOM_TAG_1="a", CONVEYOR_ADD_CUSTOM_TAG_X="x")
    assert (got["build"].custom_tags, said) == (("x",), "")


@pytest.mark.parametrize(
    ("text", "dev", "limit"), [("1", True, 5), ("YES", True, 5), ("0", False, 1), ("no", False, 1), ("enabled", False, 5)]
)
def test_booleans_have_werfs_meaning(run, text, dev, limit):
    got, _ = run(WERF_DEV=text, WERF_PARALLEL=text)
    assert (got["project"].dev, got["build"].limit) == (dev, limit)


def test_the_home_is_a_directory_in_that_of_werf(run):
    assert run(WERF_HOME="/cache/werf")[0]["project"].home_dir == Path("/cache/werf/conveyor")
    assert run(WERF_HOME="/cache/werf", CONVEYOR_HOME="/h")[0]["project"].home_dir == Path("/h")


def test_a_lock_server_of_werf_is_left_out_and_this_is_told(run):
    got, said = run(WERF_SYNCHRONIZATION="https://synchronization.werf.io")
    assert got["storage"].synchronization == ""
    assert "left out WERF_SYNCHRONIZATION" in said and "read" not in said
    assert run(WERF_SYNCHRONIZATION=":local")[0]["storage"].synchronization == ":local"


def test_a_value_that_is_wrong_is_told_with_its_variable(run):
    got, said = run(WERF_PARALLEL_TASKS_LIMIT="many")
    assert not got
    assert "WERF_PARALLEL_TASKS_LIMIT" in said and "many" in said


def test_nothing_is_told_where_quiet_was_asked_for(run):
    assert run("--log-quiet", WERF_ENV="a")[1] == ""
    assert run(WERF_ENV="a", WERF_LOG_QUIET="1")[1] == ""


def test_the_environment_is_as_it_was_afterwards(run):
    import os

    before = dict(os.environ)
    run(WERF_ENV="a", WERF_SSH_KEY_1="k")
    run(WERF_PARALLEL_TASKS_LIMIT="many")
    assert dict(os.environ) == before


def test_a_confirmed_build_looks_in_the_same_home(monkeypatch):
    from conveyor.cli.confirm import find_home

    for name in ("CONVEYOR_HOME", "CONVEYOR_HOME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WERF_HOME", "/w")
    assert find_home(["build"]) == "/w/conveyor"
    assert find_home(["build", "--home-dir=/h"]) == "/h"
