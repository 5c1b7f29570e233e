"""What two git mappings or imports of one image both lay at one place.

The one with the deeper `to` (the inner one) wins: what it claims is excluded from the outer one. Where both claim the very
same path, nobody can say which one wins: that is a conflict. Only the excludes that a person wrote count for the decision,
so that the order of the mappings does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from msgspec import Struct, field
from msgspec.structs import replace

from conveyor.config.findings import Findings
from conveyor.config.globs import escape_glob, is_literal
from conveyor.config.models import GitMapping, Import, PathFilter

_MOST_PAIRS = 50_000  # of mappings with globs that must be held against each other, in one image


class _Layer(Struct, eq=False):
    index: int  # in order of configuration, git mappings first
    item: GitMapping | Import
    title: str
    claims: dict[str, None]  # absolute globs; none: everything
    kept: tuple[str, ...]  # absolute globs that a person excluded
    literal: bool  # claims hold no glob, and there are some
    added: dict[str, None] = field(default_factory=dict)


class _Layers(Struct):
    """All layers: by their `to`, and the literal ones by what they claim, for a claim elsewhere cannot meet them."""

    broad: dict[str, list[_Layer]] = field(default_factory=dict)
    literal: dict[str, list[_Layer]] = field(default_factory=dict)
    by_claim: dict[str, list[_Layer]] = field(default_factory=dict)

    def add(self, layer: _Layer) -> None:
        (self.literal if layer.literal else self.broad).setdefault(layer.item.to, []).append(layer)
        for claim in layer.claims if layer.literal else ():
            self.by_claim.setdefault(claim, []).append(layer)

    def meeting(self, inner: _Layer) -> Iterator[_Layer]:
        """The layers at `to` of `inner` or above that may lay something that it claims, each once."""
        above = dict.fromkeys(_upward(inner.item.to))
        for path in above:
            yield from self.broad.get(path, ())
        if inner.claims and not inner.literal:
            for path in above:
                yield from self.literal.get(path, ())
            return
        met: dict[int, _Layer] = {}
        for claim in inner.claims:
            for path in _upward(claim):
                met.update((id(layer), layer) for layer in self.by_claim.get(path, ()) if layer.item.to in above)
        yield from met.values()


def exclude_overlaps(
    findings: Findings, git: Sequence[GitMapping], imports: Sequence[Import]
) -> tuple[list[GitMapping], list[Import]]:
    """The same mappings and imports, the outer ones with excludes for what the inner ones lay; conflicts are noted."""
    if len(git) + len(imports) < 2:
        return list(git), list(imports)
    items: list[GitMapping | Import] = [*git, *imports]
    layers = [_layer(index, item) for index, item in enumerate(items)]
    known = _Layers()
    for layer in layers:
        known.add(layer)
    pairs = 0
    for inner in layers:
        for outer in known.meeting(inner):
            if outer is inner:
                continue
            pairs += 1
            if pairs > _MOST_PAIRS:
                findings.add(inner.item.place, "too many git mappings and imports of one image overlap", "join some of them")
                return list(git), list(imports)
            if not _exclude(findings, outer, inner):
                break
    done = [replace(layer.item, paths=_filter(layer)) if layer.added else layer.item for layer in layers]
    return (
        [item for item in done if isinstance(item, GitMapping)],
        [item for item in done if isinstance(item, Import)],
    )


def _layer(index: int, item: GitMapping | Import) -> _Layer:
    root = escape_glob(item.to)
    claims = [_join(root, glob) for glob in item.paths.include] or ([] if item.to == "/" else [root])
    kept = tuple(_join(root, glob) for glob in item.paths.exclude)
    title = "a git mapping" if isinstance(item, GitMapping) else f"the import from `{item.image}`"
    return _Layer(index, item, title, dict.fromkeys(claims), kept, bool(claims) and all(map(is_literal, claims)))


def _exclude(findings: Findings, outer: _Layer, inner: _Layer) -> bool:
    """Take what `inner` claims from `outer`; false where that is a conflict."""
    if not outer.claims and not inner.claims:
        return _conflict(findings, outer, inner, "/")
    start = len(_join(escape_glob(outer.item.to), ""))
    for claim in inner.claims:
        if claim in outer.claims:
            return _conflict(findings, outer, inner, claim)
        is_parent = any(path.startswith(claim + "/") for path in chain(outer.claims, outer.kept))
        if not is_parent and _yields(outer, inner, claim):
            outer.added[claim[start:]] = None
    return True


def _yields(outer: _Layer, inner: _Layer, claim: str) -> bool:
    """Whether `outer` must leave a claim of `inner` out.

    Not where it lays nothing there: an exclude without effect would only change its key. Of two with one `to` whose globs
    merely may meet only the earlier one yields, for what both leave out would be laid by nobody.
    """
    if not outer.claims or any(claim.startswith(path + "/") for path in outer.claims):
        return True
    if outer.literal and is_literal(claim):
        return False
    return outer.item.to != inner.item.to or outer.index < inner.index


def _conflict(findings: Findings, one: _Layer, other: _Layer, claim: str) -> bool:
    first, second = sorted((one, other), key=lambda layer: (layer.item.place.line, layer.item.place.column))
    message = (
        f"Conflict between imports! {second.title} and {first.title} in line {first.item.place.line} both lay `{claim}`"
    )
    findings.add(second.item.place, message, "give one of them another `to`, or narrow it with `includePaths`")
    return False


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
