"""What a target depends on, and what it does not."""

import pytest

from conveyor.dockerfile.parser import DockerfileError, parse
from conveyor.dockerfile.resolve import Question, resolve
from stapel.oci.api import ImageConfig

DIGEST = "sha256:" + "ab" * 32


def ask(text: str, target: str = "", configs=None, **args: str):
    configs = configs or {}
    return resolve(parse(text.encode()), Question(target, args, "linux/arm64/v8", "linux/amd64", configs.get))


def patterns(text: str, **args: str):
    return ask(text, **args).patterns


def is_same(text: str, other: str, **args: str) -> bool:
    """Whether what enters a key is equal."""
    first, second = ask(text, **args), ask(other, **args)
    return (first.instructions, first.args, first.patterns) == (second.instructions, second.args, second.patterns)


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("COPY a /x", ("a",)),
        ("COPY a b/ ./c//d /x/", ("a", "b", "c/d")),
        ("COPY /a ../b /x", ("a", "b")),
        ('COPY ["a b", "c", "/x/"]', ("a b", "c")),
        ("COPY --chown=1 --link a* /x", ("a*",)),
        ("COPY . /x", None),
        ("COPY ./ /x", None),
        ("COPY / /x", None),
        ("ADD a https://example.org/b.tar git@example.org:a/b.git http://x/y /x/", ("a",)),
        ("COPY --from=alpine:3 a /x", ()),
        ("RUN --mount=type=bind,target=/x y", None),
        ("RUN --mount=target=/x,source=a/b y", ("a/b",)),
        ("RUN --mount=type=bind,src=a,dst=/x --mount=type=secret,id=s --mount=type=ssh y", ("a",)),
        ("RUN --mount=type=cache,target=/x,source=a y", ()),
        ("RUN --mount=type=tmpfs,target=/x y", ()),
        ("RUN --mount=type=bind,from=alpine:3,source=a,target=/x y", ()),
        ("ENV A=a\nCOPY $A/b /x", ("a/b",)),
        ("ENV A a b\nCOPY ${A} /x", ("a b",)),
        ("ARG A=a\nCOPY ${A}.c /x", ("a.c",)),
        ("ARG A\nCOPY ${A:-z} /x", ("z",)),
        ("ONBUILD COPY a /x", ()),
        ("WORKDIR /a\nUSER b\nCMD c", ()),
        ("COPY <<EOF a /x\ntext\nEOF", ("a",)),
    ],
)
def test_what_is_taken_of_the_context(instruction, expected):
    assert patterns(f"FROM scratch\n{instruction}\n") == expected


def test_a_variable_of_a_base_from_outside_takes_everything():
    assert patterns("FROM alpine:3\nCOPY $HOME_DIR/a /x\n") is None
    assert patterns("FROM alpine:3\nENV A=$B\nCOPY $A /x\n") is None
    assert patterns("FROM alpine:3\nARG A=b\nCOPY $A /x\n") == ("b",)
    assert patterns("FROM alpine:3 AS one\nFROM one\nCOPY $A /x\n") is None
    assert patterns("FROM scratch AS one\nENV A=b\nFROM one\nCOPY $A /x\n") == ("b",)


def test_a_base_of_the_project_has_its_environment_and_its_triggers():
    config = ImageConfig({"config": {"Env": ["A=b", "PATH=/bin"], "OnBuild": ["COPY c /x", "RUN make"]}})
    found = ask("ARG BASE\nFROM $BASE\nCOPY $A /x\n", BASE="p:1", configs={"p:1": config})
    assert found.patterns == ("b", "c")
    assert found.bases == (("p:1", ""),)


def test_the_triggers_of_a_stage_run_in_the_one_that_is_built_on_it():
    assert patterns("FROM scratch AS a\nONBUILD ADD x /x\nFROM a\nCOPY y /y\n") == ("x", "y")
    assert patterns("FROM scratch AS a\nONBUILD ADD x /x\nFROM scratch\nCOPY --from=a /y /y\n") == ()


STAGES = """\
ARG VERSION=1
FROM alpine:${VERSION} AS Build
COPY src /src
RUN make
FROM debian:12 AS tests
COPY tests /tests
FROM scratch
COPY --from=build /out /
"""


def test_only_what_the_target_needs_counts():
    assert ask(STAGES).bases == (("alpine:1", ""),)
    assert ask(STAGES).patterns == ("src",)
    assert ask(STAGES, "tests").bases == (("debian:12", ""),)
    assert ask(STAGES, "TESTS").patterns == ("tests",)
    assert ask(STAGES, "1").patterns == ("tests",)
    assert ask(STAGES, "build", VERSION="2").bases == (("alpine:2", ""),)
    assert is_same(STAGES, STAGES.replace("COPY tests /tests", "RUN anything"))
    assert not is_same(STAGES, STAGES.replace("RUN make", "RUN make all"))
    assert not is_same(STAGES, STAGES.replace("VERSION=1", "VERSION=2"))


