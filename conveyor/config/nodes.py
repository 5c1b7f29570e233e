"""A document as a tree of nodes that know where they stand.

Nodes are composed from the parser's events in one loop, so that a hostile file (aliases of aliases, a node inside itself,
deep nesting) ends in a clear error after bounded work. Aliases share nodes; nothing is copied.
"""

from __future__ import annotations

from typing import Literal

import yaml
from msgspec import Struct, field

from conveyor.config.documents import Document
from conveyor.config.parser import open_parser

MAX_DEPTH = 100
MAX_ALIASED_NODES = 100_000
MAX_NODES = 200_000

_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = frozenset({"!", _TAG + "str"})
_RESOLVED_TAGS = frozenset(_TAG + name for name in ("int", "float", "bool", "null"))
_MAP_TAGS = frozenset({None, "!", _TAG + "map"})
_LIST_TAGS = frozenset({None, "!", _TAG + "seq"})
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


class Node(Struct, eq=False):
    """A scalar (`text`; `plain`: without quotes), a list (`items`) or a map (`pairs`, as written, duplicates included)."""

    kind: Literal["scalar", "list", "map"]
    offset: int  # of its first character in the file
    text: str = ""
    plain: bool = False
    items: list[Node] = field(default_factory=list)
    pairs: list[tuple[Node, Node]] = field(default_factory=list)
    size: int = 0  # nodes in it, aliases followed; 0: still being read

    @property
    def is_null(self) -> bool:
        """Whether it leaves a field at its default."""
        return self.plain and self.text in _NULLS


