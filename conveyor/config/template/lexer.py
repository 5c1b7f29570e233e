"""The text of a template as tokens: text, and what stands between `{{` and `}}`."""

from __future__ import annotations

import re
import sys
from typing import Final, NamedTuple

from .quoting import quoted
from .values import byte_length

# Kinds of tokens. Those from KEYWORD on are shown in angle brackets.
ERROR, BOOL, CHAR, CHARACTER, COMPLEX, ASSIGN, DECLARE, END, FIELD, IDENTIFIER, LEFT, LEFT_PAREN, NUMBER = range(13)
PIPE, RAW_STRING, RIGHT, RIGHT_PAREN, SPACE, STRING, TEXT, VARIABLE = range(13, 21)
KEYWORD = 30
BLOCK, BREAK, CONTINUE, DOT, DEFINE, ELSE, END_KEYWORD, IF, NIL, RANGE, TEMPLATE, WITH = range(31, 43)

_KEYWORDS: Final = {
    "block": BLOCK,
    "break": BREAK,
    "continue": CONTINUE,
    "define": DEFINE,
    "else": ELSE,
    "end": END_KEYWORD,
    "if": IF,
    "nil": NIL,
    "range": RANGE,
    "template": TEMPLATE,
    "with": WITH,
    "true": BOOL,
    "false": BOOL,
}
_BLANKS: Final = " \t\r\n"
_BLANK: Final = frozenset(_BLANKS)
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_NUMBER: Final = re.compile(
    r"[+-]?(?:0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?"
    r"|0[oO][0-7_]*(?:\.[0-7_]*)?|0[bB][01_]*(?:\.[01_]*)?"
    r"|[0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?)i?"
)
# One group for each kind of token: the number of the group tells which it is.
_TOKEN: Final = re.compile(
    r"([ \t\r\n]+?(?=[ \t\r\n]-\}\})|[ \t\r\n]+(?!-\}\}))"
    r"|([ \t\r\n]-\}\}|\}\})"
    r"|([+-]|\.?[0-9])"
    r"|(\w+)"
    r"|(\.\w*)"
    r"|(\$\w*)"
    r'|("(?:\\[^\n]|[^"\\\n]++)*+")'
    r"|(`[^`]*`)"
    r"|('(?:\\[^\n]|[^'\\\n]++)*+')"
    r"|(\|)|(\()|(\))|(:=)|(=)"
    r"|([:\"`'])"
    r"|([!-~])"
)
_BROKEN_TOKEN: Final = -1
_KINDS: Final = (
    ERROR,
    SPACE,
    RIGHT,
    NUMBER,
    IDENTIFIER,
    FIELD,
    VARIABLE,
    STRING,
    RAW_STRING,
    CHARACTER,
    PIPE,
    LEFT_PAREN,
    RIGHT_PAREN,
    DECLARE,
    ASSIGN,
    _BROKEN_TOKEN,
    CHAR,
)
_BROKEN: Final = {
    ":": "expected :=",
    '"': "unterminated quoted string",
    "`": "unterminated raw quoted string",
    "'": "unterminated character constant",
}


class Token(NamedTuple):
    """`position` counts characters of the source from 0, `line` from 1. For ERROR, `text` is the message."""

    kind: int
    position: int
    text: str
    line: int

    def shown(self) -> str:
        """The token in a message."""
        if self.kind == END:
            return "EOF"
        if self.kind == ERROR:
            return self.text
        if self.kind > KEYWORD:
            return f"<{self.text}>"
        return quoted(self.text[:10]) + "..." if byte_length(self.text) > 10 else quoted(self.text)


def tokens_of(source: str, most: int = sys.maxsize) -> list[Token]:
    """All tokens; the last is END, or ERROR where the text makes no sense. It stops somewhere past `most` of them."""
    tokens: list[Token] = []
    position = 0
    line = 1
    while True:
        if len(tokens) > most:
            return tokens
        left = source.find("{{", position)
        text = source[position : left if left >= 0 else None]
        trims = left >= 0 and source[left + 2 : left + 3] == "-" and source[left + 3 : left + 4] in _BLANK
        shown = text.rstrip(_BLANKS) if trims else text
        if shown:
            tokens.append(Token(TEXT, position, shown, line))
        line += text.count("\n")
        if left < 0:
            tokens.append(Token(END, len(source), "", line))
            return tokens
        after = left + (4 if trims else 2)
        start = len(tokens)
        if source.startswith("/*", left + 4 if trims else left + 2):
            position = _comment(source, after, line, tokens)
        else:
            tokens.append(Token(LEFT, left, "{{", line))
            position = _action(source, after, line + source.count("\n", left, after), tokens, most)
        if len(tokens) > start and tokens[-1].kind == ERROR:
            return tokens
        line += source.count("\n", left, position)


