"""What `config graph` and `config render` print."""

from __future__ import annotations

from collections.abc import Sequence

from conveyor.config.models import Image, Project
from conveyor.config.naming import display_name


def graph_document(project: Project, names: Sequence[str]) -> list[dict[str, object]]:
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


def render_graph(project: Project, names: Sequence[str] = ()) -> str:
    """The same as YAML."""
    import yaml

    return yaml.safe_dump(graph_document(project, names), sort_keys=False, allow_unicode=True)


def _item(image: Image) -> dict[str, object]:
    depends_on: dict[str, object] = {}
    if image.base.kind == "image":
        depends_on["from"] = image.base.reference
    if imports := dict.fromkeys(item.image for item in image.imports if not item.external):
        depends_on["import"] = list(imports)
    if image.dependencies:
        depends_on["dependencies"] = list(dict.fromkeys(item.image for item in image.dependencies))
    return {"image": display_name(image.name), **({"dependsOn": depends_on} if depends_on else {})}


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
