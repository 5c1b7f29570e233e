"""The names that documents give to their images: read before anything else, for references may point forward."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from conveyor.config.fields import describe, merged_entries
from conveyor.config.findings import Findings
from conveyor.config.nodes import Node
from conveyor.config.scalars import scalar_type
from conveyor.errors import Place


class NamedDocument(Struct, frozen=True):
    """A document that makes images. `complete` is false where a name could not be read."""

    node: Node
    kind: Literal["image", "artifact"]
    names: tuple[tuple[str, Place], ...]  # with the place that an image is shown by
    complete: bool


def read_names(findings: Findings, document: Node) -> NamedDocument:
    """The names of one document; without the field there is none."""
    entries = merged_entries(findings, document)
    kind: Literal["image", "artifact"] = "image" if "image" in entries else "artifact"
    if kind not in entries:
        return NamedDocument(document, "image", (), True)
    key, value = entries[kind]
    place = findings.place(key)
    if value.is_null and kind == "image":
        return NamedDocument(document, kind, (("", place),), True)
    if value.kind == "list" and kind == "image":
        if not value.items:
            findings.add(value, "invalid image name: the list is empty", "write at least one name")
        good = [item for item in value.items if _check_name(findings, item, kind)]
        names = tuple((item.text, findings.place(item)) for item in good)
        return NamedDocument(document, kind, names, bool(good) and len(good) == len(value.items))
    good_name = _check_name(findings, value, kind)
    return NamedDocument(document, kind, ((value.text, place),) if good_name else (), good_name)


def _check_name(findings: Findings, node: Node, kind: str) -> bool:
    """Whether a node can name an image. A plain `on` or `1` is no text, and most likely not meant."""
    if node.is_null:
        findings.add(node, f"invalid {kind} name: text expected, got nothing", "write a name")
    elif node.kind != "scalar" or (scalar_type(node) != "text" and kind == "image"):
        hint = "quote it" if node.kind == "scalar" else "write a text or a list of texts" if kind == "image" else ""
        findings.add(node, f"invalid {kind} name: text expected, got {describe(node)}", hint)
    elif not node.text.strip():
        hint = "an image without a name is `image: ~`" if kind == "image" else ""
        findings.add(node, f"invalid {kind} name: it is empty", hint)
    elif node.text != node.text.strip() or not node.text.isprintable():
        findings.add(node, f"invalid {kind} name: white space around it, or characters that cannot be shown")
    elif node.text == "scratch":
        findings.add(node, f"invalid {kind} name: `scratch` means no base at all", "choose another name")
    else:
        return True
    return False
