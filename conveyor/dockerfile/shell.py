"""Words of a Dockerfile: quotes, escapes and variables, as BuildKit takes them (`$a`, `${a}`, `${a:-b}`, `${a#b}`, ...).

A value that cannot be known here is None: a variable that may come from the environment of a base image. Who asks must
take everything then.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Lookup = Callable[[str], "tuple[bool, str | None]"]
"""Whether a variable is set, and its value; None: set or not, nobody knows here to what."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?$!-]")
_LONGEST_WORD, _LONGEST_VALUE = 100_000, 2**18  # characters
_LONGEST_CUT = 4096  # characters of a value
_SPECIALS = "@*#?$!-"


class _Unknown(Exception):
    """A value that only the base image tells."""


class BadSubstitution(Exception):
    """`${...}` that is not closed, or with a modifier that there is not."""


def expand(text: str, lookup: Lookup, escape: str = "\\") -> str | None:
    """A word with its variables expanded and its quotes and escapes taken off; None where it cannot be known.

    `BadSubstitution`, for one that grows too long or is nested too deep, too.
    """
    if len(text) > _LONGEST_WORD:
        raise BadSubstitution(f"a word of {len(text)} characters is not expanded, {_LONGEST_WORD} are: {text[:40]}...")
    try:
        found = _Word(text, lookup, escape).read("")
    except _Unknown:
        return None
    except RecursionError:
        raise BadSubstitution(f"nested too deep: {text[:40]}...") from None
    if len(found) > _LONGEST_VALUE:
        raise BadSubstitution(f"the value has {len(found)} characters, {_LONGEST_VALUE} is the most: {text[:40]}...")
    return found


def split_pairs(text: str) -> list[tuple[str, str]]:
    """`a=b c="d e"` or `a b c` as ENV and LABEL have it: names with their raw values, quotes kept."""
    words = split_words(text)
    if words and "=" not in words[0]:
        name, _, value = text.strip().partition(" ") if " " in text.strip() else text.strip().partition("\t")
        return [(name, value.strip())]
    return [(name, value) for name, _, value in (word.partition("=") for word in words)]


def split_words(text: str) -> list[str]:
    """Words split at blanks that are neither quoted nor escaped, quotes kept."""
    return re.findall(r"(?:\"(?:\\.|[^\"\\])*\"?|'[^']*'?|\\.|[^\s'\"\\]|\\$)+", text, re.DOTALL)


