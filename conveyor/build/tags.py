"""Custom tags: further names for the final images, made from templates (`--add-custom-tag`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from sys import audit as trace

from msgspec import Struct
from msgspec.structs import replace

from conveyor.build.results import ImageResult
from conveyor.build.slugs import slugify
from conveyor.errors import UsageError
from conveyor.storage.names import is_own_name
from conveyor.storage.storage import Storage
from stapel.errors import NotFound
from stapel.oci.api import Descriptor, IndexStore
from stapel.oci.reference import is_tag

_PLACEHOLDER = r"%[a-z_]+%"
_PLACEHOLDERS = ("%image%", "%image_slug%", "%image_safe_slug%", "%image_content_based_tag%")


class CustomTags(Struct, frozen=True):
    """Templates of tags; `check` refuses bad ones before anything is built."""

    templates: tuple[str, ...] = ()

    def check(self, final_images: Sequence[str]) -> None:
        """Refuse templates that give no tag, one of ours, or one tag for several images. `UsageError`."""
        seen: dict[str, str] = {}
        for template in self.templates:
            for placeholder in re.findall(_PLACEHOLDER, template):
                if placeholder not in _PLACEHOLDERS:
                    raise UsageError(
                        f"--add-custom-tag {template}: {placeholder} means nothing",
                        hint=f"known: {', '.join(_PLACEHOLDERS)}",
                    )
            for name in final_images:
                tag = self.format(template, name, "0" * 56 + "-" + "0" * 13 + "-" + "0" * 8)
                if not is_tag(tag):
                    raise UsageError(
                        f"--add-custom-tag {template}: {tag!r} (image {name or '~'}) is no tag",
                        hint="letters, digits, _, . and -, at most 128; %image_slug% makes a tag of any name",
                    )
                if "%image_content_based_tag%" not in template and is_own_name(tag):
                    raise UsageError(f"--add-custom-tag {template}: names of this form are conveyor's own")
                if seen.setdefault(tag, name) != name and "%image_content_based_tag%" not in template:
                    raise UsageError(
                        f"--add-custom-tag {template}: images {seen[tag] or '~'} and {name or '~'} would both be {tag}",
                        hint="put %image% or %image_slug% into the template",
                    )

    def format(self, template: str, image: str, stage_name: str) -> str:
        """The tag for an image."""
        values = {
            "%image%": image,
            "%image_slug%": slugify(image),
            "%image_safe_slug%": slugify(image),
            "%image_content_based_tag%": stage_name,
        }
        return re.sub(_PLACEHOLDER, lambda match: values[match[0]], template)


def tag_image(storage: Storage, result: ImageResult, tags: CustomTags) -> ImageResult:
    """Give a final image its custom tags in the storage where it is shown; the result says which.

    What has its tag already is not tagged again, so that who may only read can repeat a build.
    """
    shown = result.shown
    if shown is None or not result.final or not tags.templates:
        return result
    names = [tags.format(template, result.name, shown.name) for template in tags.templates]
    for name in names:
        if _digest_of(storage, name) != shown.image_digest:
            trace("custom-tag.before-name")
            storage.store.name(name, Descriptor("", shown.image_digest, -1))
            trace("custom-tag.after-name")
    return replace(result, custom_tags=tuple(storage.store.reference(name) for name in names))


def _digest_of(storage: Storage, name: str) -> str:
    try:
        if isinstance(storage.store, IndexStore):
            return storage.store.digest_of(name)
        return storage.store.get(name).descriptor.digest
    except NotFound:
        return ""
