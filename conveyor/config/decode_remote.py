"""The fields of `git` that name another repository: `url`, `tag`, `commit`, `branch`, `basicAuth`."""

from __future__ import annotations

import re
from typing import Literal

from conveyor.config.fields import Fields
from conveyor.config.tables.image import BASIC_AUTH, PASSWORD
from conveyor.gitrepo.addresses import Address, hide_secrets, parse_address
from conveyor.gitrepo.remote_source import Login, RemoteSource

_REFS: tuple[Literal["tag", "commit", "branch"], ...] = ("tag", "commit", "branch")
_PASSWORDS: tuple[Literal["env", "src", "value"], ...] = ("env", "src", "value")
# What git allows in a name (git check-ref-format), without what would mean something else.
_BAD_NAME = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|^[./-]|[./]$|\.lock(/|$)")


def decode_remote(fields: Fields, name: str = "url") -> RemoteSource | None:
    """The repository of a map that has the field `name`; None where a mistake leaves none."""
    address = _address(fields, name)
    given = [kind for kind in _REFS if fields.has(kind)]
    for extra in given[1:]:
        message = f"at most one of `branch`, `tag` and `commit` is taken, not `{given[0]}` and `{extra}`"
        fields.findings.add(fields.key(extra), message, "remove the others")
    kind = given[0] if given else "branch"
    ref = fields.text(kind)
    node = fields.value(kind)
    if node is not None and not _is_good(kind, ref):
        if kind == "commit":
            hint = "write the full id, as `git rev-parse` gives it: an abbreviation may come to mean another one"
            fields.findings.add(node, f"`commit: {ref}` is not the id of a commit", hint)
        else:
            fields.findings.add(node, f"`{kind}: {ref}` is not a name that git allows", f"write the name of a {kind}")
        return None
    login = _login(fields, address)
    return RemoteSource(address, kind, ref.lower() if kind == "commit" else ref, login) if address is not None else None


def _address(fields: Fields, name: str) -> Address | None:
    text = fields.text(name)
    try:
        return parse_address(text)
    except ValueError as error:
        shown = hide_secrets(text, None)
        fields.findings.add(
            fields.value(name) or fields.node, f"`{name}: {shown}`: {error}", "write it as `git clone` takes it"
        )
        return None


def _is_good(kind: str, ref: str) -> bool:
    if kind == "commit":
        return re.fullmatch(r"[0-9a-fA-F]{40}(?:[0-9a-fA-F]{24})?", ref) is not None
    return bool(ref) and not _BAD_NAME.search(ref)


def _login(fields: Fields, address: Address | None) -> Login | None:
    node = fields.map_node("basicAuth")
    if node is None:
        return None
    auth = Fields(fields.findings, node, "`basicAuth`", BASIC_AUTH)
    if address is not None and not address.is_http:
        hint = "the key of an SSH address is in the agent" if not address.is_local else "nobody asks for it"
        fields.findings.add(fields.key("basicAuth"), "`basicAuth` is for https and http addresses", hint)
    elif address is not None and address.credentials is not None:
        hint = "take what stands before `@` off the address"
        fields.findings.add(fields.key("basicAuth"), "`basicAuth` and a password in the address are given both", hint)
    username = auth.text("username")
    password = auth.map_node("password")
    if password is None:
        if not auth.has("password"):
            auth.findings.add(node, "`basicAuth` needs `password`", "write `password: {env: NAME}`")
        return None
    return _password(Fields(fields.findings, password, "`password`", PASSWORD), username)


def _password(fields: Fields, username: str) -> Login | None:
    kind: Literal["env", "src", "value"]
    if fields.exactly_one(_PASSWORDS, "`password`") is None:
        return None
    kind = next(kind for kind in _PASSWORDS if fields.has(kind))
    return Login(username, kind, fields.text(kind))