class _Word:
    def __init__(self, text: str, lookup: Lookup, escape: str) -> None:
        self._text = text
        self._lookup = lookup
        self._escape = escape
        self._at = 0

    def read(self, stop: str) -> str:
        """Up to a character that is neither quoted nor escaped, or the end."""
        found: list[str] = []
        while self._at < len(self._text):
            character = self._text[self._at]
            if stop and character == stop:
                return "".join(found)
            self._at += 1
            if character == "'":
                end = self._text.find("'", self._at)
                if end < 0:
                    raise BadSubstitution(f"a quote is not closed: {self._text}")
                found.append(self._text[self._at : end])
                self._at = end + 1
            elif character == '"':
                found.append(self._quoted())
            elif character == "$":
                found.append(self._variable())
            elif character == self._escape:
                if self._at < len(self._text):
                    found.append(self._text[self._at])
                    self._at += 1
            else:
                found.append(character)
        if stop:
            raise BadSubstitution(f"`${{` is not closed: {self._text}")
        return "".join(found)

    def _quoted(self) -> str:
        found: list[str] = []
        while self._at < len(self._text):
            character = self._text[self._at]
            self._at += 1
            if character == '"':
                return "".join(found)
            if character == "$":
                found.append(self._variable())
            elif character == self._escape and self._at < len(self._text):
                following = self._text[self._at]
                if following not in ('"', "$", self._escape):
                    found.append(character)
                found.append(following)
                self._at += 1
            else:
                found.append(character)
        raise BadSubstitution(f"a quote is not closed: {self._text}")

    def _variable(self) -> str:
        rest = self._text[self._at :]
        if not rest.startswith("{"):
            match = _NAME.match(rest)
            if match is None:
                return "$"
            self._at += len(match[0])
            return self._value(match[0]) or ""
        match = _NAME.match(rest, 1)
        if match is None:
            raise BadSubstitution(f"`${{` without the name of a variable: {self._text}")
        self._at += 1 + len(match[0])
        name = match[0]
        following = self._text[self._at : self._at + 1]
        if following == "}":
            self._at += 1
            return self._value(name) or ""
        self._at += 1
        if following == ":":
            following = self._text[self._at : self._at + 1]
            self._at += 1
            return self._default(name, following, empty_counts=False)
        if following and following in "-+?":
            return self._default(name, following, empty_counts=True)
        if following and following in "#%":
            return self._trimmed(name, following)
        if following == "/":
            return self._replaced(name)
        raise BadSubstitution(f"`${{{name}{following}` has a modifier that is not known: {self._text}")

    def _argument(self) -> str:
        """What stands after a modifier, up to the bracket that closes it."""
        word = self.read("}")
        self._at += 1
        return word

    def _raw_argument(self) -> str:
        depth, begun = 1, self._at
        while self._at < len(self._text):
            character = self._text[self._at]
            depth += (character == "{") - (character == "}")
            self._at += 1
            if not depth:
                return self._text[begun : self._at - 1]
        raise BadSubstitution(f"`${{` is not closed: {self._text}")

    def _default(self, name: str, modifier: str, *, empty_counts: bool) -> str:
        is_set, value = self._lookup(name)
        if value is None and is_set:
            self._raw_argument()
            raise _Unknown
        has_value = is_set and (empty_counts or bool(value))
        if modifier not in "-+?" or not modifier:
            raise BadSubstitution(f"`:{modifier}` is not known: {self._text}")
        word = self._argument()
        if modifier == "+":
            return word if has_value else ""
        if has_value:
            return value or ""
        if modifier == "?":
            raise BadSubstitution(f"{name}: {word or 'it is not set'}")
        return word

    def _trimmed(self, name: str, modifier: str) -> str:
        longest = self._text[self._at : self._at + 1] == modifier
        self._at += longest
        pattern = _pattern(self._argument())
        value = self._cuttable(name)
        cuts = range(len(value) + 1)
        if modifier == "#":
            for cut in reversed(cuts) if longest else cuts:
                if pattern.fullmatch(value[:cut]):
                    return value[cut:]
        else:
            for cut in cuts if longest else reversed(cuts):
                if pattern.fullmatch(value[cut:]):
                    return value[:cut]
        return value

    def _replaced(self, name: str) -> str:
        everywhere = self._text[self._at : self._at + 1] == "/"
        self._at += everywhere
        wanted = self.read("/")
        self._at += 1
        instead = self._argument()
        return _pattern(wanted).sub(lambda match: instead, self._cuttable(name), count=0 if everywhere else 1)

    def _cuttable(self, name: str) -> str:
        """A value that a pattern is tried on, at each of its characters."""
        value = self._value(name) or ""
        if len(value) > _LONGEST_CUT:
            raise BadSubstitution(f"{name}: a value of {len(value)} characters is not cut by a pattern, {_LONGEST_CUT} are")
        return value

    def _value(self, name: str) -> str | None:
        if name in _SPECIALS or name.isdigit():
            return ""
        is_set, value = self._lookup(name)
        if is_set and value is None:
            raise _Unknown
        return value


def _pattern(text: str) -> re.Pattern[str]:
    """`*` and `?` of a shell, `\\` before a character takes it as it is."""
    pieces = re.findall(r"\\.|.", text, re.DOTALL)
    source = ""
    stars_left = pieces.count("*")
    is_open = False
    for piece in pieces:
        if piece == "*":
            # Between two `*` a text is taken where it first fits, as `conveyor.wildcards` has it.
            stars_left -= 1
            source += ")" * is_open + ("(?>.*?" if stars_left else ".*")
            is_open = stars_left > 0
        else:
            source += "." if piece == "?" else re.escape(piece[-1])
    return re.compile(source, re.DOTALL)
