"""Faults of a registry, as rules of a server that stands before it (`tests.servers.front_server`)."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.servers import Reply, Request, Reset, Rule

Answer = Reply | Reset | Callable[[Callable[[], Reply]], Reply]


def failing(times: int, answer: Answer | type[Reset], *, method: str = "", path: str = "", after: int = 0) -> Rule:
    """The requests that match, from the one behind `after` others on, fail so many times.

    `path` is a pattern. `answer` is what is answered, a `Reset`, or what makes an answer from what the registry would say.
    The question for the scheme (`/v2/`) is let through.
    """
    lock = threading.Lock()
    left = [after, times]

    def rule(request: Request, forward: Callable[[], Reply]) -> Reply | None:
        if request.path == "/v2/" or (method and request.method != method) or not re.search(path, request.path):
            return None
        with lock:
            if left[0] > 0:
                left[0] -= 1
                return None
            if left[1] <= 0:
                return None
            left[1] -= 1
        if isinstance(answer, Reset) or answer is Reset:
            raise answer if isinstance(answer, Reset) else Reset
        return answer if isinstance(answer, Reply) else answer(forward)  # type: ignore[operator]  # no class is left

    return rule


def once_each(*answers: Answer | type[Reset]) -> Rule:
    """Every request fails the first time that it is made; where there are several answers, each in another way."""
    lock = threading.Lock()
    made: dict[tuple[str, str], Rule] = {}

    def rule(request: Request, forward: Callable[[], Reply]) -> Reply | None:
        # An upload has an address of its own each time, and the name of a stage the time of its last try.
        path = re.sub(r"/uploads/[^?]+.*", "/uploads/*", request.path)
        what = (request.method, re.sub(r"-\d{13}-", "-*-", path))
        with lock:
            own = made.setdefault(what, failing(1, answers[len(made) % len(answers)]))
        return own(request, forward)

    return rule


def changed(**fields: object) -> Answer:
    """What the registry says, changed."""
    return lambda forward: replace(forward(), **fields)


def cut_head(after: int, *, reset: bool = False) -> Answer:
    """The registry does what is asked, and its answer ends after so many bytes of its head."""
    return changed(cut_head=after, reset=reset)


def cut_body(after: int, *, reset: bool = False) -> Answer:
    """The registry does what is asked, and its answer ends after so many bytes of its body."""

    def cut(forward: Callable[[], Reply]) -> Reply:
        reply = forward()
        return replace(reply, headers={**reply.headers, "Content-Length": str(len(reply.body))}, cut=after, reset=reset)

    return cut


def lying(name: str, value: str) -> Answer:
    """What the registry says, with another header."""

    def lie(forward: Callable[[], Reply]) -> Reply:
        reply = forward()
        others = {key: text for key, text in reply.headers.items() if key.lower() != name.lower()}
        return replace(reply, headers={**others, name: value})

    return lie


@dataclass
class Lists:
    """A rule: lists of tags lag so many seconds behind what is written through this front, unsorted and with duplicates."""

    lag_s: float = 0.0
    written_s: dict[str, float] = field(default_factory=dict)

    def __call__(self, request: Request, forward: Callable[[], Reply]) -> Reply | None:
        path = request.path.partition("?")[0]
        if request.method == "PUT" and "/manifests/" in path and "/manifests/sha256:" not in path:
            reply = forward()
            self.written_s.setdefault(path.rpartition("/")[2], time.monotonic())
            return reply
        if request.method != "GET" or not path.endswith("/tags/list"):
            return None
        # A list that is on its way for long is no fresher for it.
        seen_s = time.monotonic() - self.lag_s
        reply = forward()
        if reply.status != 200:
            return reply
        document = json.loads(reply.body)
        tags = [tag for tag in document["tags"] or () if self.written_s.get(tag, 0.0) <= seen_s]
        tags += random.sample(tags, len(tags) // 2)
        random.shuffle(tags)
        return replace(reply, headers=_without_length(reply), body=json.dumps({**document, "tags": tags}).encode())


def _without_length(reply: Reply) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name.lower() != "content-length"}


def incomplete_names(storage: Path, repository: str) -> list[str]:
    """The names in a docker-registry's storage whose manifest, configuration or a layer is not there, or is cut short."""
    root = storage / "docker/registry/v2"
    own = root / "repositories" / repository

    def data(digest: str) -> Path:
        value = digest.removeprefix("sha256:")
        return root / "blobs/sha256" / value[:2] / value / "data"

    def is_whole(link: Path) -> bool:
        digest = link.read_text()
        if not (own / "_manifests/revisions/sha256" / digest.removeprefix("sha256:") / "link").exists():
            return False
        manifest = json.loads(data(digest).read_bytes())
        return all(
            (own / "_layers/sha256" / blob["digest"].removeprefix("sha256:") / "link").exists()
            and data(blob["digest"]).stat().st_size == blob["size"]
            for blob in (manifest["config"], *manifest["layers"])
        )

    tags = sorted((own / "_manifests/tags").iterdir()) if (own / "_manifests/tags").is_dir() else []
    return [tag.name for tag in tags if not is_whole(tag / "current/link")]


def names_in(storage: Path, repository: str) -> list[str]:
    """The names in a docker-registry's storage."""
    tags = storage / "docker/registry/v2/repositories" / repository / "_manifests/tags"
    return sorted(tag.name for tag in tags.iterdir()) if tags.is_dir() else []
