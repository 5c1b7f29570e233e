"""The directive `secrets`."""

from __future__ import annotations

import posixpath
from typing import cast

from conveyor.config.fields import Fields
from conveyor.config.nodes import Node
from conveyor.config.scope import Scope
from conveyor.config.secret import Secret, SecretKind
from conveyor.config.tables.image import SECRET

_KINDS = ("env", "src", "value")
_LONGEST_ID = 255


def decode_secrets(scope: Scope, fields: Fields) -> tuple[Secret, ...]:
    """The secrets of an image, one an id."""
    secrets: dict[str, Secret] = {}
    for node in fields.map_nodes("secrets"):
        secret = _decode(scope, node)
        if secret is None:
            continue
        if secret.id in secrets:
            message = f"conflict between secrets! the id `{secret.id}` is used twice"
            hint = f"give one of them another `id`; the first one is in line {secrets[secret.id].place.line}"
            scope.findings.add(secret.place, message, hint)
        secrets.setdefault(secret.id, secret)
    return tuple(secrets.values())


def _decode(scope: Scope, node: Node) -> Secret | None:
    findings = scope.findings
    fields = Fields(findings, node, "`secrets`", SECRET)
    given = fields.text("id")
    kind = cast("SecretKind | None", fields.exactly_one(_KINDS, "a secret"))
    origin = fields.text(kind) if kind is not None else ""
    value = fields.value(kind) if kind is not None else None
    if kind is None or value is None or value.kind != "scalar":
        return None
    if not origin and kind != "value":
        findings.add(value, f"`{kind}` in `secrets` is empty")
        return None
    identifier = given or {"env": origin, "src": posixpath.basename(origin)}.get(kind, "")
    if not identifier:
        hint = "it is the name of the file in /run/secrets"
        findings.add(node, f"`id` is required in `secrets` with `{kind}`", hint)
        return None
    at = fields.value("id") or value
    if not _is_file_name(identifier):
        findings.add(at, f"the id `{identifier}` of a secret cannot name a file", "give it an `id` without `/`")
        return None
    _ask(scope, kind, origin, identifier, at)
    return Secret(findings.place(node), identifier, kind, origin)


def _ask(scope: Scope, kind: SecretKind, origin: str, identifier: str, at: Node) -> None:
    place = scope.findings.place(at)
    if kind == "env":
        scope.refusals.require("config.secrets.allowEnvVariables", origin, place)
    elif kind == "src":
        scope.refusals.require("config.secrets.allowFiles", origin, place)
    else:
        scope.refusals.require("config.secrets.allowValueIds", identifier, place)


def _is_file_name(text: str) -> bool:
    return text not in (".", "..") and "/" not in text and text.isprintable() and len(text.encode()) <= _LONGEST_ID
