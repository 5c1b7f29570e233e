"""The functions that Go's templates have by themselves, and werf's own."""

from __future__ import annotations

from typing import Final

from .bounds import STEPS_OF_A_FORMATTED_FLOAT, STEPS_OF_A_VERB
from .functions import Function, FunctionError, Runtime, declare
from .printing import print_format, print_line, print_value, print_values
from .quoting import quoted
from .values import (
    MISSING,
    AnyMap,
    TypedMap,
    Uint8,
    Value,
    byte_length,
    elem_type,
    go_type,
    is_int,
    is_map,
    is_true,
    raw,
    zero,
)

_HTML: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "\0": "\ufffd"})
_SCRIPT: Final = str.maketrans(
    {
        **{code: f"\\u{code:04X}" for code in (*range(32), 127)},
        "\\": "\\\\",
        "'": "\\'",
        '"': '\\"',
        "<": "\\u003C",
        ">": "\\u003E",
        "&": "\\u0026",
        "=": "\\u003D",
    }
)


def _length(item: Value) -> int:
    if item is MISSING:
        raise FunctionError("reflect: call of reflect.Value.Type on zero Value")
    if item is None:
        raise FunctionError("len of nil pointer")
    if isinstance(item, str):
        return byte_length(item)
    if isinstance(item, list) or is_map(item):
        return len(item)
    raise FunctionError(f"len of type {go_type(item).removeprefix('*')}")


def _index(item: Value, *keys: Value) -> Value:
    if item is MISSING or item is None:
        raise FunctionError("index of untyped nil")
    for key in keys:
        if item is None:
            raise FunctionError("index of nil pointer")
        if is_map(item):
            item = _entry(item, key)
        elif isinstance(item, (str, list)):
            item = _element(item, key)
        else:
            raise FunctionError(f"can't index item of type {go_type(item).removeprefix('*')}")
    return item


def _element(item: str | list[Value], index: Value) -> Value:
    data: bytes | list[Value] = raw(item) if isinstance(item, str) else item
    if not is_int(index):
        what = "nil" if index is None or index is MISSING else f"type {go_type(index)}"
        raise FunctionError(f"cannot index slice/array with {what}")
    if not 0 <= index <= len(data):
        raise FunctionError(f"index out of range: {index}")
    if index == len(data):
        raise FunctionError(f"reflect: {'string' if isinstance(item, str) else 'slice'} index out of range")
    element = data[index]
    return Uint8(element) if isinstance(item, str) else element


def _entry(item: dict[Value, Value] | AnyMap, key: Value) -> Value:
    if isinstance(item, AnyMap):
        if isinstance(key, list) or is_map(key):
            raise FunctionError(f"runtime error: hash of unhashable type {go_type(key)}")
        return item.get(None if key is MISSING else key)
    wanted = item.key if isinstance(item, TypedMap) else "string"
    if key is None or key is MISSING:
        raise FunctionError(f"value is nil; should be of type {wanted}")
    if go_type(key) != wanted and not (is_int(key) and "int" in wanted):
        raise FunctionError(f"value has type {go_type(key)}; should be {wanted}")
    return item.get(key, zero(elem_type(item)))


