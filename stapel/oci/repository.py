"""The calls of the OCI distribution protocol on one repository: tags and manifests. Keeps nothing.

Those on its blobs are `stapel.oci.repository_blobs`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from stapel.oci.errors import Broken, NotFound, Refused, StapelError, Unreachable
from stapel.oci.manifest import INDEXES, MANIFESTS, digest_bytes, matches
from stapel.oci.pages import next_link, parse_tags
from stapel.oci.reference import Reference, is_digest
from stapel.oci.retries import Passing, first_then
from stapel.oci.transport import Call, Response, Transport, scopes_for

PAGE_LENGTH = 1000  # more is refused by some registries
ASKS_BEFORE_BROKEN = 3
PULL, PUSH = "pull", "pull,push"  # actions of scopes

_ACCEPTED = ", ".join((*MANIFESTS, *INDEXES))
NO_CACHE = {"Cache-Control": "no-cache"}
_BLOB_UNKNOWN = ("MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN")
_NO_REPOSITORY = ("NAME_UNKNOWN", "NOT_FOUND", "NAME_INVALID", "REPOSITORY_NOT_FOUND")


class Document(Struct, frozen=True):
    """A manifest or an index as the registry gave it, verified."""

    media_type: str  # of the answer's header; the document may say otherwise
    digest: str
    data: bytes


class BlobMissing(Exception):
    """The registry refuses a manifest because it does not hold all its blobs."""


class ManifestInvalid(StapelError):
    """The registry refuses a manifest as invalid."""

    reason = "manifest_invalid"


class Repository:
    """One repository on one host."""

    def __init__(self, reference: Reference, transport: Transport) -> None:
        self.path = reference.repository
        self.text = reference.repository_text
        self.transport = transport

    # -- tags

    def tags(self, *, fresh: bool) -> list[str]:
        """All tags, over all pages; [] where the repository does not exist yet."""
        tags = dict[str, None]()
        target: str | None = f"/v2/{self.path}/tags/list?n={PAGE_LENGTH}"
        seen = set[str]()
        while target is not None:
            if target in seen:
                raise Unreachable(f"listing the names of {self.text}: the registry's pages go round in a circle at {target}")
            seen.add(target)
            page = self._tag_page(target, fresh)
            if page is None:
                break
            listed, target = page
            tags.update(dict.fromkeys(listed))
        return list(tags)

    def _tag_page(self, target: str, fresh: bool) -> tuple[list[str], str | None] | None:
        doing = f"listing the names of {self.text}"
        call = Call("GET", target, NO_CACHE if fresh else {}, scopes=self.scopes(PULL))

        def once() -> tuple[list[str], str | None] | None:
            response = self.transport.attempt(doing, call)
            if response.status == 400 and response.says("PAGINATION_NUMBER_INVALID"):
                response = self.transport.attempt(doing, replace(call, target=target.partition("?")[0]))
            if response.status == 404:
                if not response.says(*_NO_REPOSITORY):
                    self._check_protocol(doing)
                return None
            if response.status != 200:
                raise self.unexpected(doing, response)
            return parse_tags(response.body), self._next_page(doing, response)

        return self.transport.retrying(doing, once)

    def _next_page(self, doing: str, response: Response) -> str | None:
        link = next_link(response.headers.get("link") or "")
        if link is None:
            return None
        target = self.transport.own_target(link, response.url)
        if target is None:
            raise Unreachable(f"{doing}: the next page is said to be on another host: {link[:200]}")
        return target

    def _check_protocol(self, doing: str) -> None:
        """A 404 of something that is no registry must not pass for an empty repository."""
        response = self.transport.request(doing, Call("GET", "/v2/", expected=frozenset({401, 403})))
        if response.status not in (200, 401, 403):
            raise Unreachable(
                f"{doing}: {self.transport.host} does not speak the registry protocol: {response.complaint()}",
                hint="check the host and port of the repository",
            )

    # -- manifests

    def manifest(self, reference: str, *, fresh: bool = False) -> Document:
        """The manifest or index of a tag or digest. `NotFound`; `Broken` where its bytes belie their digest three times."""
        doing = f"reading the manifest of {self.reference(reference)}"
        for ask in range(1, ASKS_BEFORE_BROKEN + 1):
            headers = {"Accept": _ACCEPTED, **(NO_CACHE if fresh or ask > 1 else {})}
            response = self.transport.request(
                doing, Call("GET", f"/v2/{self.path}/manifests/{reference}", headers, scopes=self.scopes(PULL))
            )
            if response.status == 404:
                raise NotFound(f"there is no {self.reference(reference)}: {response.complaint()}")
            if response.status != 200:
                raise self.unexpected(doing, response)
            said = reference if is_digest(reference) else (response.headers.get("docker-content-digest") or "").strip()
            if not is_digest(said):
                said = digest_bytes(response.body)
            document = Document(response.headers.get("content-type") or "", said, response.body)
            if matches(document.data, said) and (_is_json(document.data) or ask == ASKS_BEFORE_BROKEN):
                return document
            self.doubt(doing, "the manifest's bytes are not what their digest says", ask)
        raise Broken(f"{self.reference(reference)} is damaged: the manifest's bytes are not what {said} says")

    def manifest_digest(self, reference: str) -> str | None:
        """The digest of a tag by HEAD, of a digest whether it is here; None: the registry does not say. `NotFound`."""
        doing = f"asking for the digest of {self.reference(reference)}"
        response = self.transport.request(
            doing,
            Call(
                "HEAD", f"/v2/{self.path}/manifests/{reference}", {"Accept": _ACCEPTED, **NO_CACHE}, scopes=self.scopes(PULL)
            ),
        )
        if response.status == 404:
            raise NotFound(f"there is no {self.reference(reference)}")
        if response.status != 200:
            return None
        said = (response.headers.get("docker-content-digest") or "").strip()
        return said if is_digest(said) else None

    def put_manifest(self, reference: str, media_type: str, data: bytes, *, renew: Callable[[], str] | None = None) -> None:
        """Store a manifest under a digest or a tag. `BlobMissing`, `ManifestInvalid`. `renew`: see `ImageStore.name`."""
        doing = f"writing the manifest {self.reference(reference)}"
        take = first_then(reference, renew)
        doubted = False

        def once() -> Response:
            nonlocal doubted
            call = Call(
                "PUT",
                f"/v2/{self.path}/manifests/{take()}",
                {"Content-Type": media_type},
                body=data,
                scopes=self.scopes(PUSH),
                slow=True,
            )
            response = self.transport.attempt(doing, call)
            said = (response.headers.get("docker-content-digest") or "").strip()
            if response.status < 300 and said.startswith("sha256:") and is_digest(said) and said != digest_bytes(data):
                raise Passing(f"the registry has stored something else ({said})", at_most=3)
            if not doubted and response.says(*_BLOB_UNKNOWN):
                doubted = True
                # Some write what a repository has in place: a reader meets half of what another builder writes just now.
                raise Passing(f"the registry does not see a blob: {response.complaint()}")
            return response

        response = self.transport.retrying(doing, once)
        if response.status in (200, 201, 202):
            return
        if response.says(*_BLOB_UNKNOWN):
            raise BlobMissing(response.complaint())
        if response.status == 400:
            raise ManifestInvalid(f"{doing}: the registry refuses it: {response.complaint()}")
        raise self.unexpected(doing, response)

    def delete_manifest(self, digest: str) -> None:
        """Delete a manifest and all its tags; one that is not there is deleted."""
        doing = f"deleting {self.reference(digest)}"
        response = self.transport.request(
            doing, Call("DELETE", f"/v2/{self.path}/manifests/{digest}", scopes=self.scopes(f"delete,{PUSH}"))
        )
        if response.status in (200, 202, 204, 404):
            return
        if response.status in (405, 501) or response.says("UNSUPPORTED"):
            raise StapelError(
                f"{doing}: the registry does not delete: {response.complaint()}",
                hint="switch deletion on in the registry (docker-registry: REGISTRY_STORAGE_DELETE_ENABLED=true)",
            )
        raise self.unexpected(doing, response)

    # -- what calls have in common

    def doubt(self, doing: str, why: str, ask: int) -> None:
        """Wait before bytes that are wrong are asked for again: what damages them may pass."""
        if ask < ASKS_BEFORE_BROKEN:
            delay_s = self.transport.retries.delay_s(ask)
            if self.transport.on_retry is not None:
                self.transport.on_retry(
                    f"{doing}: {why}; asking again in {delay_s:.1f} s ({ask + 1} of {ASKS_BEFORE_BROKEN})"
                )
            time.sleep(delay_s)

    def scopes(self, actions: str) -> tuple[str, ...]:
        """What a call asks to be allowed."""
        return scopes_for(self.path, actions)

    def reference(self, reference: str) -> str:
        """A tag or a digest, with the repository."""
        return f"{self.text}{'@' if is_digest(reference) else ':'}{reference}"

    def unexpected(self, doing: str, response: Response) -> StapelError:
        """The error of an answer that no call expects."""
        kind = Refused if response.status == 405 else Unreachable
        return kind(f"{doing}: {self.transport.host} answers {response.complaint()}", hint=_HINTS.get(response.status, ""))


_HINTS: Mapping[int, str] = {
    404: "does the repository exist, and may it be created by a push?",
    405: "is this registry read-only, or a mirror?",
}


def _is_json(data: bytes) -> bool:
    """Whether a document is whole enough to be read."""
    import json

    try:
        json.loads(data)
    except ValueError:
        return False
    return True
