"""The text of a Dockerfile -> directives and instructions, as BuildKit reads it.

A line goes on where it ends with the escape character; comments and empty lines between are dropped. Documents (`<<EOF`)
of RUN, COPY and ADD follow their line. Nothing is expanded here: `conveyor.dockerfile.shell` does that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from msgspec import Struct, field

KEYWORDS = frozenset({
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD",
    "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
})  # fmt: skip
_WITH_DOCUMENTS = frozenset({"ADD", "COPY", "RUN"})
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_DIRECTIVES = frozenset({"syntax", "escape", "check"})
_DOCUMENT = re.compile(r"\d*<<(-?)\s*(['\"]?)([a-zA-Z_.][a-zA-Z0-9_.]*)\2")
MAX_BYTES = 2**20
MAX_INSTRUCTIONS = 2000
MAX_STAGES = 100
_MOST_FLAGS = 100  # of an instruction; what follows is its text
_SPLIT = "split it; long scripts are files that COPY brings"
_BLANKS = " \t\r\f\v\n"


class DockerfileError(Exception):
    """A Dockerfile that BuildKit would not read either: which line, what, and how to mend it."""

    def __init__(self, line: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.hint = hint


class Document(Struct, frozen=True):
    """A here-document. `expands`: whether variables in it are expanded, for its name is not quoted."""

    name: str
    text: str
    expands: bool


class Instruction(Struct, frozen=True):
    """One instruction. `flags` are the words with `--` in front of its arguments, `text` is all that follows them."""

    keyword: str  # in capitals
    flags: tuple[str, ...]
    text: str
    line: int
    documents: tuple[Document, ...] = ()

    def flag(self, name: str) -> str | None:
        """The value of `--name=value`, "" of `--name`; None where it is not given."""
        for flag in self.flags:
            key, _, value = flag[2:].partition("=")
            if key == name:
                return value
        return None

    def json_list(self) -> list[str] | None:
        """The arguments where they are a JSON list of texts, None where they are something else."""
        if not self.text.lstrip().startswith("["):
            return None
        try:
            found = json.loads(self.text)
        except ValueError:
            return None
        is_list = isinstance(found, list) and all(isinstance(item, str) for item in found)
        return found if is_list else None


class ParsedFile(Struct, frozen=True):
    """A whole file. `directives`: `syntax` and `escape` as far as they are given."""

    directives: Mapping[str, str] = field(default_factory=dict)
    instructions: tuple[Instruction, ...] = ()

    @property
    def escape(self) -> str:
        """The character that continues lines and takes the meaning from the next one."""
        return self.directives.get("escape", "\\")


def parse(content: bytes) -> ParsedFile:
    """The instructions of a Dockerfile. `DockerfileError` for one that has none, or that ends in the middle."""
    if len(content) > MAX_BYTES:
        raise DockerfileError(0, f"the Dockerfile has {len(content)} bytes, and at most {MAX_BYTES} are read", _SPLIT)
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    lines = text.split("\n")
    directives = _directives(lines)
    instructions = tuple(_instructions(lines, directives.get("escape", "\\")))
    for what, most in (("FROM", MAX_STAGES), ("", MAX_INSTRUCTIONS)):
        count = sum(not what or instruction.keyword == what for instruction in instructions)
        if count > most:
            counted = "stages" if what else "instructions"
            raise DockerfileError(0, f"the Dockerfile has {count} {counted}, and at most {most} are read", _SPLIT)
    if not instructions:
        raise DockerfileError(0, "the Dockerfile has no instructions", "write `FROM` and what follows")
    return ParsedFile(directives, instructions)


def parse_instruction(text: str, line: int, documents: tuple[Document, ...] = ()) -> Instruction:
    """One instruction whose lines are joined already (a trigger of ONBUILD). `DockerfileError`."""
    keyword, rest = _first_word(text.strip(_BLANKS))
    flags, rest = _flags(rest)
    return Instruction(keyword.upper(), flags, rest, line, documents)


def _directives(lines: list[str]) -> dict[str, str]:
    """What the comments at the very top say; anything else ends them."""
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if number == 1 and line.startswith("#!"):
            continue
        match = _DIRECTIVE.fullmatch(line.strip(_BLANKS))
        name = match[1].lower() if match else ""
        if match is None or name not in _DIRECTIVES:
            break
        if name in found:
            raise DockerfileError(number, f"only one `{name}` directive can be used", "remove one of them")
        found[name] = match[2]
    if found.get("escape", "\\") not in ("\\", "`"):
        raise DockerfileError(1, f"`escape={found['escape']}`: the escape character is \\ or `")
    return found


def _instructions(lines: list[str], escape: str) -> Iterator[Instruction]:
    continued = re.compile(rf"(?:^|(?<=[^{re.escape(escape)}])){re.escape(escape)}[ \t\r]*$")
    at = 0
    while at < len(lines):
        begun = at + 1
        pieces: list[str] = []
        goes_on = True
        while goes_on and at < len(lines):
            line = lines[at].rstrip("\r")
            at += 1
            stripped = line.lstrip(_BLANKS)
            if stripped.startswith("#") or not stripped:
                if not pieces:
                    break
                continue
            if not pieces:
                line, begun = stripped, at
            end = continued.search(line)
            goes_on = end is not None
            pieces.append(line[: end.start()] if end is not None else line)
        text = "".join(pieces).strip(_BLANKS)
        if not text:
            continue
        documents: list[Document] = []
        for dash, quote, name in _documents_of(text):
            content, at = _read_document(lines, at, name, dash, begun)
            documents.append(Document(name, content, not quote))
        yield _checked(parse_instruction(text, begun, tuple(documents)))


def _checked(instruction: Instruction) -> Instruction:
    if instruction.keyword not in KEYWORDS:
        from difflib import get_close_matches

        near = get_close_matches(instruction.keyword, KEYWORDS, 1)
        hint = f"did you mean `{near[0]}`?" if near else "a line that goes on ends with the escape character"
        raise DockerfileError(instruction.line, f"unknown instruction: {instruction.keyword}", hint)
    if not instruction.text and not instruction.documents:
        raise DockerfileError(instruction.line, f"{instruction.keyword} has no arguments")
    return instruction


def _documents_of(text: str) -> list[tuple[str, str, str]]:
    """The here-documents that a line announces: dash, quote and name of each."""
    keyword, rest = _first_word(text)
    if keyword.upper() == "ONBUILD":
        keyword, rest = _first_word(rest)
    if keyword.upper() not in _WITH_DOCUMENTS or "<<" not in rest or rest.lstrip().startswith("["):
        return []
    return [(found[1], found[2], found[3]) for word in _words(rest) if (found := _DOCUMENT.fullmatch(word))]


def _read_document(lines: list[str], at: int, name: str, dash: str, begun: int) -> tuple[str, int]:
    """The lines up to the one that is `name`, and where the file goes on."""
    content: list[str] = []
    while at < len(lines):
        line = lines[at].rstrip("\r")
        at += 1
        if (line.lstrip("\t") if dash else line) == name:
            return "".join(f"{one}\n" for one in content), at
        content.append(line.lstrip("\t") if dash else line)
    raise DockerfileError(begun, f"the document <<{name} has no end", f"end it with a line that is `{name}`")


def _first_word(text: str) -> tuple[str, str]:
    parts = text.split(None, 1)
    return (parts[0] if parts else ""), (parts[1].strip(_BLANKS) if len(parts) > 1 else "")


def _flags(text: str) -> tuple[tuple[str, ...], str]:
    """The words with `--` in front, quotes and escapes taken off, and what follows them."""
    flags: list[str] = []
    rest = text
    while rest.startswith("--") and len(flags) < _MOST_FLAGS:
        word, after = _cut_word(rest)
        if word == "--":
            return tuple(flags), after
        flags.append(word)
        rest = after
    return tuple(flags), rest


def _cut_word(text: str) -> tuple[str, str]:
    word: list[str] = []
    quote = ""
    at = 0
    while at < len(text):
        character = text[at]
        if not quote and character in _BLANKS:
            break
        if character == "\\" and at + 1 < len(text) and quote != "'":
            at += 1
            word.append(text[at])
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        else:
            word.append(character)
        at += 1
    return "".join(word), text[at:].lstrip(_BLANKS)


def _words(text: str) -> list[str]:
    """Words split at blanks outside of quotes, quotes kept."""
    return re.findall(r"(?:\"(?:\\.|[^\"\\])*\"|'[^']*'|\\.|[^\s'\"\\])+", text)
