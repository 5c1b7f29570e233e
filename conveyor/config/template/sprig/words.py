"""Functions of sprig over the words of a text: changes of case, abbreviations, wrapping.

Some count bytes and some characters, as their Go originals do; which one is part of their result.
"""

from __future__ import annotations

import re

from conveyor.config.template.functions import check_text, declare
from conveyor.config.template.sprig.letters import (
    is_alphabetic,
    is_lower,
    is_number,
    is_punctuation,
    is_space,
    is_upper,
    map_characters,
    to_lower,
    to_title,
    to_upper,
)
from conveyor.config.template.values import raw
from conveyor.config.template.values import text as as_text

# Over one letter a character: c connector, d connector and punctuation, p punctuation, U capital, a letter, n number.
_WORD = re.compile(
    r"(?P<connector>[cd]+)|(?P<punctuation>p[pd]*)|(?P<upper>U+(?=Ua)|U{2,}|Ua+|U)|(?P<letters>a+)|(?P<number>n+)|(?P<other>o+)"
)


def upper(text: str) -> str:
    """Every letter as a capital."""
    return map_characters(to_upper, text)


def lower(text: str) -> str:
    """Every letter small."""
    return map_characters(to_lower, text)


def title(text: str) -> str:
    """The first letter of every word in title case; letters, digits and `_` are what words are made of."""
    changed = []
    separated = True
    for character in text:
        changed.append(to_title(character) if separated else character)
        if character.isascii():
            separated = not (character.isalnum() or character == "_")
        else:
            separated = not (is_alphabetic(character) or character.isalnum()) and is_space(character)
    return map_characters(_same, "".join(changed))


def untitle(text: str) -> str:
    """The first letter of every word small; words stand between white space."""
    return re.sub(r"\S+", lambda word: to_lower(word[0][0]) + word[0][1:], text) if text.isascii() else _untitle(text)


def swapcase(text: str) -> str:
    """Capitals small and small letters as capitals; a small letter that begins a word in title case."""
    changed = []
    begins = True
    for character in map_characters(_same, text):
        if is_upper(character) or character == to_title(character) != to_upper(character):
            changed.append(to_lower(character))
            begins = False
        elif is_lower(character):
            changed.append(to_title(character) if begins else to_upper(character))
            begins = False
        else:
            changed.append(character)
            begins = is_space(character)
    return "".join(changed)


def camelcase(text: str) -> str:
    """`http_server` as `HttpServer`: `-`, `_` and white space join words; those at either end and doubled ones stay."""
    text = map_characters(_same, text)
    leading = 0
    while leading < len(text) and _connects(text[leading]):
        leading += 1
    if leading == len(text):
        return text + text[-1:]  # the last one twice: so does Go's library
    pieces = [text[:leading]]
    last = to_upper(text[leading])
    for character in text[leading + 1 :]:
        joins = _connects(last)
        if not joins or _connects(character):
            pieces.append(last)
        last = to_upper(character) if joins and not _connects(character) else character
    return "".join(pieces) + last


def snakecase(text: str) -> str:
    """`HTTPServer` as `http_server`."""
    return _join_words(text, "_")


def kebabcase(text: str) -> str:
    """`HTTPServer` as `http-server`."""
    return _join_words(text, "-")


def initials(text: str) -> str:
    """The first byte of every word, as a character."""
    octets = raw(text)
    begins = zip(b" " + octets, octets, strict=False)
    return "".join(chr(byte) for before, byte in begins if is_space(chr(before)) and not is_space(chr(byte)))


def nospace(text: str) -> str:
    """Without white space, looked for byte by byte: where one is found, every other byte becomes a character of its own."""
    octets = raw(text)
    kept = [character for character in map(chr, octets) if not is_space(character)]
    return text if len(kept) == len(octets) else "".join(kept)


def abbrev(width: int, text: str) -> str:
    """At most `width` bytes, the last three of them an ellipsis; as it is where `width` is below 4."""
    return text if width < 4 else as_text(_abbreviate(raw(text), 0, width))


def abbrevboth(left: int, right: int, text: str) -> str:
    """At most `right` bytes from about `left` on, with an ellipsis at both ends; as it is where they are too small."""
    if right < 4 or (left > 0 and right < 7):
        return text
    return as_text(_abbreviate(raw(text), left, right))


def wrap(width: int, text: str) -> str:
    """Lines of at most `width` bytes; longer words stay whole."""
    return wrap_with(width, "\n", text, whole_words=True)


