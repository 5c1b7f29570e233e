"""werf-giterminism.yaml: what it allows, what is wrong with it, what has no effect."""

from __future__ import annotations

import pytest

from conveyor.config.giterminism.decode import DIRECTIVES, decode_permissions
from conveyor.config.giterminism.wording import is_flag
from conveyor.errors import ConfigError

EVERYTHING = """\
giterminismConfigVersion: 1
cli: {allowCustomTags: true}
config:
  allowUncommitted: yes
  allowUncommittedTemplates: [".werf/*.tmpl"]\t# a tab before a comment
  goTemplateRendering: {allowEnvVariables: [CI_USER, /CI_.+/], allowUncommittedFiles: [files/**]}
  secrets: {allowEnvVariables: [TOKEN], allowFiles: [~/.npmrc], allowValueIds: [id]}
  stapel:
    allowFromLatest: true
    git: {allowBranch: true}
    mount: {allowBuildDir: true, allowFromPaths: [/var/cache, ~/.m2]}
  dockerfile:
    allowUncommitted: [Dockerfile]
    allowUncommittedDockerignoreFiles: [.dockerignore]
    allowContextAddFiles: [dist]
helm: {allowUncommittedFiles: [.helm/**]}
includes: {allowIncludesUpdate: true}
"""


def decode(text):
    permissions, warnings = decode_permissions(text.encode(), "werf-giterminism.yaml")
    return permissions.given, [str(warning) for warning in warnings]


def wrong(text):
    with pytest.raises(ConfigError) as caught:
        decode(text)
    return [str(problem) for problem in caught.value.problems]


def test_every_directive_is_read():
    given, warnings = decode(EVERYTHING)
    assert not warnings
    assert set(given) == set(DIRECTIVES)
    assert given["config.goTemplateRendering.allowEnvVariables"] == ("CI_USER", "/CI_.+/")
    assert given["config.secrets.allowFiles"] == ("~/.npmrc",)
    assert all(given[directive] is True for directive in DIRECTIVES if is_flag(directive))


@pytest.mark.parametrize("text", ["1", '"1"', "1.0"])
def test_the_version(text):
    assert decode(f"giterminismConfigVersion: {text}\nconfig: ~\nhelm: {{allowUncommittedFiles: }}\n") == ({}, [])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "werf-giterminism.yaml: the file is empty"),
        ("# nothing\n", "werf-giterminism.yaml: the giterminism config validation failed: `giterminismConfigVersion` is"),
        ("config: {}\n", ":1:1: the giterminism config validation failed: `giterminismConfigVersion` is required"),
        (
            "giterminismConfigVersion: 2\n",
            ":1:27: the giterminism config validation failed: `giterminismConfigVersion` must be",
        ),
        ("- a\n", ":1:1: the giterminism config validation failed: it must be a map"),
        ("a: [\n", "the giterminism config validation failed: not valid YAML"),
        ("V\nconfig: []\n", ":2:9: the giterminism config validation failed: `config` must be a map, not a list"),
        (
            "V\nconfig: {allowUncommitted: 1}\n",
            ":2:28: the giterminism config validation failed: `config.allowUncommitted` must",
        ),
        ("V\nhelm: {allowUncommittedFiles: x}\n", "`helm.allowUncommittedFiles` must be a list, not the text `x`"),
        ("V\nhelm: {allowUncommittedFiles: [{}]}\n", "every item of `helm.allowUncommittedFiles` must be text"),
        (
            "V\nhelm: {allowUncommittedFiles: ['a[']}\n",
            "`a[` in `helm.allowUncommittedFiles` is not a glob: a `[` is not closed",
        ),
        ("V\nconfig: {goTemplateRendering: {allowEnvVariables: ['/(/']}}\n", "is not a regular expression: missing )"),
        (
            "V\nsecrets: {}\nconfig: {secrets: [a]}\n",
            ":3:19: the giterminism config validation failed: `config.secrets` must be",
        ),
        ("a: &a [" + "[" * 200 + "]" * 200 + "]", "nested deeper"),
    ],
)
def test_what_is_wrong(text, what):
    assert any(what in problem for problem in wrong(text.replace("V\n", "giterminismConfigVersion: 1\n")))


def test_all_that_is_wrong_is_told_at_once():
    assert len(wrong("config: {allowUncommitted: x, stapel: 1}\nhelm: 2\n")) == 4


def test_keys_that_are_not_known_have_no_effect_and_are_told():
    given, warnings = decode(
        "giterminismConfigVersion: 1\nconfig:\n  alowUncommitted: true\n  stapel: {allowFromPaths: [/x]}\nowner: me\n"
    )
    assert given == {}
    assert warnings[0].startswith("werf-giterminism.yaml:3:3: unknown fields: `config.alowUncommitted` has no effect")
    assert "did you mean `allowUncommitted`?" in warnings[0]
    assert "it belongs under `config.stapel.mount`" in warnings[1]
    assert "known here: `cli`, `config`, `helm`, `includes`, `giterminismConfigVersion`" in warnings[2]


def test_of_duplicate_keys_the_last_one_counts_and_is_told():
    given, warnings = decode(
        "giterminismConfigVersion: 1\nconfig: {allowUncommitted: true}\nconfig:\n"
        "  goTemplateRendering:\n    allowEnvVariables: [A]\n    allowEnvVariables: [B]\n"
    )
    assert given == {"config.goTemplateRendering.allowEnvVariables": ("B",)}
    assert warnings[0].startswith("werf-giterminism.yaml:2:1: duplicate key `config`: it has no effect")
    assert "line 3 counts" in warnings[0] and "line 6 counts" in warnings[1]


def test_a_second_document_has_no_effect_and_is_told():
    given, warnings = decode("giterminismConfigVersion: 1\n---\nconfig: {allowUncommitted: true}\n")
    assert given == {}
    assert warnings[0].startswith("werf-giterminism.yaml:3:1: a second document has no effect")
