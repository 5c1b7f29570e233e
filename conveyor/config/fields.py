"""Typed reading of maps: every accessor notes what is wrong and goes on with a default."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from conveyor.config.findings import Findings
from conveyor.config.nodes import Node
from conveyor.config.scalars import boolean, integer, scalar_type
from conveyor.config.suggestions import hint_of
from conveyor.config.tables.field import Table


class Fields:
    """The fields of one map, merge keys resolved, unknown and duplicate keys noted.

    `title` names the map in messages. Scalars keep their source text in text fields; null leaves a field at its default.
    """

    __slots__ = ("_entries", "_meant", "findings", "node")

    def __init__(
        self,
        findings: Findings,
        node: Node,
        title: str,
        known: Collection[str],
        unsupported: Sequence[str] = (),
        forbidden: str = "",
        elsewhere: Callable[[str], str] = lambda name: "",
    ) -> None:
        """Of a map; `known` is a table of `conveyor.config.tables`.

        `unsupported` fields are known and get an error of their own, as do all others with `forbidden`. `elsewhere` gives a
        hint for a name that belongs to another map, or "".
        """
        self.findings = findings
        self.node = node
        self._meant: set[str] = set()
        self._entries = merged_entries(findings, node)
        for name, (key, value) in self._entries.items():
            if name in known:
                continue
            if name in unsupported:
                if value.is_null:
                    continue
                if forbidden:
                    findings.add(key, f"`{name}` {forbidden}", "remove it")
                else:
                    findings.add(key, f"`{name}` in {title} is not supported yet", "remove it")
            else:
                hint = self._hint(name, known, unsupported, elsewhere) or f"fields of {title}: {', '.join(known)}"
                findings.add(key, f"unknown fields: `{name}` in {title}", hint)

    def _hint(self, name: str, known: Collection[str], unsupported: Sequence[str], elsewhere: Callable[[str], str]) -> str:
        if odd := next((one for one in name if one != " " and (one.isspace() or not one.isprintable())), ""):
            return f"the name holds U+{ord(odd):04X}, which only looks like a space: indent and separate with spaces"
        # A name in other capitals, or in the plural, is more likely misspelt than misplaced.
        if not any(name.lower().rstrip("s") == one.lower().rstrip("s") for one in known):
            inside = _maps_with(name, known) if isinstance(known, Mapping) else ""
            if hint := inside or elsewhere(name):
                return hint
        guess = self.findings.guess(name, [*known, *unsupported])
        self._meant.add(guess)
        return hint_of(guess)

    def lacks(self, name: str) -> bool:
        """Whether a required field is missing: one that is misspelt is a mistake already."""
        return not self.has(name) and name not in self._meant

    def key(self, name: str) -> Node:
        """Where a field is named; the map itself where it is not."""
        return self._entries[name][0] if name in self._entries else self.node

    def has(self, name: str) -> bool:
        """Whether a field is given and is not null."""
        return self.value(name) is not None

    def value(self, name: str) -> Node | None:
        """The value of a field; None where it is absent or null."""
        entry = self._entries.get(name)
        return None if entry is None or entry[1].is_null else entry[1]

    def text(self, name: str, default: str = "") -> str:
        """A scalar as it is written."""
        value = self.value(name)
        if value is None:
            return default
        if value.kind != "scalar":
            self.findings.add(value, f"`{name}` must be text, not {describe(value)}")
            return default
        return value.text

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self.value(name)
        if value is None:
            return default
        found = boolean(value) if value.kind == "scalar" else None
        if found is None:
            hint = "remove the quotes" if value.kind == "scalar" and value.text.lower() in ("true", "false") else ""
            self.findings.add(value, f"`{name}` must be true or false, not {describe(value)}", hint)
            return default
        return found

    def whole(self, name: str, default: int, *, least: int | None = None) -> int:
        """A whole number, at least `least`."""
        value = self.value(name)
        if value is None:
            return default
        found = integer(value) if value.kind == "scalar" else None
        if found is None:
            hint = "remove the quotes" if value.kind == "scalar" and value.text.isdigit() else ""
            self.findings.add(value, f"`{name}` must be a whole number, not {describe(value)}", hint)
            return default
        if least is not None and found < least:
            self.findings.add(value, f"`{name}` must be at least {least}, not {found}")
            return default
        return found

    def text_nodes(self, name: str) -> list[Node]:
        """A text or a list of texts, as nodes; null items and those that are no text are noted and left out."""
        value = self.value(name)
        if value is None:
            return []
        if value.kind == "scalar":
            return [value]
        expected = f"`{name}`: single string or array of strings expected"
        if value.kind == "map":
            self.findings.add(value, f"{expected}, got {describe(value)}", _QUOTE_HINT)
            return []
        good = []
        for item in value.items:
            if item.kind != "scalar":
                hint = _QUOTE_HINT if item.kind == "map" else "remove one level of list"
                self.findings.add(item, f"{expected}, got {describe(item)} in the list", hint)
            elif item.is_null:
                self.findings.add(item, f"{expected}, got nothing in the list", "remove the empty item, or quote it")
            else:
                good.append(item)
        return good

    def texts(self, name: str) -> tuple[str, ...]:
        """A text or a list of texts."""
        return tuple([node.text for node in self.text_nodes(name)])

    def map_node(self, name: str, hint: str = "") -> Node | None:
        """A map; None where it is absent, null or something else (which is noted)."""
        value = self.value(name)
        if value is not None and value.kind != "map":
            self.findings.add(value, f"`{name}` must be a map, not {describe(value)}", hint)
            return None
        return value

    def map_nodes(self, name: str) -> Iterator[Node]:
        """The maps of a list of maps; what is something else is noted and left out."""
        value = self.value(name)
        if value is None:
            return
        if value.kind != "list":
            hint = "put `- ` before its first field" if value.kind == "map" else "each item begins with `- `, below the name"
            self.findings.add(value, f"`{name}` must be a list of maps, not {describe(value)}", hint)
            return
        for item in value.items:
            if item.kind == "map":
                yield item
            else:
                hint = "write its fields behind the `- `, each as `name: value`"
                self.findings.add(item, f"every item of `{name}` must be a map, not {describe(item)}", hint)

    def text_map(self, name: str) -> dict[str, str]:
        """A map of texts; a null value is the empty text."""
        node = self.map_node(name, "write `NAME: value` below it, without `- ` and `=`")
        found: dict[str, str] = {}
        if node is None:
            return found
        for key, (_, value) in merged_entries(self.findings, node).items():
            if value.kind != "scalar":
                self.findings.add(value, f"`{key}` of `{name}` must be text, not {describe(value)}")
            else:
                found[key] = "" if value.is_null else value.text
        return found

    def choice(self, name: str, choices: Sequence[str], otherwise: str = "") -> str | None:
        """One of the texts in `choices`; None where it is absent or something else (which is noted)."""
        value = self.value(name)
        text = self.text(name)
        if value is None or value.kind != "scalar" or text in choices:
            return text or None
        listed = ", ".join(f"`{choice}`" for choice in choices)
        hint = self.findings.suggest(text, choices, otherwise)
        self.findings.add(value, f"`{name}` must be one of {listed}, not `{text}`", hint)
        return None

    def exactly_one(self, names: Sequence[str], title: str, hint: str = "") -> str | None:
        """The one field of `names` that is given; none or several are noted, the result is None then."""
        given = [name for name in names if self.has(name)]
        if len(given) == 1:
            return given[0]
        listed = " or ".join(f"`{name}`" for name in names)
        if given:
            at = max((self.key(name) for name in given), key=lambda node: node.offset)
            both = " and ".join(f"`{name}`" for name in given)
            self.findings.add(at, f"{title} takes exactly one of {listed}, not {both}", "remove the others")
        elif self._meant.isdisjoint(names):
            self.findings.add(self.node, f"{title} needs one of {listed}", hint)
        return None


def _maps_with(name: str, table: Table) -> str:
    """A hint where a field of maps inside of this one has the name; "" where none has."""
    places = [
        f"in an item of `{inner}`" if field.takes == "list of maps" else f"below `{inner}`"
        for inner, field in table.items()
        if name in field.table
    ]
    return f"`{name}` stands {' or '.join(places)}" if places else ""


_QUOTE_HINT = "a text that holds `: ` or ends with `:` needs quotes, else YAML reads it as a map"

_Entries = dict[str, tuple[Node, Node]]


def merged_entries(findings: Findings, node: Node) -> _Entries:
    """Key and value by name. Duplicate keys are noted, the first one stands; merge keys give what is not there."""
    entries: _Entries = {}
    merges: list[tuple[Node, Node]] = []
    for key, value in node.pairs:
        if key.kind != "scalar":
            findings.add(key, f"a key must be text, not {describe(key)}", "quote it" if key.kind == "map" else "")
        elif key.plain and key.text == "<<":
            merges.append((key, value))
        elif key.text in entries:
            first = findings.place(entries[key.text][0])
            findings.add(key, f"duplicate key `{key.text}`", f"the first one is in line {first.line}")
        else:
            entries[key.text] = (key, value)
    for key, _ in merges[1:]:
        findings.add(key, "duplicate key `<<`", "merge several maps with a list: `<<: [*a, *b]`")
    for _, value in merges[:1]:
        for origin in [value] if value.kind == "map" else value.items if value.kind == "list" else [value]:
            if origin.kind != "map":
                findings.add(origin, f"`<<` merges maps, not {describe(origin)}")
                continue
            for name, entry in merged_entries(findings, origin).items():
                entries.setdefault(name, entry)
    return entries


def describe(node: Node) -> str:
    """What a node is, in words."""
    if node.kind != "scalar":
        return f"a {node.kind}"
    kind = scalar_type(node)
    if kind == "null":
        return "nothing"
    shown = node.text if len(node.text) <= 40 else node.text[:37] + "..."
    return f"the {'number' if kind in ('integer', 'float') else kind} `{shown}`"


def keys_of(node: Node) -> Iterable[str]:
    """The names of the scalar keys of a map, merged ones too (nothing is noted)."""
    for key, value in node.pairs:
        if key.kind != "scalar":
            continue
        if key.plain and key.text == "<<":
            for origin in [value] if value.kind == "map" else value.items:
                if origin.kind == "map":
                    yield from keys_of(origin)
        else:
            yield key.text
