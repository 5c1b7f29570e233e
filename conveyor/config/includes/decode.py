"""`werf-includes.yaml` and `werf-includes.lock` -> what is included, each at one commit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from conveyor.config.decode_remote import decode_remote
from conveyor.config.documents import split_documents
from conveyor.config.fields import Fields, describe
from conveyor.config.findings import Findings
from conveyor.config.models import PathFilter
from conveyor.config.nodes import DocumentError, Node, compose
from conveyor.config.paths import absolute_path, path_filter
from conveyor.config.source import read_source
from conveyor.config.tables.includes import INCLUDE, INCLUDES, LOCKED
from conveyor.errors import ConfigError, Place, Problem
from conveyor.gitrepo.remote_source import RemoteSource

CONFIG_FILE = "werf-includes.yaml"
LOCK_FILE = "werf-includes.lock"
UPDATE_HINT = "`conveyor includes update` writes it; commit it"

_REFS = ("branch", "tag", "commit")
_MINIMAL = "it starts with `includes:` and a list"


class Include(Struct, frozen=True):
    """Files of another repository below `add` that stand below `to` of the project's directory, where that has none."""

    place: Place
    source: RemoteSource
    add: str
    to: str
    paths: PathFilter

    @property
    def shown(self) -> str:
        """The repository and what of it, for people."""
        return f"{self.source.address.url} ({self.source.kind} {self.source.ref})"


def decode_includes(content: bytes, file: str) -> tuple[Include, ...]:
    """The includes of a configuration, in its order. `ConfigError` with every mistake."""
    findings = Findings(read_source(content, file, minimal=_MINIMAL))
    includes = [include for node in _items(findings, content, file) if (include := _decode(findings, node))]
    findings.raise_any()
    return tuple(includes)


def lock_includes(includes: Sequence[Include], content: bytes | None, file: str) -> tuple[Include, ...]:
    """The includes at the commits of a lock file (None: there is none).

    `ConfigError` where the file is wrong, or does not know an include that is not a commit itself.
    """
    commits = _decode_lock(content, file) if content is not None else {}
    problems = []
    locked = []
    for include in includes:
        source = include.source
        commit = source.ref if source.kind == "commit" else commits.get(_key(source), "")
        if not commit:
            why = f"{file} does not know it" if content is not None else f"there is no {file}"
            problems.append(Problem(include.place, f"{include.shown} is not at a fixed commit: {why}", UPDATE_HINT))
        locked.append(replace(include, source=replace(source, kind="commit", ref=commit)))
    if problems:
        raise ConfigError(problems)
    return tuple(locked)


def format_lock(commits: Sequence[tuple[RemoteSource, str]]) -> bytes:
    """The text of a lock file, by sources and the commits that they are at; passwords are in none."""
    lines = ["# Written by `conveyor includes update`.", "includes:"]
    for source, commit in dict(commits).items():
        lines.append(f"- git: {_quoted(source.address.url)}")
        if source.kind != "commit":
            lines.append(f"  {source.kind}: {_quoted(source.ref)}")
        lines.append(f"  commit: {commit}")
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def _items(findings: Findings, content: bytes, file: str) -> Iterator[Node]:
    text = read_source(content, file, minimal=_MINIMAL).text
    for number, document in enumerate(split_documents(text)):
        if number:
            findings.add(document.offset, "a second document starts here", "the file holds one document")
            return
        try:
            node = compose(document)
        except DocumentError as error:
            findings.add(error.offset, str(error), error.hint)
            return
        if node.kind != "map":
            findings.add(node, f"it must be a map, not {describe(node)}", _MINIMAL)
            return
        fields = Fields(findings, node, f"`{file}`", INCLUDES)
        yield from fields.map_nodes("includes")


def _decode(findings: Findings, node: Node) -> Include | None:
    fields = Fields(findings, node, "`includes`", INCLUDE)
    for name in ("git", "add", "to"):
        if not fields.has(name):
            findings.add(node, f"`{name}` is required in `includes`")
    if not any(fields.has(name) for name in _REFS):
        findings.add(node, "an include needs one of `branch`, `tag` or `commit`")
    source = decode_remote(fields, "git") if fields.has("git") else None
    add, to = absolute_path(fields, "add"), absolute_path(fields, "to")
    if source is None or not add or not to:
        return None
    return Include(findings.place(node), source, add, to, path_filter(fields))


def _decode_lock(content: bytes, file: str) -> dict[tuple[str, str, str], str]:
    findings = Findings(read_source(content, file, minimal=_MINIMAL))
    commits: dict[tuple[str, str, str], str] = {}
    for node in _items(findings, content, file):
        fields = Fields(findings, node, "`includes`", LOCKED)
        commit = fields.text("commit")
        if len(commit) not in (40, 64) or set(commit) - set("0123456789abcdef"):
            findings.add(fields.value("commit") or node, "`commit` must be the full id of a commit", UPDATE_HINT)
        # What is named beside the commit is what was asked for when it was written.
        named = next((name for name in ("branch", "tag") if fields.has(name)), "")
        source = decode_remote(_Without(fields, "commit" if named else ""), "git")
        if source is not None:
            commits[_key(source)] = commit
    findings.raise_any()
    return commits


class _Without(Fields):
    """Fields of which one is looked away from."""

    __slots__ = ()

    def __init__(self, fields: Fields, name: str) -> None:
        self.findings, self.node, self._meant = fields.findings, fields.node, set()
        self._entries = {key: entry for key, entry in fields._entries.items() if key != name}


def _key(source: RemoteSource) -> tuple[str, str, str]:
    return source.address.name, source.kind, source.ref


def _quoted(text: str) -> str:
    """A scalar of YAML; text that could be read as something else is quoted."""
    import re

    if re.fullmatch(r"[A-Za-z/.~][\w./@:+-]*", text) and not text.endswith(":") and text.lower() not in _WORDS:
        return text
    import json

    return json.dumps(text, ensure_ascii=False)


_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "~", "y", "n", ".nan", ".inf"})
