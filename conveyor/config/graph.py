"""What `config graph` and `config render` print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NotRequired, TypedDict

from conveyor.config.models import Image, Project
from conveyor.config.naming import display_name

GraphFormat = Literal["yaml", "dot", "mermaid"]
DependsOn = TypedDict("DependsOn", {"from": str, "import": list[str], "dependencies": list[str]}, total=False)


class Item(TypedDict):
    """What one image takes from others."""

    image: str
    dependsOn: NotRequired[DependsOn]


def graph_document(project: Project, names: Sequence[str]) -> list[Item]:
    """For each image what it takes from others of the project, in order of configuration.

    An item is `{"image": name}` and, where it needs something, `"dependsOn": {"from": name, "import": [names],
    "dependencies": [names]}`, empty parts left out. With `names`: these and all that they need.
    """
    images = {image.name: image for image in project.images}
    wanted = dict.fromkeys(names or images)
    queue = list(wanted)
    while queue:
        for needed in images[queue.pop()].needs():
            if needed not in wanted:
                wanted[needed] = None
                queue.append(needed)
    return [_item(images[name]) for name in images if name in wanted] if wanted else []


def render_graph(project: Project, names: Sequence[str] = (), output: GraphFormat = "yaml") -> str:
    """The same as YAML, or as a drawing: an arrow leads from what is needed to the image that needs it."""
    document = graph_document(project, names)
    if output == "dot":
        return _as_dot(document)
    if output == "mermaid":
        return _as_mermaid(document)
    import yaml

    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def _as_dot(document: Sequence[Item]) -> str:
    lines = [f"  {_dot_text(item['image'])};" for item in document]
    lines += [
        f"  {_dot_text(needed)} -> {_dot_text(image)} [label={_dot_text(how)}];" for needed, how, image in _arrows(document)
    ]
    return "digraph images {\n  rankdir=LR;\n" + "".join(line + "\n" for line in lines) + "}\n"


def _dot_text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _as_mermaid(document: Sequence[Item]) -> str:
    number = {item["image"]: f"i{index}" for index, item in enumerate(document)}
    lines = [f'  {number[image]}["{_mermaid_text(image)}"]' for image in number]
    lines += [f"  {number[needed]} -- {how} --> {number[image]}" for needed, how, image in _arrows(document)]
    return "flowchart LR\n" + "".join(line + "\n" for line in lines)


def _mermaid_text(text: str) -> str:
    """Mermaid has entities by number, with `#` for what is `&#` in HTML."""
    return "".join(character if character.isalnum() or character in "-_./ " else f"#{ord(character)};" for character in text)


def _arrows(document: Sequence[Item]) -> Iterator[tuple[str, str, str]]:
    """What is needed, how, by which image."""
    for item in document:
        depends_on = item.get("dependsOn", {})
        if base := depends_on.get("from"):
            yield base, "from", item["image"]
        yield from ((needed, "import", item["image"]) for needed in depends_on.get("import", ()))
        yield from ((needed, "dependencies", item["image"]) for needed in depends_on.get("dependencies", ()))


def _item(image: Image) -> Item:
    depends_on: DependsOn = {}
    if image.base.kind == "image":
        depends_on["from"] = image.base.reference
    if imports := dict.fromkeys(item.image for item in image.imports if not item.external):
        depends_on["import"] = list(imports)
    if image.dependencies:
        depends_on["dependencies"] = list(dict.fromkeys(item.image for item in image.dependencies))
    item: Item = {"image": display_name(image.name)}
    if depends_on:
        item["dependsOn"] = depends_on
    return item


def render(content: bytes, project: Project, names: Sequence[str]) -> bytes:
    """The text of a configuration as it is; with `names` only the documents of these images, joined by `---` lines."""
    if not names:
        return content
    from conveyor.config.assembly import image_documents

    wanted = set(names)
    texts = [
        document.text if document.text.endswith("\n") else document.text + "\n"
        for document, own in image_documents(content, project.file)
        if not wanted.isdisjoint(own)
    ]
    return "---\n".join(texts).encode()