def _comment(source: str, position: int, line: int, tokens: list[Token]) -> int:
    """Past the comment that begins at `position`, or an error token."""
    close = source.find("*/", position + 2)
    if close < 0:
        tokens.append(Token(ERROR, position, "unclosed comment", line))
        return position
    close += 2
    if source[close : close + 1] in _BLANK and source.startswith("-}}", close + 1):
        return _past_blanks(source, close + 4)
    if source.startswith("}}", close):
        return close + 2
    tokens.append(Token(ERROR, position, "comment ends before closing delimiter", line))
    return position


def _action(source: str, position: int, line: int, tokens: list[Token], most: int) -> int:
    """The tokens of one action, `}}` included; the position after it (and after the blanks that it trims)."""
    add = tokens.append
    make = tuple.__new__  # twice as fast as by the name of the type
    match_token = _TOKEN.match
    depth = 0
    error = ""
    while len(tokens) <= most:
        match = match_token(source, position)
        if match is None:
            error = "unclosed action"
            if position < len(source):
                error = f"unrecognized character in action: {_unicode(source[position])}"
            break
        kind = _KINDS[match.lastindex or 0]
        end = match.end()
        word = match.group()
        if kind == SPACE:
            add(make(Token, (kind, position, word, line)))
            line += word.count("\n")
            position = end
            continue
        if kind in (IDENTIFIER, FIELD, VARIABLE):
            if not word.isascii():
                word = _letters(word)
                end = position + len(word)
                if not word:
                    error = f"unrecognized character in action: {_unicode(source[position])}"
                    break
            if source[end : end + 1] not in " \t\r\n.,|:()" and not source.startswith("}}", end):
                error = f"bad character {_unicode(source[end])}"
                break
            if kind == IDENTIFIER:
                kind = _KEYWORDS.get(word, IDENTIFIER)
            elif word == ".":
                kind = DOT if end < len(source) else NUMBER
        elif kind == RIGHT:
            if depth:
                error = "unclosed left paren"
                break
            add(make(Token, (kind, end - 2, "}}", line + word.count("\n"))))  # a mark that trims stands behind a blank
            return end if len(word) == 2 else _past_blanks(source, end)
        elif kind == NUMBER:
            word, kind, error = _number(source, position)
            if error:
                break
            end = position + len(word)
        elif kind == LEFT_PAREN:
            depth += 1
        elif kind == RIGHT_PAREN:
            depth -= 1
            if depth < 0:
                error = "unexpected right paren"
                break
        elif kind == _BROKEN_TOKEN:
            error = _BROKEN[word]
            break
        add(make(Token, (kind, position, word, line)))
        if kind == RAW_STRING:
            line += word.count("\n")
        position = end
    add(Token(ERROR, position, error, line))
    return position


def _number(source: str, position: int) -> tuple[str, int, str]:
    """Text and kind of a number, and an error."""
    end, good = _scan_number(source, position)
    if good and source[end : end + 1] in {"+", "-"}:
        end, good = _scan_number(source, end)
        good = good and source[end - 1] == "i"
        kind = COMPLEX
    else:
        kind = NUMBER
    text = source[position:end]
    return text, kind, "" if good else f"bad number syntax: {quoted(text)}"


def _scan_number(source: str, position: int) -> tuple[int, bool]:
    match = _NUMBER.match(source, position)
    end = match.end() if match else position
    following = source[end : end + 1]
    if following and (following == "_" or following.isalpha() or following.isdecimal()):
        return end + 1, False
    return end, True


def _letters(word: str) -> str:
    """The part of a word that is letters, digits and underscores to Go; the `.` or `$` before it counts."""
    for index, char in enumerate(word):
        if not (char == "_" or char.isalpha() or char.isdecimal() or (index == 0 and char in ".$")):
            return word[:index]
    return word


def _past_blanks(source: str, position: int) -> int:
    match = _SPACE.match(source, position)
    return match.end() if match else position


def _unicode(char: str) -> str:
    """A character as Go's `%#U` shows it."""
    if "\udc80" <= char <= "\udcff":
        char = "\ufffd"
    return f"U+{ord(char):04X}" + (f" '{char}'" if char.isprintable() else "")
