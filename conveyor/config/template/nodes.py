"""The parts of a parsed template. `str(node)` is the node as messages quote it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from .quoting import quoted
from .values import Value


class Node:
    """A part of a template; `position` counts characters of its source."""

    __slots__ = ("position",)

    def __init__(self, position: int) -> None:
        self.position = position


class Text(Node):
    """Text between actions."""

    __slots__ = ("text",)

    def __init__(self, position: int, text: str) -> None:
        self.position = position
        self.text = text

    def __str__(self) -> str:
        return self.text


class Dot(Node):
    """The cursor, `.`."""

    __slots__ = ()

    def __str__(self) -> str:
        return "."


class Nil(Node):
    """The word `nil`."""

    __slots__ = ()

    def __str__(self) -> str:
        return "nil"


class Literal(Node):
    """A string, a boolean or a number as it was written, and the value that it has where nothing says otherwise.

    `whole` and `real` are a number as an integer and as a float, None where it is none.
    """

    __slots__ = ("real", "text", "value", "whole")

    def __init__(self, position: int, text: str, value: Value, whole: int | None = None, real: float | None = None) -> None:
        self.position = position
        self.text = text
        self.value = value
        self.whole = whole
        self.real = real

    def __str__(self) -> str:
        return self.text


class Overflow:
    """The value of a literal that is a whole number too large for `int`: an error where it is used without a type."""

    __slots__ = ()


class Identifier(Node):
    """The name of a function."""

    __slots__ = ("name",)

    def __init__(self, position: int, name: str) -> None:
        self.position = position
        self.name = name

    def __str__(self) -> str:
        return self.name


class Field(Node):
    """`.a.b`: a chain from the cursor."""

    __slots__ = ("names",)

    def __init__(self, position: int, names: Sequence[str]) -> None:
        self.position = position
        self.names = names

    def __str__(self) -> str:
        return "." + ".".join(self.names)


class Variable(Node):
    """`$x.a.b`: `name` with its `$`, and a chain from it."""

    __slots__ = ("name", "names")

    def __init__(self, position: int, name: str, names: Sequence[str] = ()) -> None:
        self.position = position
        self.name = name
        self.names = names

    def __str__(self) -> str:
        return ".".join((self.name, *self.names))


class Chain(Node):
    """`(pipeline).a.b`, or a function's name with fields after it."""

    __slots__ = ("names", "start")

    def __init__(self, position: int, start: Node, names: Sequence[str]) -> None:
        self.position = position
        self.start = start
        self.names = names

    def __str__(self) -> str:
        start = f"({self.start})" if isinstance(self.start, Pipe) else str(self.start)
        return start + "." + ".".join(self.names)


class Command(Node):
    """An operand or a function with its arguments."""

    __slots__ = ("arguments",)

    def __init__(self, position: int, arguments: Sequence[Node]) -> None:
        self.position = position
        self.arguments = arguments

    def __str__(self) -> str:
        return " ".join(f"({part})" if isinstance(part, Pipe) else str(part) for part in self.arguments)


class Pipe(Node):
    """Commands, each with the value of the one before it; the last value goes to the declared variables.

    `steps` is what running it takes of the bound, but for calls.
    """

    __slots__ = ("assigns", "commands", "steps", "variables")

    def __init__(self, position: int) -> None:
        self.position = position
        self.steps = 0
        self.commands: list[Command] = []
        self.variables: list[str] = []
        self.assigns = False

    def __str__(self) -> str:
        shown = ", ".join(self.variables) + (" = " if self.assigns else " := ") if self.variables else ""
        return shown + " | ".join(map(str, self.commands))


class Action(Node):
    """`{{pipeline}}`."""

    __slots__ = ("pipe",)

    def __init__(self, position: int, pipe: Pipe) -> None:
        self.position = position
        self.pipe = pipe

    def __str__(self) -> str:
        return f"{{{{{self.pipe}}}}}"


class Branch(Node):
    """`if`, `with`, `range`: what is done with the value, and without it (None: no `else`)."""

    __slots__ = ("body", "otherwise", "pipe")
    word = ""

    def __init__(self, position: int, pipe: Pipe, body: Block, otherwise: Block | None) -> None:
        self.position = position
        self.pipe = pipe
        self.body = body
        self.otherwise = otherwise

    def __str__(self) -> str:
        otherwise = "{{else}}" + "".join(map(str, self.otherwise)) if self.otherwise is not None else ""
        return f"{{{{{self.word} {self.pipe}}}}}{''.join(map(str, self.body))}{otherwise}{{{{end}}}}"


class If(Branch):
    """`{{if}}`."""

    __slots__ = ()
    word = "if"


class With(Branch):
    """`{{with}}`."""

    __slots__ = ()
    word = "with"


class Range(Branch):
    """`{{range}}`."""

    __slots__ = ()
    word = "range"


class Break(Node):
    """`{{break}}`."""

    __slots__ = ()

    def __str__(self) -> str:
        return "{{break}}"


class Continue(Node):
    """`{{continue}}`."""

    __slots__ = ()

    def __str__(self) -> str:
        return "{{continue}}"


class Call(Node):
    """`{{template "name" pipeline}}`."""

    __slots__ = ("name", "pipe")

    def __init__(self, position: int, name: str, pipe: Pipe | None) -> None:
        self.position = position
        self.name = name
        self.pipe = pipe

    def __str__(self) -> str:
        return f"{{{{template {quoted(self.name)}{f' {self.pipe}' if self.pipe else ''}}}}}"


class End(Node):
    """`{{end}}`: only while parsing."""

    __slots__ = ()

    def __str__(self) -> str:
        return "{{end}}"


class Else(Node):
    """`{{else}}`: only while parsing."""

    __slots__ = ()

    def __str__(self) -> str:
        return "{{else}}"


Block: TypeAlias = list[Node]


class Template:
    """One named template. `file` is the name of the text that it stands in, `source` that text."""

    __slots__ = ("body", "file", "name", "source")

    def __init__(self, name: str, file: str, source: str, body: Block) -> None:
        self.name = name
        self.file = file
        self.source = source
        self.body = body

    def is_blank(self) -> bool:
        """Whether it holds nothing but white space: such a definition never replaces another."""
        return all(isinstance(node, Text) and not node.text.strip() for node in self.body)
