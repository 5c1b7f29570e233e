"""What only all images together can show: clashing names, cycles, stages and platforms that do not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from conveyor.config.findings import Findings
from conveyor.config.models import Image, Import
from conveyor.config.naming import display_name


def check_images(findings: Findings, images: Sequence[Image]) -> None:
    """Note what is wrong between images; of those with one name the first one counts."""
    by_name: dict[str, Image] = {}
    for image in images:
        by_name.setdefault(image.name, image)
    _check_nameless(findings, images)
    for cycle in find_cycles({name: image.needs() for name, image in by_name.items()}):
        path = " -> ".join(display_name(name) for name in cycle)
        hint = "an image cannot need itself: remove one of these links"
        findings.add(by_name[cycle[0]].place, f"infinite loop detected: {path}", hint)
    for image in images:
        _check_platforms(findings, image, by_name)


def _check_nameless(findings: Findings, images: Sequence[Image]) -> None:
    nameless = next((image for image in images if not image.name), None)
    other = next((image for image in images if image.name and image.final), None)
    if nameless and other:
        message = f'an image without a name cannot stand beside the final image "{other.name}"'
        findings.add(nameless.place, message, "give it a name")


def settle_import_stages(findings: Findings, images: Sequence[Image]) -> list[Image]:
    """The images with imports that take from stages that are there: where there is none, from the whole image."""
    by_name: dict[str, Image] = {}
    for image in images:
        by_name.setdefault(image.name, image)
    return [_settle_imports(findings, image, by_name) for image in images]


def _settle_imports(findings: Findings, image: Image, by_name: Mapping[str, Image]) -> Image:
    settled = tuple(_settle(findings, item, by_name) for item in image.imports)
    return image if settled == image.imports else replace(image, imports=settled)


def _settle(findings: Findings, item: Import, by_name: Mapping[str, Image]) -> Import:
    source = by_name.get(item.image)
    if source is None or item.external or item.from_stage is None:
        return item
    shell = source.shell
    there = (*shell.commands, *shell.tasks, *shell.stage_cache_versions)
    if item.from_stage in there or (shell.cache_version and source.dockerfile is None):
        return item
    message = f'image "{item.image}" has no stage `{item.from_stage}`: files are taken from the whole image'
    listed = ", ".join(f"`{stage}`" for stage in dict.fromkeys(there))
    findings.warn(item.place, message, f"it has {listed}" if listed else "remove `stage`: it has none to take from")
    return replace(item, from_stage=None)


def _check_platforms(findings: Findings, image: Image, by_name: Mapping[str, Image]) -> None:
    for name in image.needs():
        needed = by_name.get(name)
        missing = [each for each in image.platforms if needed and needed.platforms and each not in needed.platforms]
        if needed and missing:
            own = ", ".join(image.platforms)
            message = (
                f'invalid image platform cross-references: "{display_name(image.name)}" is for {own}, '
                f'"{name}" that it needs for {", ".join(needed.platforms)}'
            )
            findings.add(image.place, message, "give both the same `platform`")


def find_cycles(needs: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """One shortest cycle (`a, b, a`) for every group of names that all need one another. Linear time."""
    position = {name: index for index, name in enumerate(needs)}
    for group in _strong_components(needs):
        start = min(group, key=position.__getitem__)
        if len(group) > 1 or start in needs[start]:
            yield _shortest_cycle(needs, group, start)


def _shortest_cycle(needs: Mapping[str, Sequence[str]], group: frozenset[str], start: str) -> tuple[str, ...]:
    came_from: dict[str, str] = {}
    front = [start]
    while start not in came_from:
        following = []
        for name in front:
            for needed in needs[name]:
                if needed in group and needed not in came_from:
                    came_from[needed] = name
                    following.append(needed)
        front = following
    path = [start]
    while len(path) == 1 or path[-1] != start:
        path.append(came_from[path[-1]])
    return tuple(reversed(path))


def _strong_components(needs: Mapping[str, Sequence[str]]) -> Iterator[frozenset[str]]:
    """Groups of names that reach one another (Tarjan's algorithm, without recursion)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    open_names: dict[str, None] = {}
    for root in needs:
        if root in index:
            continue
        work = [(root, iter(needs[root]))]
        index[root] = low[root] = len(index)
        open_names[root] = None
        while work:
            name, following = work[-1]
            for needed in following:
                if needed not in needs:
                    continue
                if needed not in index:
                    index[needed] = low[needed] = len(index)
                    open_names[needed] = None
                    work.append((needed, iter(needs[needed])))
                    break
                if needed in open_names:
                    low[name] = min(low[name], index[needed])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    group: list[str] = []
                    while not group or group[-1] != name:
                        group.append(open_names.popitem()[0])
                    yield frozenset(group)
