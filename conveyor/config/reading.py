"""`werf.yaml` -> `Project`, or everything that is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.config.models import Project

if TYPE_CHECKING:
    from conveyor.config.giterminism.api import Refusals

CONFIG_NAMES = ("werf.yaml", "werf.yml", "conveyor.yaml", "conveyor.yml")  # the first one that is there is read


def parse_project(content: bytes, file: str, refusals: Refusals | None = None, shown_as: str = "") -> Project:
    """The project that a configuration describes; `file` is its path for messages and `Project.file`.

    `shown_as` names the text in messages where it is not the file's own.

    What the configuration takes from outside of the commit is asked of `refusals` and noted there (None: all is allowed).

    `ConfigError` with every mistake of the file: where (line and column over all documents), what, how to mend it. What
    stops everything (not UTF-8, template actions, an empty file) comes alone.
    """
    import gc

    from conveyor.config.assembly import assemble

    # Nodes and models are many and hold no cycles: looking for some in them would take as long as reading the file.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return assemble(content, file, refusals, shown_as)
    finally:
        if was_enabled:
            gc.enable()
