"""YAML as Go's `yaml.v2` reads it into a map with text keys: what each scalar becomes, merges, aliases."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from conveyor.config.parser import open_parser
from conveyor.config.template.functions import FunctionError
from conveyor.config.template.values import AnyMap, Int64, Value
from conveyor.config.template.values import text as as_text
from conveyor.config.template.yaml_scalars import resolve

_PREFIX = "tag:yaml.org,2002:"
_TAGS = {"text": "str", "boolean": "bool", "integer": "int", "float": "float", "null": "null", "timestamp": "timestamp"}
_RESOLVED = frozenset({"", *(_PREFIX + tag for tag in _TAGS.values())})
_SHOWN = 10  # characters of a scalar that does not fit
_MANY_ALIASES, _MANY_NODES = 100, 1000
_NODES_AT_A_TIME = 1000
_LOW, _HIGH = 400_000, 4_000_000


class _Node:
    """A scalar with `text`, or a collection with `children` (of a mapping: keys and values in turn)."""

    __slots__ = ("children", "kind", "line", "plain", "tag", "text")

    def __init__(self, kind: str, tag: str, line: int, text: str = "", *, plain: bool = False) -> None:
        self.kind = kind
        self.tag = "" if tag == "!" else tag
        self.line = line
        self.text = text
        self.plain = plain
        self.children: list[_Node] = []


def decode_yaml(text: str, note_nodes: Callable[[int], None] = lambda count: None) -> dict[str, Value]:
    """The first document of a text, which must be a mapping; empty where there is none.

    `note_nodes` is told of some nodes at a time while they are read, and may raise to end that.
    Raises FunctionError with Go's message where it is no YAML or no mapping.
    """
    try:
        root = _compose(text, note_nodes)
    except yaml.YAMLError as error:
        raise FunctionError(f"yaml: {_problem(error)}") from None
    except UnicodeError:
        raise FunctionError("yaml: invalid Unicode character") from None
    decoder = _Decoder(note_nodes)
    result: dict[str, Value] = {}
    try:
        if root is not None and not _is_null(root):
            decoder.top(root, result)
    except RecursionError:
        raise FunctionError("yaml: exceeded max depth") from None
    if decoder.problems:
        raise FunctionError("\n  ".join(["yaml: unmarshal errors:", *decoder.problems]))
    return result


class _Decoder:
    """Makes values of nodes. What does not fit is left out and told at the end."""

    def __init__(self, note_nodes: Callable[[int], None]) -> None:
        self.note_nodes = note_nodes
        self.problems: list[str] = []
        self.open: list[_Node] = []  # what the aliases that are being followed stand for
        self.seen = self.seen_by_alias = 0

    def top(self, node: _Node, into: dict[str, Value]) -> None:
        """Read a mapping into one with text keys."""
        node = self.visit(node)
        if node.kind != "mapping":
            self.refuse(node, "map[string]interface {}")
            return
        for key, value in self.entries(node, into):
            key = self.visit(key)
            if key.kind != "scalar":
                self.refuse(key, "string")
            else:
                into[_text_key(key)] = self.value(value)
            self.leave(key)
        self.leave(node)

    def entries(self, node: _Node, into: dict[str, Value] | AnyMap) -> Iterator[tuple[_Node, _Node]]:
        """The keys and values of a mapping, merged ones read into it in their place."""
        for key, value in zip(node.children[::2], node.children[1::2], strict=True):
            if key.text == "<<" and key.kind == "scalar" and (key.plain or key.tag == _PREFIX + "merge"):
                self.merge(value, into)
            else:
                yield key, value

    def merge(self, node: _Node, into: dict[str, Value] | AnyMap) -> None:
        """Read a mapping, or a list of mappings of which the first ones win, into another."""
        sources = node.children[::-1] if node.kind == "sequence" else [node]
        for source in sources:
            target = source.children[0] if source.kind == "alias" else source
            if target.kind != "mapping":
                raise FunctionError("yaml: map merge requires map or sequence of maps as the value")
            if isinstance(into, AnyMap):
                self.into_any(self.visit(source), into)
                self.leave(target)
            else:
                self.top(source, into)

    def value(self, node: _Node) -> Value:
        """The value of a node in an untyped place."""
        if node.kind == "scalar" and not self.open:
            self.seen += 1
            return self.scalar(node)
        node = self.visit(node)
        value: Value
        if node.kind == "sequence":
            value = [self.value(child) for child in node.children]
        elif node.kind == "mapping":
            value = AnyMap()
            self.into_any(node, value)
        else:
            value = self.scalar(node)
        self.leave(node)
        return value

    def into_any(self, node: _Node, into: AnyMap) -> None:
        """Read a mapping into one with keys of any type."""
        for key_node, value in self.entries(node, into):
            key = self.value(key_node)
            if isinstance(key, (list, AnyMap)):
                from conveyor.config.template.printing import print_format

                raise FunctionError(f"yaml: invalid map key: {print_format('%#v', [key])}")
            into[key] = self.value(value)

    def scalar(self, node: _Node) -> Value:
        """The value of a scalar by its tag, its quotes and its text."""
        if not node.tag and not node.plain:
            return node.text
        if node.tag == _PREFIX + "binary":
            return _binary(node)
        if node.tag not in _RESOLVED:
            return node.text
        if node.tag == _PREFIX + "str":
            return node.text
        meaning, value = resolve(node.text)
        found = _PREFIX + _TAGS[meaning]
        if node.tag in ("", found):
            return value
        if node.tag == _PREFIX + "float" and isinstance(value, (int, Int64)) and not isinstance(value, bool):
            return float(value)
        raise FunctionError(f"yaml: cannot decode !!{_TAGS[meaning]} `{node.text}` as a !!{node.tag.removeprefix(_PREFIX)}")

    def refuse(self, node: _Node, wanted: str) -> None:
        """Note that a node does not fit where it stands."""
        if node.kind == "scalar":
            tag = node.tag.removeprefix(_PREFIX) or (_TAGS[resolve(node.text)[0]] if node.plain else "str")
            text = node.text if len(node.text) <= _SHOWN else node.text[: _SHOWN - 3] + "..."
            shown = f"!!{tag} `{text}`"
        else:
            shown = "!!map" if node.kind == "mapping" else "!!seq"
        self.problems.append(f"line {node.line}: cannot unmarshal {shown} into {wanted}")

    def visit(self, node: _Node) -> _Node:
        """The node itself, or what it is an alias of; counted, so that aliases of aliases end. `leave` it afterwards."""
        self.seen += 1
        if self.open:
            self.seen_by_alias += 1
            if not self.seen_by_alias % _NODES_AT_A_TIME:
                self.note_nodes(_NODES_AT_A_TIME)
        if self.seen_by_alias > _MANY_ALIASES and self.seen > _MANY_NODES:
            share = min(max((self.seen - _LOW) / (_HIGH - _LOW), 0), 1)
            if self.seen_by_alias / self.seen > 0.99 - 0.89 * share:
                raise FunctionError("yaml: document contains excessive aliasing")
        if node.kind != "alias":
            return node
        target = node.children[0]
        if target in self.open:
            raise FunctionError(f"yaml: anchor '{node.text}' value contains itself")
        self.open.append(target)
        return target

    def leave(self, node: _Node) -> None:
        """Forget that an alias was followed to this node."""
        if self.open and self.open[-1] is node:
            self.open.pop()


def _compose(text: str, note_nodes: Callable[[int], None]) -> _Node | None:
    """The root of the first document. Raises yaml.YAMLError."""
    anchors: dict[str, _Node] = {}
    stack: list[_Node] = []
    root: _Node | None = None
    siblings: list[_Node] | None = None
    count = 0
    parser = open_parser(text)
    get_event = parser.get_event
    try:
        while True:
            event: Any = get_event()
            kind = type(event)
            if kind is yaml.ScalarEvent:
                node = _Node("scalar", event.tag or "", event.start_mark.line + 1, event.value, plain=event.implicit[0])
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                stack.pop()
                siblings = stack[-1].children if stack else None
                continue
            elif kind is yaml.DocumentEndEvent or kind is yaml.StreamEndEvent:
                note_nodes(count)
                return root
            elif kind is yaml.AliasEvent:
                node = _alias(event, anchors)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                what = "mapping" if kind is yaml.MappingStartEvent else "sequence"
                node = _Node(what, event.tag or "", event.start_mark.line + 1)
            else:
                continue
            if siblings is None:
                root = node
            else:
                siblings.append(node)
            if kind is not yaml.ScalarEvent and kind is not yaml.AliasEvent:
                stack.append(node)
                siblings = node.children
            if kind is not yaml.AliasEvent and event.anchor:
                anchors[event.anchor] = node
            count += 1
            if count == _NODES_AT_A_TIME:
                note_nodes(count)
                count = 0
    finally:
        parser.dispose()


def _alias(event: Any, anchors: dict[str, _Node]) -> _Node:  # noqa: ANN401 - an event of PyYAML, which has no types for them
    if event.anchor not in anchors:
        raise FunctionError(f"yaml: unknown anchor '{event.anchor}' referenced")
    node = _Node("alias", "", event.start_mark.line + 1, event.anchor)
    node.children.append(anchors[event.anchor])
    return node


def _is_null(node: _Node) -> bool:
    if node.kind != "scalar":
        return False
    return node.tag == _PREFIX + "null" or (not node.tag and node.plain and resolve(node.text)[0] == "null")


def _text_key(node: _Node) -> str:
    if _is_null(node):
        return ""
    return _binary(node) if node.tag == _PREFIX + "binary" else node.text


def _binary(node: _Node) -> str:
    try:
        return as_text(base64.b64decode(node.text, validate=True))
    except (binascii.Error, ValueError):
        raise FunctionError("yaml: !!binary value contains invalid base64 data") from None


def _problem(error: yaml.YAMLError) -> str:
    """libyaml's words, with the line where it knows one."""
    if isinstance(error, yaml.reader.ReaderError):
        return str(error.reason)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return (f"line {mark.line + 1}: " if mark else "") + str(getattr(error, "problem", None) or error)
