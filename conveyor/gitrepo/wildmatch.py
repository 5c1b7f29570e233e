"""The patterns of .gitattributes, as git's own wildmatch reads them: bytes, one `?` for one byte.

They differ from the globs of the configuration (`matching`): no braces, classes such as `[:alpha:]`, and what matches a
directory says nothing of the files in it.
"""

from __future__ import annotations

import re
from functools import lru_cache

from conveyor.wildcards import DEEP, STAR, join_pieces

_PRINTED = "".join(map(chr, range(32, 127)))
_CLASSES = {
    b"alnum": "".join(filter(str.isalnum, _PRINTED)),
    b"alpha": "".join(filter(str.isalpha, _PRINTED)),
    b"blank": " \t",
    b"cntrl": "".join(map(chr, range(32))) + "\x7f",
    b"digit": "0123456789",
    b"graph": _PRINTED[1:],
    b"lower": "".join(filter(str.islower, _PRINTED)),
    b"print": _PRINTED,
    b"punct": "".join(one for one in _PRINTED[1:] if not one.isalnum()),
    b"space": " \t\n\v\f\r",
    b"upper": "".join(filter(str.isupper, _PRINTED)),
    b"xdigit": "0123456789abcdefABCDEF",
}
_SPECIAL = re.compile(rb"[*?\[\\]")
_NEVER = re.compile(rb"(?!)")


@lru_cache(maxsize=4096)
def compile_pattern(pattern: bytes) -> re.Pattern[bytes]:
    """A regular expression for whole paths; `*` and `?` match no `/`. A pattern that cannot be read matches nothing."""
    pieces: list[str] = []
    at = 0
    while at < len(pattern):
        character = pattern[at : at + 1]
        if character == b"*":
            end = at + len(pattern[at:]) - len(pattern[at:].lstrip(b"*"))
            # Git compares what stands before the first special character by itself, and matches the rest from its start.
            starts = pattern[at - 1 : at] == b"/" or not _SPECIAL.search(pattern, 0, at)
            if end - at > 1 and starts and pattern[end : end + 1] == b"/":
                pieces.append(DEEP)
                end += 1
            elif end - at > 1 and starts and end == len(pattern):
                pieces.append(".*")
            else:
                pieces.append(STAR)
            at = end
        elif character == b"?":
            pieces.append("[^/]")
            at += 1
        elif character == b"[":
            members, at = _read_class(pattern, at + 1)
            members.discard(ord("/"))
            if not members:
                return _NEVER
            pieces.append("[" + "".join(f"\\x{member:02x}" for member in sorted(members)) + "]")
        elif character == b"\\":
            if at + 1 == len(pattern):
                return _NEVER
            pieces.append(re.escape(pattern[at + 1 : at + 2].decode("latin-1")))
            at += 2
        else:
            pieces.append(re.escape(character.decode("latin-1")))
            at += 1
    return re.compile(join_pieces(pieces).encode("latin-1"), re.DOTALL)


def _read_class(pattern: bytes, at: int) -> tuple[set[int], int]:
    """The bytes that a class matches, and where it ends; none where it is not closed or names an unknown class."""
    negated = pattern[at : at + 1] in (b"!", b"^")
    start = at = at + negated
    members: set[int] = set()
    previous: int | None = None
    while at < len(pattern):
        character = pattern[at : at + 1]
        if character == b"]" and at > start:
            return (set(range(1, 256)) - members if negated else members), at + 1
        named = re.compile(rb"\[:([^\]]*):\]").match(pattern, at)
        if character == b"-" and previous is not None and pattern[at + 1 : at + 2] not in (b"]", b""):
            at += 2 if pattern[at + 1 : at + 2] == b"\\" else 1
            members.update(range(previous, pattern[at] + 1) if at < len(pattern) else ())
            previous = None
            at += 1
        elif named:
            if named[1] not in _CLASSES:
                break
            members.update(_CLASSES[named[1]].encode())
            previous = None
            at = named.end()
        else:
            at += character == b"\\"
            if at < len(pattern):
                previous = pattern[at]
                members.add(previous)
            at += 1
    return set(), len(pattern)
