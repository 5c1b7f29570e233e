"""Functions of sprig over lists. A list is never changed: each gives a new one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from conveyor.config.template.functions import Function, FunctionError, check_elements, check_text, declare
from conveyor.config.template.sprig.casts import is_empty, to_int, to_text, to_texts
from conveyor.config.template.values import (
    Object,
    TypedList,
    Value,
    byte_length,
    deep_equal,
    go_type,
    is_map,
    joined,
    kind_of,
    raw,
)

NIL_DEREFERENCE = "runtime error: invalid memory address or nil pointer dereference"


def append(items: Value, value: Value) -> list[Value]:
    """With `value` at the end."""
    return [*_sized(_elements(items, "Cannot push on type {}"), 1), value]


def prepend(items: Value, value: Value) -> list[Value]:
    """With `value` at the beginning."""
    return [value, *_sized(_elements(items, "Cannot prepend on type {}"), 1)]


def first(items: Value) -> Value:
    """The first element; nil of an empty list."""
    found = _elements(items, "Cannot find first on type {}")
    return found[0] if found else None


def last(items: Value) -> Value:
    """The last element; nil of an empty list."""
    found = _elements(items, "Cannot find last on type {}")
    return found[-1] if found else None


def rest(items: Value) -> list[Value]:
    """All but the first; Go's nil slice of an empty list."""
    found = _elements(items, "Cannot find rest on type {}")
    return list(found[1:]) if found else _nil_list()


def initial(items: Value) -> list[Value]:
    """All but the last; Go's nil slice of an empty list."""
    found = _elements(items, "Cannot find initial on type {}")
    return list(found[:-1]) if found else _nil_list()


def reverse(items: Value) -> list[Value]:
    """In the opposite order."""
    return list(_elements(items, "Cannot find reverse on type {}")[::-1])


def compact(items: Value) -> list[Value]:
    """Without empty elements."""
    return [item for item in _elements(items, "Cannot compact on type {}") if not is_empty(item)]


def uniq(items: Value) -> list[Value]:
    """Each element once, where it stands first."""
    kept = _Seen()
    return [item for item in _elements(items, "Cannot find uniq on type {}") if kept.add(item)]


def without(items: Value, *unwanted: Value) -> list[Value]:
    """Without the elements that equal one of `unwanted`."""
    refused = _Seen(unwanted)
    return [item for item in _elements(items, "Cannot find without on type {}") if item not in refused]


def has(needle: Value, items: Value) -> bool:
    """Whether an element equals `needle`; nothing is in nil."""
    if items is None:
        return False
    return any(deep_equal(needle, item) for item in _elements(items, "Cannot find has on type {}"))


def slice_list(items: Value, *bounds: Value) -> Value:
    """Elements from the first bound to before the second; nil of an empty list."""
    found = _elements(items, "list should be type of slice or array but {}")
    if not found:
        return None
    start = to_int(bounds[0]) if bounds else 0
    end = to_int(bounds[1]) if len(bounds) > 1 else len(found)
    if not 0 <= start <= end <= len(found):
        raise FunctionError("reflect.Value.Slice: slice index out of bounds")
    return TypedList(found[start:end], found.elem) if isinstance(found, TypedList) else found[start:end]


def concat(*lists: Value) -> list[Value]:
    """The elements of all lists."""
    together: list[Value] = []
    for items in lists:
        together += _sized(_elements(items, "Cannot concat type {} as list"), len(together))
    return together or _nil_list()


def chunk(size: int, items: Value) -> TypedList:
    """Lists of `size` elements each; the last one may have fewer."""
    found = _elements(items, "Cannot chunk type {}")
    if size <= 0:
        if size < 0 and len(found) > 1 and len(found) - 1 <= -size:
            return TypedList((), "[]interface {}")  # Go's count of pieces happens to be zero there
        raise FunctionError("runtime error: makeslice: len out of range")
    return TypedList([list(found[start : start + size]) for start in range(0, len(found), size)], "[]interface {}")


def make_list(*values: Value) -> list[Value]:
    """A list of its arguments."""
    return list(values)


def join(separator: str, items: Value) -> str:
    """The texts of the elements with `separator` between them, nil left out."""
    texts = to_texts(items)
    check_text(sum(map(byte_length, texts)) + byte_length(separator) * max(len(texts) - 1, 0))
    return joined(separator.join(texts))


def sort_alpha(items: Value) -> TypedList:
    """The texts of the elements in the order of their bytes; a value that is no list is a list of one."""
    if not isinstance(items, list):
        return TypedList(["<nil>" if items is None else to_text(items)])
    return TypedList(sorted(to_texts(items), key=raw))


def to_strings(items: Value) -> TypedList:
    """The texts of the elements, nil left out."""
    return TypedList(to_texts(items))


class _Seen:
    """Values that were met."""

    def __init__(self, values: Iterable[Value] = ()) -> None:
        self._keys = set(map(_key, values))

    def add(self, value: Value) -> bool:
        """Whether it is new."""
        before = len(self._keys)
        self._keys.add(_key(value))
        return len(self._keys) > before

    def __contains__(self, value: Value) -> bool:
        return _key(value) in self._keys


def _key(value: Value) -> Hashable:
    """What is equal for values that are deeply equal, and for no others; NaN equals nothing."""
    if isinstance(value, list):
        return go_type(value), getattr(value, "is_nil", False), tuple(map(_key, value))
    if is_map(value):
        return go_type(value), frozenset((_key(key), _key(item)) for key, item in value.items())
    if isinstance(value, Object):
        fields = value.fields()
        return value if not fields else (go_type(value), tuple(map(_key, fields.values())))
    return object() if value != value else (type(value), value)


def _elements(items: Value, refusal: str) -> Sequence[Value]:
    if isinstance(items, list):
        return items
    raise FunctionError(NIL_DEREFERENCE if items is None else refusal.format(kind_of(items)))


def _sized(items: Sequence[Value], more: int) -> Sequence[Value]:
    check_elements(len(items) + more)
    return items


def _nil_list() -> TypedList:
    return TypedList((), "interface {}", is_nil=True)


def _both(
    name: str, signature: str, call: Callable[..., Any], *, walks: int = 0
) -> tuple[tuple[str, Function], tuple[str, Function]]:
    """A function and its `must` form: both fail alike here, for a panic of Go is an error of the template, too."""
    must = "must" + name[0].upper() + name[1:]
    return declare(name, signature, call, walks=walks), declare(must, signature, call, walks=walks)


FUNCTIONS = dict(
    (
        declare("list", "any...", make_list),
        declare("tuple", "any...", make_list),
        declare("concat", "any...", concat),
        declare("join", "string any", join, prints=True),
        declare("sortAlpha", "any", sort_alpha, walks=4, prints=True),
        declare("toStrings", "any", to_strings, prints=True),
        *_both("append", "any any", append),
        *_both("push", "any any", append),
        *_both("prepend", "any any", prepend),
        *_both("first", "any", first),
        *_both("last", "any", last),
        *_both("rest", "any", rest),
        *_both("initial", "any", initial),
        *_both("reverse", "any", reverse),
        *_both("compact", "any", compact, walks=6),
        *_both("uniq", "any", uniq, walks=10),
        *_both("without", "any any...", without, walks=10),
        *_both("has", "any any", has, walks=10),
        *_both("slice", "any any...", slice_list),
        *_both("chunk", "int any", chunk),
    )
)
