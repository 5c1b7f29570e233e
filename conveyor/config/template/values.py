"""Go's values, as templates know them.

| Go | here |
|---|---|
| no value at all (a key that a map has not) | `MISSING` |
| `nil` | `None` |
| `bool`, `int`, `float64`, `complex128` | `bool`, `int`, `float`, `complex` |
| `int64`, `int32`, `uint8`, `uint32`, `uint64` | `Int64`, `Int32`, `Uint8`, `Uint32`, `Uint64` (kinds of `int`) |
| `string` | `str`; a byte that is no UTF-8 is a lone surrogate (`surrogateescape`): see `raw` and `text` |
| `map[string]interface {}` | `dict` |
| `map[interface {}]interface {}` | `AnyMap` |
| any other map | `TypedMap` (a `dict` that knows its types) |
| `[]interface {}` | `list` |
| any other slice | `TypedList` (a `list` that knows its type) |
| structs and pointers with methods | `Object` |

A value's Go type follows from `type(value)`; arithmetic on `Int64` and its kin gives plain `int`, so results are wrapped
anew: `Int64(a + b)` keeps 64 bits as Go does.

Lists are never changed once made, for they may be shared. Maps are changed by the functions that do so in Go (`set`,
`unset`, `merge`, ...) and by no others.

No attribute of a Python object is ever looked up by a name from a template: only keys of maps, and what an `Object` names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

if TYPE_CHECKING:
    from .functions import Function

Value: TypeAlias = Any


class Missing:
    """The type of `MISSING`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


class SizedInt(int):
    """An integer of a Go kind other than `int`; what does not fit is cut to its low bits, as Go does."""

    __slots__ = ()
    go_type = ""
    bits = 64
    signed = True

    def __new__(cls, value: int) -> Self:
        """Take `value` cut to the bits of the type."""
        return super().__new__(cls, wrapped(int(value), cls.bits, signed=cls.signed))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self)})"

    def __str__(self) -> str:
        return int.__repr__(self)


class Int64(SizedInt):
    """`int64`: what sprig's arithmetic gives."""

    __slots__ = ()
    go_type = "int64"


class Int32(SizedInt):
    """`int32`."""

    __slots__ = ()
    go_type = "int32"
    bits = 32


class Uint8(SizedInt):
    """`uint8`: a byte of a string that was indexed."""

    __slots__ = ()
    go_type = "uint8"
    bits = 8
    signed = False


class Uint32(SizedInt):
    """`uint32`."""

    __slots__ = ()
    go_type = "uint32"
    bits = 32
    signed = False


class Uint64(SizedInt):
    """`uint64`: the numbers of a semantic version."""

    __slots__ = ()
    go_type = "uint64"
    signed = False


class TypedList(list[Value]):
    """A slice whose elements have one static type, such as `[]string`. `is_nil`: Go's nil slice (empty; `null` in JSON)."""

    __slots__ = ("elem", "is_nil")

    def __init__(self, items: Iterable[Value] = (), elem: str = "string", *, is_nil: bool = False) -> None:
        super().__init__(items)
        self.elem = elem
        self.is_nil = is_nil


class TypedMap(dict[Value, Value]):
    """A map with static types, such as `map[string]string`."""

    __slots__ = ("elem", "key")

    def __init__(self, items: Mapping[Value, Value] | None = None, elem: str = "string", key: str = "string") -> None:
        super().__init__(items or {})
        self.key = key
        self.elem = elem


class AnyMap:
    """`map[interface {}]interface {}`: what YAML's maps are below the top level. Keys of different types never meet."""

    __slots__ = ("entries",)

    def __init__(self, items: Iterable[tuple[Value, Value]] = ()) -> None:
        self.entries: dict[Value, tuple[Value, Value]] = {}
        for key, value in items:
            self[key] = value

    @staticmethod
    def _slot(key: Value) -> Value:
        return key if type(key) is str else (type(key), key)

    def __setitem__(self, key: Value, value: Value) -> None:
        self.entries[self._slot(key)] = (key, value)

    def get(self, key: Value, default: Value = None) -> Value:
        """The value of the key of that type and value."""
        found = self.entries.get(self._slot(key))
        return default if found is None else found[1]

    def __contains__(self, key: Value) -> bool:
        return self._slot(key) in self.entries

    def __delitem__(self, key: Value) -> None:
        del self.entries[self._slot(key)]

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Value]:
        return (key for key, _ in self.entries.values())

    def items(self) -> Iterator[tuple[Value, Value]]:
        """Keys, each with its value, in the order in which they came."""
        return iter(self.entries.values())


class Object:
    """A struct, or a pointer to one: the only values that have methods.

    `fields` and `methods` hold everything that a template can reach by a name. `text()` is Go's `String()`; None where the
    type has none (it is then printed as a struct of its fields).
    """

    __slots__ = ()
    go_type = "struct {}"
    kind = "struct"

    def fields(self) -> Mapping[str, Value]:
        """Its exported fields, in order."""
        return {}

    def methods(self) -> Mapping[str, Function]:
        """Its exported methods."""
        return {}

    def text(self) -> str | None:
        """What `String()` gives; None where there is no such method."""
        return None


