"""A format of Go's `fmt.Sprintf`, gone through with its arguments; mistakes leave Go's marks in the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .printer import Printer
from .values import Value, go_type

_LARGEST_WIDTH: Final = 1_000_000


class Format(Printer):
    """Goes through a format with its arguments."""

    def __init__(self, form: str, arguments: Sequence[Value]) -> None:
        super().__init__()
        self._form = form
        self._arguments = arguments
        self._at = 0
        self._argument = 0
        self._reordered = False
        self._good = True
        while self._at < len(form):
            percent = form.find("%", self._at)
            if percent < 0:
                self.add(form[self._at :])
                break
            self.add(form[self._at : percent])
            self._at = percent + 1
            self._verb()
        if not self._reordered and self._argument < len(arguments):
            self._extra()

    def _verb(self) -> None:
        """One verb with its flags, width and precision."""
        self.clear()
        self._good = True
        self._flags()
        indexed = self._index()
        if self._char() == "*":
            self._at += 1
            self.width = self._number_argument("WIDTH")
            if self.width is not None and self.width < 0:
                self.width = -self.width
                self.minus = True
                self.zero = False
            indexed = False
        else:
            self.width = self._number()
            if indexed and self.width is not None:
                self._good = False
        if self._char() == "." and self._at + 1 < len(self._form):
            self._at += 1
            if indexed:
                self._good = False
            indexed = self._index()
            if self._char() == "*":
                self._at += 1
                self.precision = self._number_argument("PREC")
                if self.precision is not None and self.precision < 0:
                    self.precision = None
                    self.add("%!(BADPREC)")
                indexed = False
            else:
                self.precision = self._number() or 0
        if not indexed:
            self._index()
        verb = self._char()
        if not verb:
            self.add("%!(NOVERB)")
            return
        self._at += 1
        if verb == "%":
            self.add("%")
        elif not self._good:
            self.add(f"%!{verb}(BADINDEX)")
        elif self._argument >= len(self._arguments):
            self.add(f"%!{verb}(MISSING)")
        else:
            if verb in "vw":
                self.sharp_v, self.sharp = self.sharp, False
                self.plus_v, self.plus = self.plus, False
            self._argument += 1
            self.print_argument(self._arguments[self._argument - 1], verb)

    def _char(self) -> str:
        return self._form[self._at : self._at + 1]

    def _flags(self) -> None:
        while True:
            match self._char():
                case "#":
                    self.sharp = True
                case "0":
                    self.zero = True
                case "+":
                    self.plus = True
                case "-":
                    self.minus = True
                case " ":
                    self.space = True
                case _:
                    return
            self._at += 1

    def _number(self) -> int | None:
        start = self._at
        while self._char() and self._char() in "0123456789":
            self._at += 1
            if self._at - start > 7 or int(self._form[start : self._at]) > _LARGEST_WIDTH:
                self._at = len(self._form)
                return None
        return int(self._form[start : self._at]) if self._at > start else None

    def _number_argument(self, name: str) -> int | None:
        number: Value = None
        if self._argument < len(self._arguments):
            number = self._arguments[self._argument]
            self._argument += 1
        if not isinstance(number, int) or isinstance(number, bool) or abs(number) > _LARGEST_WIDTH:
            self.add(f"%!(BAD{name})")
            return None
        return int(number)

    def _index(self) -> bool:
        """An explicit index, `[2]`: whether there was one."""
        if self._char() != "[":
            return False
        self._reordered = True
        close = self._form.find("]", self._at)
        if close < 0 or self._at + 3 > len(self._form):
            self._good = False
            self._at += 1
            return False
        inner = self._form[self._at + 1 : close]
        self._at = close + 1
        well_formed = inner.isascii() and inner.isdigit() and len(inner) < 8
        if well_formed and 1 <= int(inner) <= len(self._arguments):
            self._argument = int(inner) - 1
            return True
        self._good = False
        return well_formed

    def _extra(self) -> None:
        self.clear()
        self.add("%!(EXTRA ")
        for index, argument in enumerate(self._arguments[self._argument :]):
            if index:
                self.add(", ")
            if argument is None:
                self.add("<nil>")
            else:
                self.add(go_type(argument) + "=")
                self.print(argument, "v", 0)
        self.add(")")
