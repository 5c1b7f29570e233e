"""The documents of a file put together. Apart from `reading`, so that asking for the names of the file loads no YAML."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from conveyor.config.checks import check_images, settle_import_stages
from conveyor.config.decode_image import decode_images
from conveyor.config.decode_project import Settings, decode_project
from conveyor.config.documents import Document, split_documents
from conveyor.config.fields import describe, keys_of, merged_entries
from conveyor.config.findings import Findings
from conveyor.config.giterminism.api import ALLOW_ALL, Refusals
from conveyor.config.image_names import read_names
from conveyor.config.models import GitWorktree, Project
from conveyor.config.naming import display_name
from conveyor.config.nodes import Budget, DocumentError, Node, compose
from conveyor.config.scope import Scope
from conveyor.config.source import read_source
from conveyor.config.suggestions import closest
from conveyor.errors import Place

_OF_STAPEL = frozenset({"from", "fromImage", "fromArtifact", "git", "shell"})
_OF_BOTH = frozenset({"image", "artifact", "docker"})
_KINDS = ("configVersion", "image", "artifact", "dockerfile")


class _Sections(Struct):
    """The documents of a file by kind; `complete` is false where one could not be told."""

    projects: list[Node]
    images: list[Node]
    dockerfiles: list[Node]
    complete: bool = True


def assemble(content: bytes, file: str, refusals: Refusals | None = None, shown_as: str = "") -> Project:
    """See `conveyor.config.reading.parse_project`."""
    source = read_source(content, shown_as or file)
    findings = Findings(source)
    sections = _read_sections(findings, source.text)
    settings = _settings(findings, sections)
    documents = [read_names(findings, node) for node in sections.images]
    dockerfiles = [read_names(findings, node) for node in sections.dockerfiles]
    names: dict[str, Place] = {}
    for document in (*documents, *dockerfiles):
        for name, place in document.names:
            if name in names:
                message = f'conflict between image names! "{display_name(name)}" is used twice'
                findings.add(place, message, f"the first one is in line {names[name].line}")
            names.setdefault(name, place)
    complete = sections.complete and all(document.complete for document in (*documents, *dockerfiles))
    refusals = refusals if refusals is not None else Refusals(ALLOW_ALL)
    scope = Scope(
        findings,
        names,
        complete,
        settings.cache_version,
        settings.platform,
        refusals,
        settings.image_spec,
        platforms=settings.platforms,
        staged=settings.staged,
    )
    images = [image for document in documents for image in decode_images(scope, document)]
    if dockerfiles:
        from conveyor.config.decode_dockerfile import decode_dockerfile

        images += [image for document in dockerfiles for image in decode_dockerfile(scope, document)]
        images.sort(key=lambda image: (image.place.line, image.place.column))
    check_images(findings, images)
    images = settle_import_stages(findings, images)
    findings.raise_any()
    return Project(settings.name, file, tuple(images), settings.git_worktree, findings.warnings())


def image_documents(content: bytes, file: str) -> Iterator[tuple[Document, tuple[str, ...]]]:
    """The documents of images with the names that each gives. `ConfigError` where one cannot be read."""
    source = read_source(content, file)
    findings = Findings(source)
    found = []
    for document in split_documents(source.text):
        node = _compose(findings, document)
        if node and node.kind == "map" and not {"image", "artifact", "dockerfile"}.isdisjoint(keys_of(node)):
            found.append((document, tuple(name for name, _ in read_names(findings, node).names)))
    findings.raise_any()
    return iter(found)


def _read_sections(findings: Findings, text: str) -> _Sections:
    sections = _Sections([], [], [])
    budget = Budget()
    for document in split_documents(text):
        node = _compose(findings, document, budget)
        if node is None:
            sections.complete = False
            continue
        if node.kind != "map":
            findings.add(node, f"a document must be a map, not {describe(node)}", "write `image: NAME` and its fields")
            sections.complete = False
            continue
        keys = set(keys_of(node))
        if "configVersion" in keys:
            sections.projects.append(node)
        elif _has_dockerfile(keys):
            sections.dockerfiles.append(node)
        elif "image" in keys or "artifact" in keys:
            sections.images.append(node)
        else:
            _unrecognised(findings, node, keys)
            sections.complete = False
    return sections


def _compose(findings: Findings, document: Document, budget: Budget | None = None) -> Node | None:
    try:
        return compose(document, budget)
    except DocumentError as error:
        message = str(error)
        if error.begun is not None:
            begun, place = findings.place(error.begun), findings.place(error.offset)
            if begun.line != place.line:
                message += f" that begins at {begun.line}:{begun.column}"
        findings.add(error.offset, message, error.hint)
        return None


def _has_dockerfile(keys: set[str]) -> bool:
    """Whether a document is meant to have `dockerfile`; the decoder says what is wrong with other spellings."""
    if "dockerfile" in keys:
        return True
    if not keys.isdisjoint(_OF_STAPEL):
        return False
    return any(closest(key, ("dockerfile",)) for key in keys - _OF_BOTH)


def _unrecognised(findings: Findings, node: Node, keys: set[str]) -> None:
    if "includes" in keys:
        key = merged_entries(findings, node)["includes"][0]
        findings.add(key, "`includes` belongs in `werf-includes.yaml`", "move it to that file, beside this one")
        return
    if "project" in keys:
        hint = "the project document needs `configVersion: 1`"
    else:
        guesses = (findings.suggest(key, _KINDS) for key in sorted(keys))
        hint = next(filter(None, guesses), "a document has one of `configVersion`, `image`, `artifact`")
    findings.add(node, "cannot recognize type of config section", hint)


def _settings(findings: Findings, sections: _Sections) -> Settings:
    for node in sections.projects[1:]:
        first = findings.place(sections.projects[0])
        message = "duplicate meta config section definition: a file has one document with `configVersion`"
        findings.add(node, message, f"the first one is in line {first.line}")
    if sections.projects:
        return decode_project(findings, sections.projects[0])
    if sections.complete:
        hint = "put a document with `configVersion: 1` and `project: NAME` at the top, then a line `---`"
        findings.add(findings.whole_file(), "the project document is missing", hint)
    return Settings("", "", "", GitWorktree())
