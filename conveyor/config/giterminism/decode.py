"""`werf-giterminism.yaml` -> `Permissions`. The directives themselves are the table of what the file may hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

from msgspec.structs import replace

from conveyor.config.documents import split_documents
from conveyor.config.fields import describe, merged_entries
from conveyor.config.findings import Findings
from conveyor.config.giterminism.api import Directive, Permissions
from conveyor.config.giterminism.matching import expression_mistake
from conveyor.config.giterminism.wording import is_flag, show_text
from conveyor.config.globs import glob_mistake
from conveyor.config.nodes import DocumentError, Node, compose
from conveyor.config.scalars import boolean, integer
from conveyor.config.source import read_source
from conveyor.errors import Problem

MAX_ITEMS = 1000  # of one directive
VERSION = "giterminismConfigVersion"
DIRECTIVES: tuple[Directive, ...] = get_args(Directive)

_WRONG = "the giterminism config validation failed: "
_MINIMAL = f"it starts with `{VERSION}: 1`"


def decode_permissions(content: bytes, file: str) -> tuple[Permissions, tuple[Problem, ...]]:
    """What a file allows, and warnings of what has no effect: keys that are not known, duplicate keys, further documents.

    `ConfigError` with everything that is wrong otherwise: not YAML, wrong types, globs and expressions that cannot be read.
    """
    source = read_source(content, file, minimal=_MINIMAL)
    findings = Findings(source)
    decoder = _Decoder(findings)
    documents = list(split_documents(source.text))
    for document in documents[1:]:
        decoder.warn(
            document.offset, "a second document has no effect", "the file holds one document: write all of it in that"
        )
    for document in documents[:1]:
        try:
            decoder.decode(compose(document))
        except DocumentError as error:
            findings.add(error.offset, _WRONG + str(error), error.hint)
    if not documents:
        findings.add(findings.whole_file(), _WRONG + f"`{VERSION}` is required", _MINIMAL)
    findings.raise_any()
    return Permissions(file, decoder.given), tuple(decoder.warnings)


def directive_tree() -> dict[str, object]:
    """The directives as the file nests them: maps, and at their ends the directive itself."""
    root: dict[str, object] = {}
    for directive in DIRECTIVES:
        *parents, name = directive.split(".")
        level = root
        for parent in parents:
            level = level.setdefault(parent, {})  # type: ignore[assignment] # what has names below it is a map
        level[name] = directive
    return root


class _Decoder:
    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self.given: dict[Directive, bool | tuple[str, ...]] = {}
        self.warnings: list[Problem] = []

    def decode(self, root: Node) -> None:
        if root.kind != "map":
            self._findings.add(root, _WRONG + f"it must be a map, not {describe(root)}", _MINIMAL)
            return
        root = self._without_duplicates(root)
        self._check_version(root)
        self._read(root, directive_tree(), "")

    def _check_version(self, root: Node) -> None:
        entry = merged_entries(self._findings, root).get(VERSION)
        if entry is None or entry[1].is_null:
            self._findings.add(root, _WRONG + f"`{VERSION}` is required", f"write `{VERSION}: 1`")
            return
        value = entry[1]
        is_one = value.kind == "scalar" and (integer(value) == 1 or value.text == "1")
        if not is_one:
            self._findings.add(value, _WRONG + f"`{VERSION}` must be 1, not {describe(value)}", f"write `{VERSION}: 1`")

    def _without_duplicates(self, node: Node) -> Node:
        """A map with the last of those entries that have one key; werf has nothing against the others."""
        last = {key.text: key for key, _ in node.pairs if key.kind == "scalar"}
        pairs = []
        for key, value in node.pairs:
            if last.get(key.text, key) is key:
                pairs.append((key, value))
            else:
                line = self._findings.place(last[key.text]).line
                self.warn(key, f"duplicate key `{show_text(key.text)}`: it has no effect", f"that of line {line} counts")
        return replace(node, pairs=pairs) if len(pairs) < len(node.pairs) else node

    def warn(self, at: Node | int, message: str, hint: str) -> None:
        """Note what has no effect."""
        self.warnings.append(Problem(self._findings.place(at), message, hint))

    def _read(self, node: Node, known: Mapping[str, object], path: str) -> None:
        for name, (key, value) in merged_entries(self._findings, node).items():
            at = path + name
            below = known.get(name)
            if at == VERSION:
                continue
            if below is None:
                self._warn_unknown(key, at, name, known)
            elif value.is_null:
                continue
            elif isinstance(below, dict):
                if value.kind == "map":
                    self._read(self._without_duplicates(value), below, at + ".")
                else:
                    self._findings.add(value, _WRONG + f"`{at}` must be a map, not {describe(value)}")
            elif is_flag(at):
                self._read_flag(value, below)  # type: ignore[arg-type] # the ends of the tree are directives
            else:
                self._read_list(value, below)  # type: ignore[arg-type] # likewise

    def _read_flag(self, value: Node, directive: Directive) -> None:
        found = boolean(value) if value.kind == "scalar" else None
        if found is None:
            self._findings.add(value, _WRONG + f"`{directive}` must be true or false, not {describe(value)}")
        else:
            self.given[directive] = found

    def _read_list(self, value: Node, directive: Directive) -> None:
        if value.kind != "list":
            hint = "put it in a list: `- ` before it" if value.kind == "scalar" else ""
            self._findings.add(value, _WRONG + f"`{directive}` must be a list, not {describe(value)}", hint)
            return
        if len(value.items) > MAX_ITEMS:
            message = f"`{directive}` has {len(value.items)} items, and at most {MAX_ITEMS} are read"
            self._findings.add(value, _WRONG + message, "write fewer and wider ones")
            return
        self.given[directive] = tuple(self._read_items(value, directive))

    def _read_items(self, value: Node, directive: Directive) -> Iterator[str]:
        for item in value.items:
            if item.kind != "scalar" or item.is_null:
                self._findings.add(item, _WRONG + f"every item of `{directive}` must be text, not {describe(item)}")
                continue
            is_name = directive.endswith(("allowEnvVariables", "allowValueIds"))
            mistake = expression_mistake(item.text) if is_name else glob_mistake(item.text)
            if directive == "config.secrets.allowEnvVariables":
                mistake = ""
            if mistake:
                kind = "a regular expression" if is_name else "a glob"
                self._findings.add(item, _WRONG + f"`{item.text}` in `{directive}` is not {kind}: {mistake}")
            else:
                yield item.text

    def _warn_unknown(self, key: Node, at: str, name: str, known: Mapping[str, object]) -> None:
        elsewhere = [directive.rpartition(".")[0] for directive in DIRECTIVES if directive.endswith("." + name)]
        names = [*known, *([VERSION] if at == name else ())]
        listed = "known here: " + ", ".join(f"`{one}`" for one in names)
        hint = f"it belongs under `{elsewhere[0]}`" if elsewhere else self._findings.suggest(name, names, listed)
        self.warn(key, f"unknown fields: `{show_text(at)}` has no effect", hint)
