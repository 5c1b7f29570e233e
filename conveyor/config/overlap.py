"""What two git mappings or imports of one image both lay at one place.

The one with the deeper `to` (the inner one) wins: what it claims is excluded from the outer one. Where both claim the very
same path, nobody can say which one wins: that is a conflict. Only the excludes that a person wrote count for the decision,
so that the order of the mappings does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from conveyor.config.findings import Findings
from conveyor.config.globs import escape_glob, is_literal
from conveyor.config.models import GitMapping, Import, PathFilter


@dataclass(slots=True, eq=False)
class _Layer:
    item: GitMapping | Import
    title: str
    claims: dict[str, None]  # absolute globs; none: everything
    kept: tuple[str, ...]  # absolute globs that a person excluded
    literal: bool
    added: dict[str, None] = field(default_factory=dict)


def exclude_overlaps(
    findings: Findings, git: Sequence[GitMapping], imports: Sequence[Import]
) -> tuple[list[GitMapping], list[Import]]:
    """The same mappings and imports, the outer ones with excludes for what the inner ones lay; conflicts are noted."""
    if len(git) + len(imports) < 2:
        return list(git), list(imports)
    layers = [*map(_layer, git), *map(_layer, imports)]
    by_target: dict[str, list[_Layer]] = {}
    for layer in layers:
        by_target.setdefault(layer.item.to, []).append(layer)
    for inner in layers:
        for target in _upward(inner.item.to):
            for outer in by_target.get(target, ()):
                if outer is not inner:
                    _exclude(findings, outer, inner)
    done = [replace(layer.item, paths=_filter(layer)) if layer.added else layer.item for layer in layers]
    return (
        [item for item in done if isinstance(item, GitMapping)],
        [item for item in done if isinstance(item, Import)],
    )


def _layer(item: GitMapping | Import) -> _Layer:
    root = escape_glob(item.to)
    claims = [_join(root, glob) for glob in item.paths.include] or ([] if item.to == "/" else [root])
    kept = tuple(_join(root, glob) for glob in item.paths.exclude)
    title = "a git mapping" if isinstance(item, GitMapping) else f"the import from `{item.image}`"
    return _Layer(item, title, dict.fromkeys(claims), kept, all(map(is_literal, claims)))


def _exclude(findings: Findings, outer: _Layer, inner: _Layer) -> None:
    if not outer.claims and not inner.claims:
        _conflict(findings, outer, inner, "/")
    root = escape_glob(outer.item.to)
    start = len(_join(root, ""))
    for claim in inner.claims:
        if claim in outer.claims:
            _conflict(findings, outer, inner, claim)
        elif not any(path.startswith(claim + "/") for path in chain(outer.claims, outer.kept)) and _may_meet(outer, claim):
            outer.added[claim[start:]] = None


def _may_meet(outer: _Layer, claim: str) -> bool:
    """Whether the outer one could lay something there: an exclude without effect would only change its key."""
    if not outer.claims or not outer.literal or not is_literal(claim):
        return True
    return any(claim.startswith(path + "/") for path in outer.claims)


def _conflict(findings: Findings, one: _Layer, other: _Layer, claim: str) -> None:
    first, second = sorted((one, other), key=lambda layer: (layer.item.place.line, layer.item.place.column))
    message = (
        f"Conflict between imports! {second.title} and {first.title} in line {first.item.place.line} both lay `{claim}`"
    )
    findings.add(second.item.place, message, "give one of them another `to`, or narrow it with `includePaths`")


def _filter(layer: _Layer) -> PathFilter:
    paths = layer.item.paths
    return PathFilter(paths.include, tuple(dict.fromkeys((*paths.exclude, *layer.added))))


def _join(root: str, glob: str) -> str:
    return f"{root}{glob}" if root == "/" else f"{root}/{glob}"


def _upward(path: str) -> Iterator[str]:
    while path != "/":
        yield path
        path = path.rpartition("/")[0] or "/"
    yield "/"