def wrap_with(width: int, separator: str, text: str, *, whole_words: bool = False) -> str:
    """Pieces of at most `width` bytes with `separator` between them; longer words are cut unless they are to stay whole."""
    octets, newline = raw(text), raw(separator or "\n")
    width = max(width, 1)
    pieces: list[bytes] = []
    offset = size = 0
    while len(octets) - offset > width:
        if octets[offset] == 0x20:
            offset += 1
            continue
        cut = octets.rfind(b" ", offset, offset + width + 1)
        skipped = 1
        if cut < 0 and whole_words:
            cut = octets.find(b" ", offset + width)
            if cut < 0:
                break
        elif cut < 0:
            cut, skipped = offset + width, 0
        size += cut - offset + len(newline)
        check_text(size)
        pieces += (octets[offset:cut], newline)
        offset = cut + skipped
    return as_text(b"".join([*pieces, octets[offset:]]))


def _untitle(text: str) -> str:
    changed = []
    begins = True
    for character in text:
        if is_space(character):
            begins = True
        elif begins:
            character, begins = to_lower(character), False
        changed.append(character)
    return map_characters(_same, "".join(changed))


def _same(character: str) -> str:
    return character


def _connects(character: str) -> bool:
    return character in "-_" or is_space(character)


def _join_words(text: str, connector: str) -> str:
    """The words of `text` small, with `connector` between them.

    A number belongs to the word before it, unless letters follow it: then it begins a word.
    """
    words = [(match.lastgroup or "", text[match.start() : match.end()]) for match in _WORD.finditer(_classes(text))]
    joined: list[str] = []
    at = 0

    def kind(index: int) -> str:
        return words[index][0] if index < len(words) else ""

    def emit(index: int) -> None:
        joined.append(_small(*words[index], connector))

    def separate(index: int) -> None:
        if kind(index) not in ("", "punctuation", "connector"):
            joined.append(connector)

    def emit_number(index: int) -> int:
        """The number at `index` and the letters and numbers that follow it; returns where the next word stands."""
        emit(index)
        index += 1
        while kind(index) in ("letters", "number"):
            emit(index)
            index += 1
        separate(index)
        return index

    while at < len(words):
        if kind(at) == "number":
            at = emit_number(at)
            continue
        emit(at)
        here, at = kind(at), at + 1
        if here in ("connector", "punctuation"):
            continue
        if kind(at) != "number":
            separate(at)
        elif kind(at + 1) == "letters":
            joined.append(connector)
            at = emit_number(at)
        else:
            emit(at)
            at += 1
            separate(at)
    return "".join(joined)


def _classes(text: str) -> str:
    """One letter for each character: what `_WORD` is matched against."""
    classes = []
    for character in text:
        if character in "-_":
            classes.append("d")
        elif is_space(character):
            classes.append("c")
        elif is_punctuation(character):
            classes.append("p")
        elif is_upper(character):
            classes.append("U")
        elif is_alphabetic(character):
            classes.append("a")
        else:
            classes.append("n" if is_number(character) else "o")
    return "".join(classes)


def _small(kind: str, word: str, connector: str) -> str:
    if kind == "connector":
        return connector * len(word)
    if kind != "upper":
        return word
    return "".join(to_lower(character) if is_upper(character) else character for character in word)


def _abbreviate(octets: bytes, left: int, width: int) -> bytes:
    if len(octets) <= width:
        return octets
    left = min(left, len(octets))
    if len(octets) - left < width - 3:
        left = len(octets) - (width - 3)
    if left <= 4:
        return octets[: width - 3] + b"..."
    if width < 7:
        return b""
    if left + width - 3 < len(octets):
        return b"..." + _abbreviate(octets[left:], 0, width - 3)
    return b"..." + octets[len(octets) - (width - 3) :]


FUNCTIONS = dict(
    (
        declare("upper", "string", upper, walks=2),
        declare("lower", "string", lower, walks=2),
        declare("title", "string", title, walks=8),
        declare("untitle", "string", untitle, walks=8),
        declare("swapcase", "string", swapcase, walks=4),
        declare("camelcase", "string", camelcase, walks=8),
        declare("snakecase", "string", snakecase, walks=20),
        declare("kebabcase", "string", kebabcase, walks=20),
        declare("initials", "string", initials, walks=2),
        declare("nospace", "string", nospace, walks=2),
        declare("abbrev", "int string", abbrev, walks=2),
        declare("abbrevboth", "int int string", abbrevboth, walks=2),
        declare("wrap", "int string", wrap, walks=6),
        declare("wrapWith", "int string string", wrap_with, walks=6),
    )
)
