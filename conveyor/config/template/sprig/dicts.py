"""Functions of sprig over maps with text keys. `set`, `unset` and the merges change the map that they are given."""

from __future__ import annotations

from conveyor.config.template.bounds import STEPS_OF_A_PRINTED_VALUE
from conveyor.config.template.functions import FunctionError, Runtime, check_elements, count_elements, declare
from conveyor.config.template.sprig.casts import is_empty, to_text
from conveyor.config.template.values import (
    AnyMap,
    TypedList,
    TypedMap,
    Value,
    elem_type,
    go_type,
    is_map,
    raw,
    sorted_items,
)

Dict = dict[str, Value]


def make_dict(runtime: Runtime, *pairs: Value) -> Dict:
    """A map of keys and values in turn; a last key alone has the value ""."""
    entries: Dict = {}
    for key, value in zip(pairs[::2], [*pairs[1::2], ""], strict=False):
        if type(key) is not str:
            runtime.charge(STEPS_OF_A_PRINTED_VALUE * (1 + count_elements([key])))
        entries["<nil>" if key is None else to_text(key)] = value
    return entries


def get(entries: Dict | None, key: str) -> Value:
    """The value of a key; "" where there is none."""
    return (entries or {}).get(key, "")


def set_key(entries: Dict | None, key: str, value: Value) -> Dict:
    """The same map, in which the key has this value now."""
    if entries is None:
        raise FunctionError("assignment to entry in nil map")
    if key not in entries:
        check_elements(len(entries) + 1)
    entries[key] = value
    return entries


def unset(entries: Dict | None, key: str) -> Dict:
    """The same map, without the key."""
    if entries is None:
        return {}
    entries.pop(key, None)
    return entries


def has_key(entries: Dict | None, key: str) -> bool:
    """Whether the map has the key."""
    return entries is not None and key in entries


def pluck(key: str, *maps: Dict | None) -> list[Value]:
    """The key's value in each of the maps that have it."""
    return [entries[key] for entries in maps if entries and key in entries]


def keys(*maps: Dict | None) -> TypedList:
    """The keys of all maps, those of each sorted (Go gives them in an order that changes from run to run)."""
    check_elements(sum(len(entries or ()) for entries in maps))
    return TypedList([key for entries in maps if entries for key in sorted(entries, key=raw)])


def values(entries: Dict | None) -> list[Value]:
    """The values, in the order of their sorted keys (Go gives them in an order that changes from run to run)."""
    return [value for _, value in sorted_items(entries or {})]


def pick(entries: Dict | None, *wanted: str) -> Dict:
    """A new map of these keys only."""
    found = entries or {}
    return {key: found[key] for key in wanted if key in found}


def omit(entries: Dict | None, *unwanted: str) -> Dict:
    """A new map without these keys."""
    refused = frozenset(unwanted)
    return {key: value for key, value in (entries or {}).items() if key not in refused}


def dig(*path: Value) -> Value:
    """The value at a path of keys; the last argument but one where a key is absent. The last argument is the map."""
    if len(path) < 3:
        raise FunctionError("dig needs at least three arguments")
    *steps, default, here = path
    here = _asserted(here, dict, "map[string]interface {}")
    names = [_asserted(step, str, "string") for step in steps]
    for name in names[:-1]:
        if name not in here:
            return default
        here = _asserted(here[name], dict, "map[string]interface {}")
    return here.get(names[-1], default)


def merge(target: Dict | None, *sources: Dict | None) -> Dict:
    """`target` with what it lacks, or has empty, of each source in turn; maps inside of both are merged, too."""
    return _merged(target, sources, overwrite=False)


def merge_overwrite(target: Dict | None, *sources: Dict | None) -> Dict:
    """`target` with everything of each source in turn; maps inside of both are merged."""
    return _merged(target, sources, overwrite=True)


def deep_copy(value: Value) -> Value:
    """A copy that shares no map with the original."""
    if value is None:
        raise FunctionError("reflect: call of reflect.Value.Type on zero Value")
    return _copy(value)


def _copy(value: Value) -> Value:
    if isinstance(value, TypedMap):
        return TypedMap({key: _copy(item) for key, item in value.items()}, value.elem, value.key)
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, AnyMap):
        return AnyMap((key, _copy(item)) for key, item in value.items())
    if isinstance(value, TypedList):
        return TypedList(map(_copy, value), value.elem, is_nil=value.is_nil)
    return list(map(_copy, value)) if isinstance(value, list) else value


def _merged(target: Dict | None, sources: tuple[Dict | None, ...], *, overwrite: bool) -> Dict:
    merged: Dict = {} if target is None else target
    for source in sources:
        if source is not None and source is not merged:
            _merge(merged, source, overwrite=overwrite)
    return merged


def _merge(target: Value, source: Value, *, overwrite: bool) -> None:
    typed = elem_type(target) != elem_type(source)
    for key, value in list(source.items()):
        if type(source) is AnyMap and type(target) is not AnyMap:
            raise FunctionError("reflect.Value.MapIndex: value of type interface {} is not assignable to type string")
        present, held = key in target, target.get(key)
        if value is None:
            if overwrite:
                target[key] = None
            continue
        if is_map(value) and is_map(held):
            _merge(held, value, overwrite=overwrite)
            if not is_empty(held):
                continue
        if present and not is_empty(held) and not overwrite:
            continue
        if typed and isinstance(target, TypedMap):
            raise FunctionError(
                f"reflect.Value.SetMapIndex: value of type {elem_type(source)} is not assignable to type {target.elem}"
            )
        if not present:
            check_elements(len(target) + 1)
        target[key] = value


def _asserted(value: Value, wanted: type, name: str) -> Value:
    """A type assertion of Go. Raises FunctionError."""
    if type(value) is not wanted:
        found = "nil" if value is None else go_type(value)
        raise FunctionError(f"interface conversion: interface {{}} is {found}, not {name}")
    return value


FUNCTIONS = dict(
    (
        declare("dict", "any...", make_dict, runtime=True),
        declare("get", "dict string", get),
        declare("set", "dict string any", set_key),
        declare("unset", "dict string", unset),
        declare("hasKey", "dict string", has_key),
        declare("pluck", "string dict...", pluck),
        declare("keys", "dict...", keys, walks=6),
        declare("values", "dict", values, walks=8),
        declare("pick", "dict string...", pick),
        declare("omit", "dict string...", omit, walks=4),
        declare("dig", "any...", dig),
        declare("merge", "dict dict...", merge, walks=4),
        declare("mustMerge", "dict dict...", merge, walks=4),
        declare("mergeOverwrite", "dict dict...", merge_overwrite, walks=4),
        declare("mustMergeOverwrite", "dict dict...", merge_overwrite, walks=4),
        declare("deepCopy", "any", deep_copy, walks=10),
        declare("mustDeepCopy", "any", deep_copy, walks=10),
    )
)
