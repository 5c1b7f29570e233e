"""What a permission means, and how refusals are told."""

from __future__ import annotations

import pytest

from conveyor.config.giterminism.api import ALLOW_ALL, Permissions, Refusals
from conveyor.config.giterminism.matching import expression_mistake
from conveyor.errors import GiterminismError, Place, Problem

HERE = Place("werf.yaml", 3, 7)
ENV = "config.goTemplateRendering.allowEnvVariables"
FILES = "config.goTemplateRendering.allowUncommittedFiles"
FROM_PATHS = "config.stapel.mount.allowFromPaths"


def told(refusals, *others):
    with pytest.raises(GiterminismError) as caught:
        refusals.raise_any(others)
    return str(caught.value), caught.value.hint


@pytest.mark.parametrize(
    ("directive", "given", "value", "allowed"),
    [
        (ENV, ["FOO"], "FOO", True),
        (ENV, ["FOO"], "FOOL", False),
        (ENV, ["/CI_.+/"], "CI_A", True),
        (ENV, ["/CI_.+/"], "XCI_A", False),  # anchored
        (ENV, ["/A|B/"], "AB", False),
        (ENV, ["/A|B/"], "B", True),
        (ENV, ["/(/"], "(", False),
        (ENV, ["*"], "FOO", False),
        (FILES, ["a"], "a/b/c", True),  # werf's three forms
        (FILES, ["a/*"], "a/b/c", True),
        (FILES, ["a/*.yaml"], "a/b.yaml", True),
        (FILES, ["a/*.yaml"], "a/c/b.yaml", False),
        (FILES, ["**/*.yaml"], "a/c/b.yaml", True),
        (FILES, ["./a/b"], "a/b", True),
        (FILES, ["."], "a", True),
        (FILES, ["/**/*/"], "a/b", True),  # a leading slash is the project's directory
        (FILES, ["/a"], "a/b", True),
        (FILES, ["../shared"], "../shared/x", True),
        (FROM_PATHS, ["/var/cache"], "/var/cache/apt", True),
        (FROM_PATHS, ["/var/cache"], "var/cache/apt", False),
        (FROM_PATHS, ["~/.m2"], "~/.m2", True),  # as written
        (FROM_PATHS, ["/root/.m2"], "~/.m2", False),
        (FROM_PATHS, ["/**"], "/anything", True),
        ("config.secrets.allowEnvVariables", ["/.*/"], "TOKEN", False),  # exact names only
        ("config.secrets.allowEnvVariables", ["TOKEN"], "TOKEN", True),
        ("config.secrets.allowFiles", ["/home/me/.ssh"], "~/.ssh/id", True),
        ("config.secrets.allowFiles", ["~/*.key"], "/home/me/a.key", True),
        ("config.secrets.allowFiles", ["~/*.key"], "/home/you/a.key", False),
        ("config.secrets.allowValueIds", ["a*"], "ab", False),
    ],
)
def test_what_a_directive_means(monkeypatch, directive, given, value, allowed):
    monkeypatch.setenv("HOME", "/home/me")
    assert Permissions(given={directive: tuple(given)}).allow(directive, value) is allowed


def test_flags_and_what_is_not_given():
    permissions = Permissions(given={"config.stapel.allowFromLatest": True, "config.stapel.git.allowBranch": False})
    assert permissions.allow("config.stapel.allowFromLatest")
    assert not permissions.allow("config.stapel.git.allowBranch")
    assert not permissions.allow("cli.allowCustomTags")
    assert ALLOW_ALL.allow("cli.allowCustomTags") and ALLOW_ALL.allow(ENV, "X")


def test_an_expression_takes_linear_time():
    assert not Permissions(given={ENV: ("/(a+)+/",)}).allow(ENV, "a" * 100_000 + "b")


def test_what_is_wrong_with_an_expression():
    assert "missing )" in expression_mistake("/(a/")
    assert expression_mistake("/a(b)?/") == expression_mistake("(") == expression_mistake("//") == ""


def test_nothing_was_refused():
    refusals = Refusals(Permissions())
    refusals.raise_any([Problem(HERE, "a mistake is raised by who found it")])
    assert not refusals
    assert Refusals(ALLOW_ALL).require("cli.allowCustomTags")


def test_one_refusal_tells_place_reason_and_the_line_to_add():
    refusals = Refusals(Permissions(file="sub/werf-giterminism.yaml"))
    assert not refusals.require(ENV, "FOO", HERE)
    assert not refusals.require(ENV, "FOO", HERE)
    message, hint = told(refusals)
    assert message.startswith(
        "werf.yaml:3:7: the configuration with potential external dependency found in the werf config: "
        'env name "FOO" not allowed by giterminism\n    the value of the variable is not in the commit'
    )
    assert hint.startswith("allow it in sub/werf-giterminism.yaml")
    assert "allowEnvVariables:\n        - FOO" in hint


def test_all_refusals_are_told_at_once_with_both_ways_out():
    refusals = Refusals(Permissions())
    refusals.require(FROM_PATHS, "/cache[1]", HERE)
    refusals.require("config.stapel.mount.allowBuildDir", at=HERE)
    refusals.refuse_file("werf.yaml", "modified", "werf config", "config.allowUncommitted")
    for name in ("b", "a"):
        refusals.refuse_file(f".werf/{name}.tmpl", "untracked", "werf config templates", "config.allowUncommittedTemplates")
    refusals.refuse_file("src/x", "deleted", "", None, "image app")
    message, hint = told(refusals, Problem(HERE, "something else"))
    assert message.splitlines()[0].startswith("6 refusals")
    assert '"mount { fromPath: /cache[1], ... }" not allowed by giterminism' in message
    assert '"mount { from: build_dir, ... }" not allowed by giterminism' in message
    assert 'unable to read werf config: the file "werf.yaml" must be committed: it has changes' in message
    assert (
        "unable to read werf config templates: the following untracked files must be committed:\n"
        "  - .werf/b.tmpl\n  - .werf/a.tmpl\n" in message
    )
    assert 'the file "src/x" must be committed: it is deleted, and the deletion is not committed; used by image' in message
    assert message.endswith("werf.yaml:3:7: something else")
    assert "git add and git commit" in hint and "--dev" in hint
    import yaml

    added = yaml.safe_load(hint[hint.index("    giterminismConfigVersion") :])
    assert added["config"]["allowUncommitted"] is True
    assert added["config"]["allowUncommittedTemplates"] == [".werf/a.tmpl", ".werf/b.tmpl"]
    assert added["config"]["stapel"]["mount"] == {"allowBuildDir": True, "allowFromPaths": [r"/cache\[1\]"]}
    given = {FROM_PATHS: tuple(added["config"]["stapel"]["mount"]["allowFromPaths"])}
    assert Permissions(given=given).allow(FROM_PATHS, "/cache[1]")


def test_names_are_never_printed_raw():
    refusals = Refusals(Permissions())
    refusals.require(ENV, "A\n\x1b[31mB", HERE)
    refusals.refuse_file("a\nb", "untracked", "", FILES)
    message, hint = told(refusals)
    assert "\x1b" not in message + hint
    assert r"A\n\x1b[31mB" in message and r"a\nb" in message


def test_thousands_of_refusals_are_counted():
    refusals = Refusals(Permissions())
    for number in range(3000):
        refusals.require(ENV, f"X{number}", HERE)
        refusals.refuse_file(f"f{number}", "modified", "", None)
    message, hint = told(refusals)
    assert message.startswith("6000 refusals") and message.endswith("\n4000 more refusals are not shown")
    assert message.count("\n") < 4000 and hint.count("X") == 1000
