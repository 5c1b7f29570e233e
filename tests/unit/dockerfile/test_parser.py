"""Dockerfiles as people write them."""

import pytest

from conveyor.dockerfile.parser import DockerfileError, Document, parse


def instructions(text: str) -> list[tuple[str, str]]:
    return [(item.keyword, item.text) for item in parse(text.encode()).instructions]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a\n", [("FROM", "a")]),
        ("\ufeffFROM a", [("FROM", "a")]),
        ("from a as b\r\nrun x\r\n", [("FROM", "a as b"), ("RUN", "x")]),
        ("# a comment\n\n  # another\nFROM a\n", [("FROM", "a")]),
        ("FROM a\nRUN x && \\\n    y\n", [("FROM", "a"), ("RUN", "x &&     y")]),
        ("FROM a\nRUN x && \\  \n  y\n", [("FROM", "a"), ("RUN", "x &&   y")]),
        ("FROM a\nRUN x \\\n# why\n  # more\n  y\n", [("FROM", "a"), ("RUN", "x   y")]),
        ("FROM a\nRUN x \\\n\n\n  y\n", [("FROM", "a"), ("RUN", "x   y")]),
        ("FROM a\nRUN echo x \\\\\nRUN y\n", [("FROM", "a"), ("RUN", "echo x \\\\"), ("RUN", "y")]),
        ("FROM a\nRUN x # no comment\n", [("FROM", "a"), ("RUN", "x # no comment")]),
        ("FROM a\n  \tRUN\tx  \n", [("FROM", "a"), ("RUN", "x")]),
        ("FROM a\nRUN x \\", [("FROM", "a"), ("RUN", "x")]),
        ("# escape=`\nFROM a\nRUN dir c:\\ `\n  d\n", [("FROM", "a"), ("RUN", "dir c:\\   d")]),
        ("# escape = `\r\nFROM a\r\nCOPY x c:\\\r\n", [("FROM", "a"), ("COPY", "x c:\\")]),
        ("# comment\n# escape=`\nFROM a\nRUN x \\\n y\n", [("FROM", "a"), ("RUN", "x  y")]),
        ('FROM a\nCMD ["x", \\\n  "y"]\n', [("FROM", "a"), ("CMD", '["x",   "y"]')]),
        ("FROM a\nONBUILD COPY . /app\n", [("FROM", "a"), ("ONBUILD", "COPY . /app")]),
    ],
)
def test_instructions(text, expected):
    assert instructions(text) == expected


def test_directives():
    parsed = parse(b"#syntax=docker/dockerfile:1.7\n# Escape=`\n# check=skip=all\nFROM a\n# syntax=late\n")
    assert parsed.directives == {"syntax": "docker/dockerfile:1.7", "escape": "`", "check": "skip=all"}
    assert parse(b"\n# syntax=late\nFROM a\n").directives == {}
    assert parse(b"#!/bin/env docker\n# syntax=x\nFROM a\n").directives == {"syntax": "x"}


@pytest.mark.parametrize(
    ("text", "flags", "rest"),
    [
        ("COPY --from=build --chown=1:2 /a /b", ("--from=build", "--chown=1:2"), "/a /b"),
        (
            "RUN --mount=type=cache,target=/c --network=none x --y",
            ("--mount=type=cache,target=/c", "--network=none"),
            "x --y",
        ),
        ('RUN --mount=type=bind,source="a b",target=/c x', ("--mount=type=bind,source=a b,target=/c",), "x"),
        ("ADD --link a b", ("--link",), "a b"),
        ("RUN -- --x", (), "--x"),
        ("FROM --platform=$BUILDPLATFORM a AS b", ("--platform=$BUILDPLATFORM",), "a AS b"),
        ('HEALTHCHECK --interval=5s CMD ["x"]', ("--interval=5s",), 'CMD ["x"]'),
    ],
)
def test_flags(text, flags, rest):
    item = parse(text.encode()).instructions[0]
    assert (item.flags, item.text) == (flags, rest)


def test_documents():
    parsed = parse(
        b"FROM a\nRUN <<EOF\necho $x\n# no comment\nEOF\n"
        b"COPY <<a.txt <<-'b.txt' /etc/\none\na.txt\n\ttwo \\\n\tb.txt\nRUN 3<<X cat <<Y\n1\nX\n2\nY\nCMD x\n"
    )
    run, copy, two, cmd = parsed.instructions[1:]
    assert run.documents == (Document("EOF", "echo $x\n# no comment\n", True),)
    assert copy.documents == (Document("a.txt", "one\n", True), Document("b.txt", "two \\\n", False))
    assert [document.text for document in two.documents] == ["1\n", "2\n"]
    assert (cmd.keyword, cmd.line, copy.line) == ("CMD", 16, 6)


def test_what_is_no_document():
    assert (
        parse(b'FROM a\nRUN x <<<y\nENV a=<<b\nRUN ["cat", "<<EOF"]\nRUN echo \'<<EOF\'\n').instructions[1].documents == ()
    )


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ("", 0, "no instructions", "FROM"),
        ("# only a comment\n", 0, "no instructions", ""),
        ("FROM a\n\nRUM x\n", 3, "unknown instruction: RUM", "`RUN`"),
        ("FROM a\nRUN x\n  y\n", 3, "unknown instruction: Y", "escape character"),
        ("FROM a\nCOPY\n", 2, "COPY has no arguments", ""),
        ("FROM a\nRUN <<EOF\nx\n", 2, "the document <<EOF has no end", "`EOF`"),
        ("# escape=x\nFROM a\n", 1, "the escape character is", ""),
        ("# syntax=a\n# syntax=b\nFROM a\n", 2, "only one `syntax`", ""),
    ],
)
def test_mistakes(text, line, message, hint):
    with pytest.raises(DockerfileError, match=message) as caught:
        parse(text.encode())
    assert caught.value.line == line and hint in caught.value.hint


def test_a_json_list():
    items = parse(b'COPY ["a b", "/c"]\nCOPY [ab] /c\nCOPY [1] /c\nCOPY a b').instructions
    assert [item.json_list() for item in items] == [["a b", "/c"], None, None, None]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"FROM scratch\n" + b"#" * 2**20, "1048589 bytes"),
        (b"FROM scratch\n" * 101, "101 stages"),
        (b"FROM scratch\n" + b"RUN a\n" * 2000, "2001 instructions"),
    ],
)
def test_a_file_without_end_is_refused(content, said):
    with pytest.raises(DockerfileError, match=said):
        parse(content)
