import pytest

from conveyor.config.reading import parse_project
from conveyor.errors import ConfigError

HEAD = "configVersion: 1\nproject: demo\n---\nimage: s\nfrom: a\n---\nimage: app\nfrom: a\n"


def layers(*items: str):
    git = "".join(f"- {{{item}}}\n" for item in items if "add: " not in item)
    imports = "".join(f"- {{image: s, after: install, {item}}}\n" for item in items if "add: " in item)
    text = HEAD + (f"git:\n{git}" if git else "") + (f"import:\n{imports}" if imports else "")
    app = parse_project(text.encode(), "werf.yaml").image("app")
    return [item.paths.exclude for item in (*app.git, *app.imports)]


@pytest.mark.parametrize(
    ("items", "excludes"),
    [
        (["to: /a", "to: /b"], [(), ()]),
        (["to: /a", "to: /ab"], [(), ()]),
        (["to: /a", "to: /a/b/c"], [("b/c",), ()]),
        (["to: /a/b", "to: /a"], [(), ("b",)]),
        (["to: /", "to: /a"], [("a",), ()]),
        (["to: /a", "add: /a/b"], [("b",), ()]),
        (["to: /a/b", "add: /a"], [(), ("b",)]),
        (["to: /a", "to: /a, includePaths: [b, c]"], [("b", "c"), ()]),
        (["to: /a, includePaths: b", "to: /a, includePaths: c"], [(), ()]),
        (["to: /a, includePaths: b", "to: /a, includePaths: b/c"], [("b/c",), ()]),
        (["to: /a, includePaths: '*.x'", "to: /a, includePaths: c"], [("c",), ()]),
        (["to: /a, includePaths: '*.x'", "to: /a, includePaths: '*.y'"], [("*.y",), ()]),
        (["to: /a, includePaths: c", "to: /a, includePaths: '**/*.x'"], [("**/*.x",), ()]),
        (["to: /a, includePaths: 'c/*.x'", "to: /a, includePaths: c"], [(), ("c/*.x",)]),
        (["to: /a, includePaths: '*.x'", "to: /a/c"], [("c",), ()]),
        (["to: /a, includePaths: b/c", "to: /a/b"], [(), ()]),
        (["to: /a, includePaths: [b, d]", "to: /a/b/c"], [("b/c",), ()]),
        (["to: /a, includePaths: e", "to: /a/b/c"], [(), ()]),
        (["to: /a, excludePaths: b/c", "to: /a/b"], [("b/c",), ()]),
        (["to: /a, excludePaths: b", "to: /a/b"], [("b",), ()]),
        (["to: /a", "to: /a/b", "to: /a/b/c"], [("b", "b/c"), ("c",), ()]),
        (["to: /a", "to: '/a/[x]*'"], [(r"\[x\]\*",), ()]),
        (["to: /", "add: /, to: /, includePaths: [usr, 'opt/*']"], [("usr", "opt/*"), ()]),
    ],
)
def test_what_the_inner_one_lays_is_excluded_from_the_outer_one(items, excludes):
    assert layers(*items) == excludes


@pytest.mark.parametrize(
    "items",
    [
        ["to: /", "to: /"],
        ["to: /a", "to: /a/"],
        ["to: /a", "add: /a"],
        ["add: /b, to: /a", "add: /a"],
        ["to: /a, includePaths: [b, c]", "to: /a, includePaths: [d, c]"],
        ["to: /a, includePaths: b", "to: /a/b"],
        ["to: /a, includePaths: '*.x'", "to: /a, includePaths: '*.x'"],
    ],
)
def test_the_same_path_twice_is_a_conflict(items):
    with pytest.raises(ConfigError, match="Conflict between imports!") as caught:
        layers(*items)
    assert len(caught.value.problems) == 1


def test_many_conflicts_are_told_once_each():
    with pytest.raises(ConfigError) as caught:
        layers(*["to: /a"] * 300)
    assert len(caught.value.problems) == 299


def test_too_many_globs_against_one_another_end_in_an_error():
    with pytest.raises(ConfigError, match="too many git mappings and imports"):
        layers(*[f"to: /a, includePaths: '*{index}'" for index in range(400)])
