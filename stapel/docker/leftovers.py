"""Removing from the engine what runs have left there: killed ones of this home, and this one at its end."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from sys import audit as trace

from stapel.docker.client import Clients, engine_errors
from stapel.docker.containers import HOME_LABEL, RUN_LABEL, Containers
from stapel.docker.ledger import Ledger, find_left
from stapel.docker.listing import inspect_image
from stapel.errors import NotFound, StapelError, Unreachable
from stapel.oci.api import ImageConfig
from stapel.runs import home_label, is_alive

UPLOAD_LABEL = "dev.conveyor.upload"


def remove_leftovers(clients: Clients, containers: Containers, home_dir: Path) -> None:
    """Remove what runs of this home left in the engine that are gone. A failure leaves the rest to the next run.

    `Unreachable`, `StapelError`.
    """
    left = list(find_left(home_dir, clients.endpoint))
    label = f"{HOME_LABEL}={home_label(home_dir)}"
    found = clients.ask("listing containers", lambda client: client.containers(all=True, filters={"label": [label]}))
    for container in found:
        if _is_dead((container.get("Labels") or {}).get(RUN_LABEL, ""), home_dir):
            remove_container(clients, container["Id"])
    filters = {"label": [label], "dangling": ["true"]}
    committed = clients.ask("listing images", lambda client: client.images(filters=filters))
    for image in committed:
        if _is_dead((image.get("Labels") or {}).get(RUN_LABEL, ""), home_dir):
            containers.remove_image_later(image["Id"])
    notes = [note for ledger in left for note in ledger.notes]
    for note in notes:
        if note.kind == "container":
            remove_container(clients, note.name)
    remove_tags(clients, containers.ledger, [note.name for note in notes if note.kind == "tag"])
    for note in notes:
        if note.kind == "image":
            remove_unnamed(clients, note.name)
    for ledger in left:
        ledger.path.unlink(missing_ok=True)


def remove_container(clients: Clients, container: str) -> None:
    """Remove a container, which may be gone already, and its anonymous volumes. `Unreachable`, `StapelError`."""
    try:
        with suppress(NotFound):
            trace("container.before-remove")
            clients.ask("removing a container", lambda client: client.remove_container(container, v=True, force=True))
    except StapelError as error:
        if "already in progress" not in str(error):  # another run is at it
            raise
    trace("container.after-remove")


def remove_tags(clients: Clients, ledger: Ledger, tags: Sequence[str]) -> None:
    """Take tags off the images that have them; these stay. `Unreachable`, `StapelError`.

    An image goes with its last tag, even one that is held, so all the tags are given to an image of nothing first.
    """
    there = [text for text in tags if inspect_image(clients, text) is not None]
    if not there:
        return
    from stapel.docker.loading import image_id_of, load_image

    client = clients.get()
    empty = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}}
    nothing = ImageConfig({**empty, "config": {"Labels": {UPLOAD_LABEL: secrets.token_hex(8)}}})
    ledger.note("image", image_id_of(nothing))
    image_id = load_image(clients, nothing)
    with engine_errors("removing tags"):
        trace("push.before-untag")
        for text in there:
            name, _, tag = text.rpartition(":")
            client.tag(image_id, name, tag, force=True)
        for text in there:
            client.remove_image(text, noprune=True)
        trace("push.after-untag")


def remove_unnamed(clients: Clients, image_id: str) -> None:
    """Remove an image that has neither a tag nor a place in a registry, and is in no use. `Unreachable`."""
    inspected = inspect_image(clients, image_id)
    if inspected is None or inspected.get("RepoTags") or inspected.get("RepoDigests"):
        return
    try:
        trace("image.before-remove")
        clients.ask(f"removing image {image_id}", lambda client: client.remove_image(image_id, noprune=True))
    except Unreachable:
        raise
    except StapelError:
        return  # it is gone, or somebody uses it


def settle(clients: Clients, ledger: Ledger) -> None:
    """Remove what this run has made and not named, a discarded stage for one. `Unreachable`, `StapelError`."""
    for note in ledger.open_notes():
        if note.kind == "image":
            remove_unnamed(clients, note.name)
            ledger.settle(note.kind, note.name)


def _is_dead(run_id: str, home_dir: Path) -> bool:
    return bool(run_id) and not is_alive(home_dir, run_id)