class DocumentError(Exception):
    """A document cannot be read as YAML. `offset` is in characters of the file; `begun`: of what was being read."""

    def __init__(self, offset: int, message: str, hint: str = "", begun: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset
        self.hint = hint
        self.begun = begun


class Budget:
    """How many nodes all documents of a file may still have: a bound on time and memory."""

    __slots__ = ("nodes",)

    def __init__(self) -> None:
        self.nodes = MAX_NODES


def compose(document: Document, budget: Budget | None = None) -> Node:
    """The root of one document. `DocumentError` where it is not YAML, or not one document, or takes more than `budget`."""
    parser = open_parser(document.text)
    try:
        return _compose(parser.get_event, document.offset, budget or Budget())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        offset = document.offset + min(mark.index if mark else 0, max(len(document.text) - 1, 0))
        begun = document.offset + error.context_mark.index if error.context_mark else None
        raise DocumentError(offset, *_explain(error), begun) from None
    except yaml.YAMLError as error:
        raise DocumentError(document.offset, f"not valid YAML: {error}") from None
    finally:
        parser.dispose()


def _compose(get_event, base: int, budget: Budget) -> Node:  # type: ignore[no-untyped-def] # noqa: ANN001 - PyYAML has no type for it
    anchors: dict[str, Node] = {}
    stack: list[Node] = []
    keys: list[Node | None] = []  # beside the stack: the key of a map that waits for its value
    aliased = 0
    root: Node | None = None
    left = budget.nodes
    while True:
        event = get_event()
        kind = type(event)
        left -= 1
        if left < 0:
            raise DocumentError(base + event.start_mark.index, f"the file has more than {MAX_NODES} values", "split it")
        if kind is yaml.ScalarEvent:
            offset = base + event.start_mark.index
            plain = event.implicit[0]
            if event.tag is not None:
                plain = _scalar_is_plain(event.tag, offset)
            if "\0" in event.value:
                raise DocumentError(offset, "text cannot hold a NUL character", "remove the escape `\\0`")
            node = Node("scalar", offset, event.value, plain, size=1)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            offset = base + event.start_mark.index
            is_map = kind is yaml.MappingStartEvent
            if event.tag not in (_MAP_TAGS if is_map else _LIST_TAGS):
                raise DocumentError(offset, f"the tag `{_short(event.tag)}` is not known", "remove it")
            if len(stack) >= MAX_DEPTH:
                raise DocumentError(offset, f"nested deeper than {MAX_DEPTH} levels")
            node = Node("map" if is_map else "list", offset)
            if event.anchor is not None:
                anchors[event.anchor] = node
            stack.append(node)
            keys.append(None)
            continue
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            node = stack.pop()
            keys.pop()
            node.size += 1
            _attach(node, stack, keys)
            if not stack:
                root = node
            continue
        elif kind is yaml.AliasEvent:
            offset = base + event.start_mark.index
            known = anchors.get(event.anchor)
            if known is None:
                hint = "an anchor (`&name`) stands before its aliases, in the same document: it does not reach over `---`"
                raise DocumentError(offset, f"no anchor `{event.anchor}`", hint)
            if any(node is known for node in stack):
                raise DocumentError(offset, f"the anchor `{event.anchor}` is used inside itself")
            aliased += known.size
            if aliased > MAX_ALIASED_NODES:
                message = f"aliases of this document expand to more than {MAX_ALIASED_NODES} nodes"
                raise DocumentError(offset, message, "write less by aliases")
            node = known
        elif kind is yaml.DocumentStartEvent:
            if root is not None:
                hint = "put `---` on a line of its own" if event.explicit else "remove the `...` above"
                raise DocumentError(base + event.start_mark.index, "a second document starts here", hint)
            continue
        elif kind is yaml.StreamEndEvent:
            if root is None:
                raise DocumentError(base, "the document is empty")
            budget.nodes = left
            return root
        else:
            continue
        if kind is yaml.ScalarEvent and event.anchor is not None:
            anchors[event.anchor] = node
        if stack:
            _attach(node, stack, keys)
        else:
            root = node


def _attach(node: Node, stack: list[Node], keys: list[Node | None]) -> None:
    if not stack:
        return
    parent = stack[-1]
    parent.size += node.size
    if parent.kind == "list":
        parent.items.append(node)
    elif (key := keys[-1]) is None:
        keys[-1] = node
    else:
        parent.pairs.append((key, node))
        keys[-1] = None


def _scalar_is_plain(tag: str, offset: int) -> bool:
    if tag in _TEXT_TAGS:
        return False
    if tag in _RESOLVED_TAGS:
        return True
    raise DocumentError(offset, f"the tag `{_short(tag)}` is not known", "remove it")


def _short(tag: str) -> str:
    return "!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag


_HINTS = (
    ("violates indentation", "indent with spaces, never with tabs"),
    ("cannot start any token", "indent with spaces, not tabs; quote a text that starts with @, ` or %"),
    ("mapping values are not allowed", "quote a text that holds `: `; check the indentation, and the space after each `:`"),
    (
        "while scanning an a",
        "`&` and `*` begin anchors and aliases: quote a text that starts with them or with a bracket",
    ),
    ("unknown escape character", "in double quotes `\\` begins an escape: use single quotes, or write `\\\\`"),
    ("did not find expected key", "check the indentation and the quotes of this line and those above"),
    ("expected <block end>", "check the indentation and the quotes of this line and those above"),
    ("could not find expected ':'", "every key is followed by `:` and a space"),
    ("did not find expected '-' indicator", "check the indentation of this list"),
    ("unexpected end of stream", "close the quotes or the bracket that was opened above"),
    ("expected <document start>", "check the indentation; lines with `...` or `%` are not read: remove them"),
)


def _explain(error: yaml.MarkedYAMLError) -> tuple[str, str]:
    message = ", ".join(part for part in (error.problem, error.context) if part) or "cannot be read"
    if "maximum nesting depth" in message:
        # libyaml has a bound of its own, which its look ahead reaches before ours is.
        return f"nested deeper than {MAX_DEPTH} levels", ""
    hint = next((hint for part, hint in _HINTS if part in message), "")
    return f"not valid YAML: {message}", hint