INT_TYPES: Final = (int, Int64, Int32, Uint8, Uint32, Uint64)
INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1

_TYPE_NAMES: Final[dict[type, str]] = {
    Missing: "<nil>",
    type(None): "<nil>",
    bool: "bool",
    int: "int",
    Int64: "int64",
    Int32: "int32",
    Uint8: "uint8",
    Uint32: "uint32",
    Uint64: "uint64",
    float: "float64",
    complex: "complex128",
    str: "string",
    dict: "map[string]interface {}",
    AnyMap: "map[interface {}]interface {}",
    list: "[]interface {}",
}


def wrapped(number: int, bits: int = 64, *, signed: bool = True) -> int:
    """`number` cut to its low `bits`, as Go's integers overflow."""
    number &= (1 << bits) - 1
    return number - (1 << bits) if signed and number >> (bits - 1) else number


def go_type(value: Value) -> str:
    """The name of the value's type, as `%T` and sprig's `typeOf` print it; `<nil>` for nil and for no value."""
    name = _TYPE_NAMES.get(type(value))
    if name is not None:
        return name
    if isinstance(value, TypedList):
        return f"[]{value.elem}"
    if isinstance(value, TypedMap):
        return f"map[{value.key}]{value.elem}"
    if isinstance(value, Object):
        return value.go_type
    raise TypeError(f"{type(value).__name__} is no value of a template")


def kind_of(value: Value) -> str:
    """The kind of the value's type, as sprig's `kindOf` prints it; `invalid` for nil and for no value."""
    if value is None or value is MISSING:
        return "invalid"
    if isinstance(value, (dict, AnyMap)):
        return "map"
    if isinstance(value, list):
        return "slice"
    if isinstance(value, Object):
        return value.kind
    return go_type(value)


def is_int(value: Value) -> bool:
    """Whether the value is of an integer type, of whatever size (`bool` is none)."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_map(value: Value) -> bool:
    """Whether the value is a map, of whatever types."""
    return isinstance(value, (dict, AnyMap))


def elem_type(value: Value) -> str:
    """The static type of the elements of a map or a list: what messages name where Go has not looked inside."""
    return value.elem if isinstance(value, (TypedList, TypedMap)) else "interface {}"


def zero(go_type_name: str) -> Value:
    """The zero value of an element type."""
    zeros: dict[str, Value] = {"string": "", "int": 0, "int64": Int64(0), "float64": 0.0, "bool": False, "uint8": Uint8(0)}
    return zeros.get(go_type_name)


def raw(string: str) -> bytes:
    """The bytes of a Go string."""
    return string.encode("utf-8", "surrogateescape")


def text(data: bytes) -> str:
    """The Go string of these bytes. `text(raw(s))` is the one form of `s`: see `joined`."""
    return data.decode("utf-8", "surrogateescape")


def joined(string: str) -> str:
    """One form for one string of bytes: halves of a character that were cut apart and put together are a character again."""
    if string.isascii():
        return string
    try:
        string.encode("utf-8")
    except UnicodeEncodeError:
        return text(raw(string))
    return string


def byte_length(string: str) -> int:
    """Go's `len` of a string."""
    return len(string) if string.isascii() else len(raw(string))


def is_true(value: Value) -> bool:
    """Go's truth: false, zero, "", nil, no value and what is empty are false; a struct is true."""
    return isinstance(value, Object) or (value is not MISSING and bool(value))


def sorted_items(value: Value) -> list[tuple[Value, Value]]:
    """The entries of a map in the order in which Go prints and ranges over them."""
    items = list(value.items())
    try:
        if all(type(key) is str and key.isascii() for key, _ in items):
            items.sort(key=_first)
        else:
            items.sort(key=_key_order)
    except TypeError:
        items.sort(key=lambda item: (go_type(item[0]), repr(item[0])))
    return items


def _first(item: tuple[Value, Value]) -> Value:
    return item[0]


def _key_order(item: tuple[Value, Value]) -> Value:
    key = item[0]
    if key is None:
        return (0, 0)
    if isinstance(key, bool):
        return (1, key)
    if isinstance(key, int):
        return (2, go_type(key), int(key))
    if isinstance(key, float):
        return (3, key)
    if isinstance(key, str):
        return (4, raw(key))
    return (5, go_type(key), repr(key))


def deep_equal(one: Value, other: Value) -> bool:
    """`reflect.DeepEqual`: same types all the way down, and equal; a nil slice is not an empty one.

    Raises RecursionError on what holds itself.
    """
    if one is None or one is MISSING:
        return other is None or other is MISSING
    if other is None or other is MISSING or go_type(one) != go_type(other):
        return False
    if isinstance(one, list):
        if getattr(one, "is_nil", False) != getattr(other, "is_nil", False):
            return False
        return len(one) == len(other) and all(map(deep_equal, one, other))
    if isinstance(one, (dict, AnyMap)):
        if len(one) != len(other):
            return False
        return all(key in other and deep_equal(value, other.get(key)) for key, value in one.items())
    if isinstance(one, Object):
        return bool(one == other) or (one.fields() != {} and deep_equal(dict(one.fields()), dict(other.fields())))
    return bool(one == other)
