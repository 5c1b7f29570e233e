"""The calls of the OCI distribution protocol on one repository: tags, manifests, blobs, uploads. Keeps nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from sys import audit as trace
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import quote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from stapel.oci.api import Descriptor
from stapel.oci.blobs import open_blob, stream_matches
from stapel.oci.errors import Broken, Damaged, NotFound, Refused, StapelError, Unreachable
from stapel.oci.manifest import INDEXES, MANIFESTS, digest_bytes, matches
from stapel.oci.pages import next_link, parse_tags
from stapel.oci.reference import Reference, is_digest
from stapel.oci.retries import Passing, first_then
from stapel.oci.transport import Call, Response, Transport, scopes_for

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

PAGE_LENGTH = 1000  # more is refused by some registries
ASKS_BEFORE_BROKEN = 3
MOST_DOCUMENT_BYTES = 64 << 20

_ACCEPTED = ", ".join((*MANIFESTS, *INDEXES))
_NO_CACHE = {"Cache-Control": "no-cache"}
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
        call = Call("GET", target, _NO_CACHE if fresh else {}, scopes=self._pull())

        def once() -> tuple[list[str], str | None] | None:
            response = self.transport.attempt(doing, call)
            if response.status == 400 and response.says("PAGINATION_NUMBER_INVALID"):
                response = self.transport.attempt(doing, replace(call, target=target.partition("?")[0]))
            if response.status == 404:
                if not response.says(*_NO_REPOSITORY):
                    self._check_protocol(doing)
                return None
            if response.status != 200:
                raise self._unexpected(doing, response)
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
        doing = f"reading the manifest of {self._name(reference)}"
        for ask in range(1, ASKS_BEFORE_BROKEN + 1):
            headers = {"Accept": _ACCEPTED, **(_NO_CACHE if fresh or ask > 1 else {})}
            response = self.transport.request(
                doing, Call("GET", f"/v2/{self.path}/manifests/{reference}", headers, scopes=self._pull())
            )
            if response.status == 404:
                raise NotFound(f"there is no {self._name(reference)}: {response.complaint()}")
            if response.status != 200:
                raise self._unexpected(doing, response)
            said = reference if is_digest(reference) else (response.headers.get("docker-content-digest") or "").strip()
            if not is_digest(said):
                said = digest_bytes(response.body)
            document = Document(response.headers.get("content-type") or "", said, response.body)
            if matches(document.data, said) and (_is_json(document.data) or ask == ASKS_BEFORE_BROKEN):
                return document
            self._doubt(doing, "the manifest's bytes are not what their digest says", ask)
        raise Broken(f"{self._name(reference)} is damaged: the manifest's bytes are not what {said} says")

    def manifest_digest(self, reference: str) -> str | None:
        """The digest of a tag by HEAD, of a digest whether it is here; None: the registry does not say. `NotFound`."""
        doing = f"asking for the digest of {self._name(reference)}"
        response = self.transport.request(
            doing,
            Call("HEAD", f"/v2/{self.path}/manifests/{reference}", {"Accept": _ACCEPTED, **_NO_CACHE}, scopes=self._pull()),
        )
        if response.status == 404:
            raise NotFound(f"there is no {self._name(reference)}")
        if response.status != 200:
            return None
        said = (response.headers.get("docker-content-digest") or "").strip()
        return said if is_digest(said) else None

    def put_manifest(self, reference: str, media_type: str, data: bytes, *, renew: Callable[[], str] | None = None) -> None:
        """Store a manifest under a digest or a tag. `BlobMissing`, `ManifestInvalid`. `renew`: see `ImageStore.name`."""
        doing = f"writing the manifest {self._name(reference)}"
        take = first_then(reference, renew)
        doubted = False

        def once() -> Response:
            nonlocal doubted
            call = Call(
                "PUT",
                f"/v2/{self.path}/manifests/{take()}",
                {"Content-Type": media_type},
                body=data,
                scopes=self._push(),
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
        raise self._unexpected(doing, response)

    def delete_manifest(self, digest: str) -> None:
        """Delete a manifest and all its tags; one that is not there is deleted."""
        doing = f"deleting {self._name(digest)}"
        response = self.transport.request(
            doing, Call("DELETE", f"/v2/{self.path}/manifests/{digest}", scopes=self._scopes("delete,pull,push"))
        )
        if response.status in (200, 202, 204, 404):
            return
        if response.status in (405, 501) or response.says("UNSUPPORTED"):
            raise StapelError(
                f"{doing}: the registry does not delete: {response.complaint()}",
                hint="switch deletion on in the registry (docker-registry: REGISTRY_STORAGE_DELETE_ENABLED=true)",
            )
        raise self._unexpected(doing, response)

    # -- blobs

    def open(self, blob: Descriptor, manifest_digest: str) -> BinaryIO:
        """The bytes of a blob of an existing manifest, verified while they are read. `Broken`, `NotFound`."""
        where = f"blob {blob.digest} of {self.text}"
        waiting = [self._get_blob(blob, manifest_digest, 0, fresh=False)]

        def fetch(offset: int) -> tuple[int, BaseHTTPResponse]:
            begins, response = (0, waiting.pop()) if waiting else self._resume(blob, manifest_digest, offset)
            assert response.raw is not None
            return begins, response.raw

        def confirm() -> bool:
            for ask in range(1, ASKS_BEFORE_BROKEN):
                self._doubt(f"downloading {where}", "it has other bytes than its digest says", ask)
                response = self._get_blob(blob, manifest_digest, 0, fresh=True)
                assert response.raw is not None
                if stream_matches(response.raw, blob.digest):
                    return False
            return True

        return open_blob(blob, where, fetch, confirm, self.transport.retries, self.transport.on_retry)

    def read(self, blob: Descriptor, manifest_digest: str) -> bytes:
        """A small blob (a configuration), whole and verified; asked for up to three times. `Broken`, `NotFound`."""
        if blob.size_bytes > MOST_DOCUMENT_BYTES:
            raise Broken(
                f"blob {blob.digest} of {self.text} is said to be a document of {blob.size_bytes} bytes", blob=blob.digest
            )
        doing = f"downloading blob {blob.digest} of {self.text}"
        for ask in range(1, ASKS_BEFORE_BROKEN + 1):
            response = self._get_blob(blob, manifest_digest, 0, fresh=ask > 1, whole=True)
            if len(response.body) == blob.size_bytes and matches(response.body, blob.digest):
                return response.body
            self._doubt(doing, "it has other bytes than its digest says", ask)
        raise Broken(
            f"blob {blob.digest} of {self.text} is damaged: it has other bytes than its digest says", blob=blob.digest
        )

    def _get_blob(
        self, blob: Descriptor, manifest_digest: str, offset: int, *, fresh: bool, whole: bool = False
    ) -> Response:
        doing = f"downloading blob {blob.digest} of {self.text}"
        for ask in range(ASKS_BEFORE_BROKEN):
            headers = dict(_NO_CACHE) if fresh or ask else {}
            if offset:
                headers["Range"] = f"bytes={offset}-"
            call = Call("GET", f"/v2/{self.path}/blobs/{blob.digest}", headers, scopes=self._pull(), stream=not whole)
            response = self.transport.request(doing, call)
            if response.status in (200, 206) or (response.status == 416 and offset):
                return response
            if response.status != 404:
                raise self._unexpected(doing, response)
            if ask + 1 < ASKS_BEFORE_BROKEN:
                time.sleep(min(self.transport.retries.first_s, 0.2) * (ask + 1))
        # A manifest that is gone takes its blobs with it: that is a fact about the image, not damage. Raises NotFound.
        self.manifest_digest(manifest_digest)
        raise Broken(
            f"blob {blob.digest} of {self._name(manifest_digest)} is not in the registry: {response.complaint()}",
            blob=blob.digest,
        )

    def _doubt(self, doing: str, why: str, ask: int) -> None:
        """Wait before bytes that are wrong are asked for again: what damages them may pass."""
        if ask < ASKS_BEFORE_BROKEN:
            delay_s = self.transport.retries.delay_s(ask)
            if self.transport.on_retry is not None:
                self.transport.on_retry(
                    f"{doing}: {why}; asking again in {delay_s:.1f} s ({ask + 1} of {ASKS_BEFORE_BROKEN})"
                )
            time.sleep(delay_s)

    def _resume(self, blob: Descriptor, manifest_digest: str, offset: int) -> tuple[int, Response]:
        response = self._get_blob(blob, manifest_digest, offset, fresh=False)
        if response.status == 416:  # it says that it has no more: the whole tells what it has
            response = self._get_blob(blob, manifest_digest, 0, fresh=True)
        if response.status == 206:
            begins = (response.headers.get("content-range") or "").removeprefix("bytes").strip().partition("-")[0]
            if begins.isdigit() and int(begins) <= offset:
                return int(begins), response
            if response.raw is not None:
                response.raw.close()
            raise Unreachable(
                f"downloading blob {blob.digest} of {self.text}: the registry goes on at another place than asked"
            )
        return 0, response

    def has_blob(self, blob: Descriptor) -> bool:
        """Whether a blob is here, with the size that it should have."""
        doing = f"looking for blob {blob.digest} in {self.text}"
        call = Call("HEAD", f"/v2/{self.path}/blobs/{blob.digest}", scopes=self._push())
        response = self.transport.request(doing, call)
        length = response.headers.get("content-length") or ""
        return response.status == 200 and (not length.isdigit() or blob.size_bytes < 0 or int(length) == blob.size_bytes)

    def mount(self, blob: Descriptor, source: str) -> bool:
        """Take a blob over from the repository `source` of the same host without moving it; False: it has to be uploaded."""
        doing = f"mounting blob {blob.digest} from {source} into {self.text}"
        call = Call(
            "POST",
            f"/v2/{self.path}/blobs/uploads/?mount={quote(blob.digest)}&from={quote(source)}",
            scopes=scopes_for(self.path, "pull,push", also=source),
            expected=frozenset({401, 403}),  # not allowed to read there: no reason to fail
        )
        response = self.transport.request(doing, call)
        if response.status == 202:
            self._abandon(response)
        return response.status == 201

    def upload(self, blob: Descriptor, source: Callable[[], BinaryIO]) -> None:
        """Upload a blob, streamed; from its begin again where the connection breaks."""
        doing = f"uploading blob {blob.digest} ({blob.size_bytes} bytes) to {self.text}"
        tries = 0

        def once() -> None:
            nonlocal tries
            tries += 1
            if tries > 1 and self._is_there(doing, blob):
                return  # the answer was lost, not the blob
            trace("blob.before-upload")
            try:
                self._upload_once(doing, blob, source)
            except Damaged as damaged:  # what is read from another registry while it is sent
                raise Passing(str(damaged), at_most=3, hint=damaged.hint) from damaged
            trace("blob.after-upload")

        self.transport.retrying(doing, once)

    def upload_written(self, write: Callable[[BinaryIO], Descriptor]) -> Descriptor | None:
        """Upload a blob of which nobody knows the digest yet, while it is written. What `write` raises is passed on.

        None where the registry has not taken it so. It is not tried again: that is for `upload`, with the digest.
        """
        from stapel.oci.uploads import Written

        doing = f"uploading a layer to {self.text}"
        stream = Written(write)
        try:
            began = self.transport.attempt(
                doing, Call("POST", f"/v2/{self.path}/blobs/uploads/", body=b"", scopes=self._push())
            )
            if began.status != 202 or "location" not in began.headers:
                return None
            trace("blob.before-stream")
            headers = {"Content-Type": "application/octet-stream"}
            source, place = (lambda: cast(BinaryIO, stream)), self._upload_address(began)
            patch = Call("PATCH", place, headers, source=source, length=-1, scopes=self._push(), slow=True)
            sent = self.transport.attempt(doing, patch)
            if sent.status not in (202, 204) or "location" not in sent.headers:
                return None
            blob = stream.blob()
            trace("blob.after-stream")
            place = _with_digest(self._upload_address(sent), blob)
            ended = self.transport.attempt(doing, Call("PUT", place, headers, body=b"", scopes=self._push(), slow=True))
            return blob if ended.status in (201, 204) else None
        except (Passing, Unreachable):
            return None
        finally:
            stream.close()

    def _is_there(self, doing: str, blob: Descriptor) -> bool:
        call = Call("HEAD", f"/v2/{self.path}/blobs/{blob.digest}", scopes=self._push())
        return self.transport.request(doing, call).status == 200

    def _upload_once(self, doing: str, blob: Descriptor, source: Callable[[], BinaryIO]) -> None:
        call = Call("POST", f"/v2/{self.path}/blobs/uploads/", body=b"", scopes=self._push())
        began = self.transport.request(doing, call)
        if began.status == 201 and began.headers.get("docker-content-digest") == blob.digest:
            return
        if began.status != 202 or "location" not in began.headers:
            raise self._unexpected(doing, began)
        trace("blob.after-begin")
        target = _with_digest(self._upload_address(began), blob)
        headers = {"Content-Type": "application/octet-stream"}
        put = Call("PUT", target, headers, source=source, length=blob.size_bytes, scopes=self._push(), slow=True)
        response = self.transport.attempt(doing, put)
        if response.status in (200, 201, 202, 204):
            return
        if response.status in (404, 416) or response.says("BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "DIGEST_INVALID"):
            raise Passing(f"the upload was lost: {response.complaint()}", at_most=4)
        if response.status == 413:
            raise StapelError(
                f"{doing}: too large for the registry or a proxy before it: {response.complaint()}",
                hint="raise the limit there (nginx: client_max_body_size 0)",
            )
        raise self._unexpected(doing, response)

    def _abandon(self, began: Response) -> None:
        """An upload that the registry began instead of mounting: it need not wait for us. Nothing depends on this."""
        if "location" not in began.headers:
            return
        try:
            call = Call("DELETE", self._upload_address(began), scopes=self._push(), expected=frozenset({401, 403}))
            self.transport.attempt("ending an upload", call)
        except (Passing, StapelError):
            return

    def _upload_address(self, began: Response) -> str:
        from urllib.parse import urljoin

        address = urljoin(began.url, began.headers["location"])
        own = self.transport.own_target(address, began.url)
        if own is not None:
            return own
        if not urlsplit(address).scheme.startswith("http"):
            raise Unreachable(f"uploading to {self.text}: the registry gives no web address to upload to: {address[:200]}")
        return address

    # -- words

    def _pull(self) -> tuple[str, ...]:
        return self._scopes("pull")

    def _push(self) -> tuple[str, ...]:
        return self._scopes("pull,push")

    def _scopes(self, actions: str) -> tuple[str, ...]:
        return scopes_for(self.path, actions)

    def _name(self, reference: str) -> str:
        return f"{self.text}{'@' if is_digest(reference) else ':'}{reference}"

    def _unexpected(self, doing: str, response: Response) -> StapelError:
        kind = Refused if response.status == 405 else Unreachable
        return kind(f"{doing}: {self.transport.host} answers {response.complaint()}", hint=_HINTS.get(response.status, ""))


_HINTS: Mapping[int, str] = {
    404: "does the repository exist, and may it be created by a push?",
    405: "is this registry read-only, or a mirror?",
}


def _with_digest(location: str, blob: Descriptor) -> str:
    # The address has a query of its own on some registries, and it must be kept as it is.
    return location + ("&" if "?" in location else "?") + f"digest={quote(blob.digest)}"


def _is_json(data: bytes) -> bool:
    """Whether a document is whole enough to be read."""
    import json

    try:
        json.loads(data)
    except ValueError:
        return False
    return True