def test_an_unused_stage_before_the_others_changes_nothing():
    assert is_same(STAGES, STAGES.replace("FROM alpine", "FROM busybox AS new\nRUN x\nFROM alpine"))


def test_comments_and_names_of_arguments_that_are_not_used_change_nothing():
    assert is_same(STAGES, "# syntax is not here\n" + STAGES.replace("RUN make", "# why\nRUN make"))
    assert is_same(STAGES, "ARG UNUSED=x\n" + STAGES)
    assert is_same(STAGES.replace("alpine:${VERSION}", "alpine:1"), STAGES)
    assert not is_same(STAGES, "# syntax=docker/dockerfile:1\n" + STAGES)


def test_the_values_of_arguments_count_where_they_are_declared():
    text = "FROM scratch AS a\nARG A=1\nRUN x\nFROM scratch\nARG B\nARG C=c\nRUN y\n"
    assert ask(text, A="5", B="6").args == {"0": {"B": "6", "C": "c"}}
    assert ask("ARG A=1\nARG B=2\nFROM scratch\nARG A\nARG B=3\nRUN x\n").args == {"0": {"A": "1", "B": "3"}}
    assert is_same(text, text, A="5") and ask(text, "a", A="5").args == {"0": {"A": "5"}}
    assert is_same("FROM scratch\nARG A=1\n", "FROM scratch\nARG A=2\n", A="3")
    assert ask('FROM scratch\nARG A=1 B="x y" C=${A}z\n').args == {"0": {"A": "1", "B": "x y", "C": "1z"}}


def test_arguments_for_buildkit_itself_count_without_a_declaration():
    found = ask("FROM scratch\nCOPY a /\n", SOURCE_DATE_EPOCH="1", BUILDKIT_INLINE_CACHE="1", OTHER="x")
    assert found.args == {"": {"SOURCE_DATE_EPOCH": "1", "BUILDKIT_INLINE_CACHE": "1"}}
    assert patterns("FROM scratch\nCOPY a /\n", BUILDKIT_SYNTAX="example.org/own:1") is None


def test_the_platform_is_known_and_the_builders_does_not_count():
    text = "FROM --platform=$BUILDPLATFORM alpine:3\nARG TARGETARCH\nARG TARGETVARIANT\nARG BUILDPLATFORM\nRUN x\n"
    found = ask(text)
    assert found.args == {"0": {"TARGETARCH": "arm64", "TARGETVARIANT": "v8"}}
    assert found.bases == (("alpine:3", "linux/amd64"),)
    other = resolve(parse(text.encode()), Question("", {}, "linux/arm64/v8", "linux/riscv64"))
    assert (other.instructions, other.args) == (found.instructions, found.args)


def test_bases_of_copies_and_mounts_are_bases():
    text = f"FROM alpine@{DIGEST}\nCOPY --from=busybox:1 /a /b\nRUN --mount=from=debian:12,target=/d x\n"
    assert [name for name, _ in ask(text).bases] == [f"alpine@{DIGEST}", "busybox:1", "debian:12"]


def test_a_name_means_the_stage_that_stands_above():
    text = "FROM alpine:3 AS a\nRUN 1\nFROM debian:12 AS a\nRUN 2\nFROM a\nCOPY --from=0 /x /y\n"
    assert [name for name, _ in ask(text).bases] == ["debian:12", "alpine:3"]
    assert ask("FROM alpine:3\nCOPY --from=later /x /y\nFROM debian:12 AS later\n", "0").bases == (
        ("alpine:3", ""),
        ("later", ""),
    )


def test_a_frontend_that_is_not_dockers_takes_everything():
    found = ask("# syntax=example.org/my/frontend:1\nFROM alpine:3\nRUN x\n", A="1")
    assert found.patterns is None and found.args == {"": {"A": "1"}}
    assert patterns("# syntax=docker.io/docker/dockerfile:1.7-labs\nFROM scratch\nCOPY a /\n") == ("a",)


@pytest.mark.parametrize(
    ("text", "target", "line", "message"),
    [
        ("RUN x\nFROM a\n", "", 1, "RUN before the first FROM"),
        ("ARG A\n", "", 0, "has no FROM"),
        ("FROM a b\n", "", 1, "`IMAGE AS NAME`"),
        ("ARG BASE\nFROM $BASE\n", "", 2, "the name of the base is empty"),
        ("FROM Alpine\n", "", 1, "lower case|Alpine"),
        ("FROM a\n", "missing", 0, "target stage `missing` could not be found"),
        ("FROM a\nCOPY ${A!x} /b\n", "", 2, "not known"),
        ("FROM a\nENV A='b\n", "", 2, "not closed"),
    ],
)
def test_mistakes(text, target, line, message):
    with pytest.raises(DockerfileError, match=message) as caught:
        ask(text, target)
    assert caught.value.line == line
