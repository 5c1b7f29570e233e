"""How a function becomes callable from a template.

A module of functions has a table `FUNCTIONS: Mapping[str, Function]`, made by `declare`:

    FUNCTIONS = dict(
        declare("trunc", "int string", trunc),
        declare("printf", "string any...", printf),
        declare("include", "string any", include, runtime=True),
    )

The signature lists a kind for each parameter; the last with `...` takes any number of arguments, passed one by one. The
engine checks number and kinds before the call, with Go's messages, so that a function gets exactly:

| kind | argument |
|---|---|
| `any` | any value; nil and a missing value are both `None` |
| `value` | any value, with `None` (nil held by a map or list) and `MISSING` (no value, the word `nil`) told apart |
| `string` `int` `int64` `float64` `bool` | that Go type and no other (a literal number fits `int`, `int64` and `float64`) |
| `dict` | `map[string]interface {}`, the object itself; `None` for a nil map |
| `list` `strings` | `[]interface {}`, `[]string`; `None` for a nil slice |
| any other word | a Go type by its name, such as `*semver.Version` (no blanks in it) |

With `walks` a function may go through all of its arguments, character by character and with all that is nested in them: the
engine counts that many steps (of some tenths of a microsecond) for each character and element, and refuses before the call
what holds itself, is nested too deep or is too large. With `prints` it may write lists and maps as texts, and they are
counted likewise, and more dearly. `each` is counted for each argument, whatever it is. What only the function knows it
counts by `charge` of its runtime. `renders` tells that the result was counted where it was made, `asks` that it may be
refused outside of the run, which has its place ready then.

A function returns a value of `values`, never a Python object of its own kind; None is nil. It fails by `FunctionError`: the
person reads `error calling NAME: MESSAGE` with the place. Any other exception is a fault of the program, but for
`RecursionError` (a value that holds itself) and errors of conveyor (`ConveyorError`), which pass as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, ParamSpec, Protocol

from .values import AnyMap, Value

GO_TYPES: Final = {
    "any": "interface {}",
    "value": "reflect.Value",
    "string": "string",
    "int": "int",
    "int64": "int64",
    "float64": "float64",
    "bool": "bool",
    "dict": "map[string]interface {}",
    "list": "[]interface {}",
    "strings": "[]string",
}

MAX_TEXT_BYTES: Final = 4 << 20
MAX_ELEMENTS: Final = 500_000
MAX_NESTING: Final = 100
_Given = ParamSpec("_Given")


class FunctionError(Exception):
    """A function refuses its arguments; the message is Go's where Go has one. `hint` says how to mend it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Runtime(Protocol):
    """What the run of a template offers to functions declared with `runtime=True`: their first argument."""

    loose: bool
    """Giterminism is loose: functions may depend on the time, on chance and on the machine."""

    kept: dict[tuple[str, str], Any]
    """What functions keep during the run, each under its name and the argument that it was made of."""

    def charge(self, steps: int) -> None:
        """Count steps that are about to be taken, beyond those that every call counts. Raises FunctionError."""

    def include(self, name: str, data: Value) -> str:
        """Render the template of that name. Raises FunctionError where there is none, TemplateError where it fails."""

    def expand(self, source: str, data: Value) -> str:
        """Parse `source` as a template and render it; what it defines stays. Raises TemplateError."""

    def read_environment(self, name: str) -> str | None:
        """The variable's value, None when it is not set. Raises ConveyorError where it may not be read."""

    def log(self, message: str) -> None:
        """A line for `--debug-templates`; dropped without it."""


class Function:
    """A function and what its arguments must be. `name` is the one that messages show."""

    __slots__ = ("asks", "call", "each", "kinds", "name", "prints", "renders", "rest", "runtime", "walks")

    def __init__(
        self,
        name: str,
        signature: str,
        call: Callable[..., Value],
        *,
        runtime: bool = False,
        walks: int = 0,
        each: int = 0,
        prints: bool = False,
        renders: bool = False,
        asks: bool = False,
    ) -> None:
        words = signature.split()
        self.rest = words.pop().removesuffix("...") if words and words[-1].endswith("...") else ""
        self.kinds = tuple(words)
        self.name = name
        self.call = call
        self.runtime = runtime
        self.walks = walks
        self.each = each
        self.prints = prints
        self.renders = renders
        self.asks = asks


def _entry(make: Callable[_Given, Function]) -> Callable[_Given, tuple[str, Function]]:
    def declare(*arguments: _Given.args, **flags: _Given.kwargs) -> tuple[str, Function]:
        function = make(*arguments, **flags)
        return function.name, function

    return declare


declare = _entry(Function)
"""An entry of a table of functions, which is given what `Function` is."""


class Library:
    """Functions by name, in modules that are imported when one of theirs is first called.

    `modules` maps the name of each function to the absolute name of the module whose `FUNCTIONS` holds it; `own` are
    functions that are there already, and win.
    """

    __slots__ = ("_found", "_modules")

    def __init__(self, modules: Mapping[str, str], own: Mapping[str, Function]) -> None:
        self._modules = modules
        self._found = dict(own)

    def __contains__(self, name: object) -> bool:
        return name in self._found or name in self._modules

    def names(self) -> set[str]:
        """The names of all functions."""
        return {*self._modules, *self._found}

    def find(self, name: str) -> Function:
        """Raises KeyError for a name that is not in the library."""
        found = self._found.get(name)
        if found is None:
            from importlib import import_module

            table: Mapping[str, Function] = import_module(self._modules[name]).FUNCTIONS
            found = self._found[name] = table[name]
        return found


def check_text(size: int) -> None:
    """Refuse to make a text of more than `MAX_TEXT_BYTES`; call it before making one. Raises FunctionError."""
    if size > MAX_TEXT_BYTES:
        raise FunctionError(f"the result would be {size} bytes long; a template may make a text of {MAX_TEXT_BYTES} at most")


def check_elements(count: int) -> None:
    """Refuse to make a list or map of more than `MAX_ELEMENTS`; call it before making one. Raises FunctionError."""
    if count > MAX_ELEMENTS:
        raise FunctionError(f"the result would have {count} elements; a template may make a list of {MAX_ELEMENTS} at most")


def count_elements(values: Sequence[Value]) -> int:
    """How many elements lists and maps hold, nested ones included, each as often as it is met.

    Raises FunctionError for more than `MAX_ELEMENTS`, and for what is nested deeper than `MAX_NESTING` or holds itself.
    """
    count = 0
    level = [value for value in values if isinstance(value, (list, dict, AnyMap))]
    for _ in range(MAX_NESTING + 1):
        if not level:
            return count
        inside: list[Value] = []
        for value in level:
            count += len(value)
            if count > MAX_ELEMENTS:
                raise FunctionError(f"a value holds more than {MAX_ELEMENTS} elements")
            elements = value if isinstance(value, list) else (element for _, element in value.items())
            inside += [element for element in elements if isinstance(element, (list, dict, AnyMap))]
        level = inside
    raise FunctionError(f"a value is nested more than {MAX_NESTING} deep, or holds itself")


def refuse_unrepeatable(runtime: Runtime, name: str, why: str) -> None:
    """Fail unless giterminism is loose: `name` gives another result at another time or place.

    `why` goes on from "its result". Raises FunctionError.
    """
    if not runtime.loose:
        fail(
            f"{name} is not allowed by giterminism: its result {why}, so that one commit would give different images"
            " (--loose-giterminism allows it)"
        )


def fail(message: str) -> NoReturn:
    """Raise FunctionError, where an expression is wanted."""
    raise FunctionError(message)
