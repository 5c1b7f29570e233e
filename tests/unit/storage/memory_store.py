"""An image store in memory: what deciding code is tested with. It can lie, lag and lose as a test asks for."""

from __future__ import annotations

from dataclasses import dataclass, field

from conveyor.storage.facts import LABEL, Facts, MappingFacts, format_facts
from stapel.errors import NotFound
from stapel.oci.api import Description, Descriptor

PROJECT = "project"


def facts(digest: str, *, commits: tuple[str, ...] = (), parents: tuple[str, ...] = (), **changes) -> Facts:
    values = {
        "project": PROJECT,
        "image": "app",
        "stage": "install",
        "digest": digest,
        "content_digest": "",
        "commit": commits[0] if commits else "head",
        "git": {"m": MappingFacts(commits, "tree")} if commits else {},
        "parent": "",
        "parents": parents,
        "sources": (),
        "parts": (),
    }
    return Facts(**{**values, **changes})


@dataclass
class MemoryStore:
    address: str = "memory"
    images: dict[str, Description] = field(default_factory=dict)
    names_: dict[str, str] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    skew_ms: int = 0
    lists: int = 0

    def add_image(self, stage: Facts, *, seed: str = "") -> Descriptor:
        import hashlib

        text = format_facts(stage)
        digest = "sha256:" + hashlib.sha256((text + seed).encode()).hexdigest()
        self.images[digest] = Description(Descriptor("image", digest, 1), {LABEL: text}, 10, 1, digest)
        return self.images[digest].descriptor

    def clock_skew_ms(self) -> int:
        return self.skew_ms

    def reference(self, name: str) -> str:
        return f"{self.address}:{name}"

    def names(self, *, fresh: bool = False, prefix: str = ""):
        self.lists += 1
        return iter([name for name in self.names_ if name.startswith(prefix) and name not in self.hidden])

    def describe(self, name: str) -> Description:
        if name not in self.names_:
            raise NotFound(name)
        return self.images[self.names_[name]]

    def get(self, reference: str) -> Description:
        return self.describe(reference)

    def put_record(self, name: str) -> None:
        self.names_[name] = "record"

    def name(self, name: str, image: Descriptor, *, renew=None) -> None:
        if image.digest not in self.images:
            raise NotFound(image.digest)
        self.names_[name] = image.digest
