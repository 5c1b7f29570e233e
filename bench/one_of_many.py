"""A commit that changes one image of many."""

from __future__ import annotations

import secrets

from bench.harness import Harness, Project, Variant, show_absolute
from bench.nothing import many_images


def measure(harness: Harness) -> None:
    """Many images, a commit that changes one of them: until its new stages are saved."""
    project = Project(harness, "many", *many_images(harness.images))
    project.build()

    def change() -> None:
        project.write({"i7/a": secrets.token_hex(8)})
        project.commit()

    name = f"one of {harness.images} images changed"
    show_absolute(harness.interleave({name: Variant(project.build, change)}), {name: 1.0})