def _comparable(value: Value) -> str:
    """The kind by which a value is compared; "" where it cannot be."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    return {float: "float", complex: "complex", str: "string"}.get(type(value), "")


def _is_nil(value: Value) -> bool:
    return value is None or value is MISSING or getattr(value, "is_nil", False) is True


def _equal(first: Value, *others: Value) -> bool:
    if not others:
        raise FunctionError("missing argument for comparison")
    return any(_pair_equal(first, other) for other in others)


def _pair_equal(one: Value, other: Value) -> bool:
    kind = _comparable(one)
    if kind != _comparable(other):
        if not (one is None or one is MISSING or other is None or other is MISSING):
            raise FunctionError(f"incompatible types for comparison: {go_type(one)} and {go_type(other)}")
        return False
    if kind:
        return bool(one == other)
    nils = one is None or one is MISSING or other is None or other is MISSING
    if not nils and (is_map(one) != is_map(other) or isinstance(one, list) != isinstance(other, list)):
        raise FunctionError(
            f"non-comparable types {print_format('%s', [one])}: {go_type(one)}, {go_type(other)}: {print_value(other)}"
        )
    if _is_nil(one) or _is_nil(other):
        return _is_nil(one) == _is_nil(other)
    if isinstance(other, list) or is_map(other):
        raise FunctionError(f"non-comparable type {print_format('%s', [other])}: {go_type(other)}")
    return one is other


def _less(one: Value, other: Value) -> bool:
    kinds = _comparable(one), _comparable(other)
    if not kinds[0] or not kinds[1]:
        raise FunctionError("invalid type for comparison")
    if kinds[0] != kinds[1]:
        raise FunctionError(f"incompatible types for comparison: {go_type(one)} and {go_type(other)}")
    if kinds[0] in ("bool", "complex"):
        raise FunctionError("invalid type for comparison")
    if kinds[0] == "string" and not (one.isascii() and other.isascii()):
        return raw(one) < raw(other)
    return bool(one < other)


def _less_or_equal(one: Value, other: Value) -> bool:
    return _less(one, other) or _pair_equal(one, other)


def _joined(arguments: tuple[Value, ...]) -> str:
    if len(arguments) == 1 and isinstance(arguments[0], str):
        return arguments[0]
    return print_values(["<no value>" if argument is None else argument for argument in arguments])


def _html(*arguments: Value) -> str:
    return _joined(arguments).translate(_HTML)


def _script(*arguments: Value) -> str:
    text = _joined(arguments).translate(_SCRIPT)
    return text if text.isprintable() else "".join(map(_script_character, text))


def _script_character(char: str) -> str:
    return char if char.isprintable() or "\udc80" <= char <= "\udcff" else f"\\u{ord(char):04X}"


def _url_query(*arguments: Value) -> str:
    from urllib.parse import quote_plus

    return quote_plus(raw(_joined(arguments)))


def _call(shown: str, function: Value, *_: Value) -> Value:
    if function is None or function is MISSING:
        raise FunctionError("call of nil")
    raise FunctionError(f"non-function {shown} of type {go_type(function)}")


def _printf(runtime: Runtime, form: str, *arguments: Value) -> str:
    floats = sum(type(argument) is float for argument in arguments)
    runtime.charge(form.count("%") * STEPS_OF_A_VERB + floats * STEPS_OF_A_FORMATTED_FLOAT)
    return print_format(form, arguments)


def _required(message: str, value: Value) -> Value:
    if value is None or value == "":
        raise FunctionError(message)
    return value


def _env(runtime: Runtime, name: Value, *defaults: str) -> str:
    if len(defaults) > 1:
        raise FunctionError("more than one optional argument specified in env(ENV_NAME, [DEFAULT])")
    variable = print_value(name)
    value = runtime.read_environment(variable)
    if value is None and not defaults and not runtime.loose:
        raise FunctionError(f"the environment variable {quoted(variable)} must be set or default must be provided")
    return value or (defaults[0] if defaults else "")


def _include(runtime: Runtime, name: str, data: Value) -> str:
    return runtime.include(name, data)


def _tpl(runtime: Runtime, source: str, data: Value) -> str:
    return runtime.expand(source, data)


def _include_debug(runtime: Runtime, name: str, data: Value) -> str:
    result = runtime.include(name, data)
    runtime.log(f"include_debug {quoted(name)}:\n{result}")
    return result


def _tpl_debug(runtime: Runtime, source: str, data: Value) -> str:
    runtime.log(f"tpl_debug of:\n{source}")
    result = runtime.expand(source, data)
    runtime.log(f"tpl_debug gives:\n{result}")
    return result


def _printf_debug(runtime: Runtime, form: str, *arguments: Value) -> str:
    runtime.log(_printf(runtime, form, *arguments))
    return ""


def _dump_debug(runtime: Runtime, value: Value) -> str:
    runtime.log(print_format("%#v", [value]))
    return ""


FUNCTIONS: Final[dict[str, Function]] = dict(
    (
        # `and` and `or` are here for their names and numbers of arguments: the engine evaluates only what they need.
        declare("and", "value value...", lambda *_: None),
        declare("or", "value value...", lambda *_: None),
        declare("call", "value value...", _call),  # the engine adds the first argument
        declare("html", "any...", _html, walks=1, prints=True),
        declare("index", "value value...", _index),
        declare("js", "any...", _script, walks=1, prints=True),
        declare("len", "value", _length),
        declare("not", "value", lambda value: not is_true(value)),
        declare("print", "any...", lambda *arguments: print_values(arguments), each=15, prints=True),
        declare("printf", "string any...", _printf, runtime=True, prints=True),
        declare("println", "any...", lambda *arguments: print_line(arguments), each=15, prints=True),
        declare("urlquery", "any...", _url_query, walks=1, each=20, prints=True),
        declare("eq", "value value...", _equal),
        declare("ne", "value value", lambda one, other: not _pair_equal(one, other)),
        declare("lt", "value value", _less),
        declare("le", "value value", _less_or_equal),
        declare("gt", "value value", lambda one, other: not _less_or_equal(one, other)),
        declare("ge", "value value", lambda one, other: not _less(one, other)),
        declare("env", "any string...", _env, runtime=True, asks=True),
        declare("required", "string any", _required),
        declare("include", "string any", _include, runtime=True, renders=True, asks=True),
        declare("include_debug", "string any", _include_debug, runtime=True, renders=True, asks=True),
        declare("tpl", "string any", _tpl, runtime=True, renders=True, asks=True),
        declare("tpl_debug", "string any", _tpl_debug, runtime=True, renders=True, asks=True),
        declare("printf_debug", "string any...", _printf_debug, runtime=True, prints=True, walks=1),
        declare("dump_debug", "any", _dump_debug, runtime=True, prints=True, walks=1),
    )
)
