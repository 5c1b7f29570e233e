"""The calls of the OCI distribution protocol on the blobs of one repository. Keeps nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from sys import audit as trace
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import quote, urljoin, urlsplit

from stapel.oci.api import Descriptor
from stapel.oci.blobs import open_blob, stream_matches
from stapel.oci.errors import Broken, Damaged, StapelError, Unreachable
from stapel.oci.manifest import matches
from stapel.oci.repository import ASKS_BEFORE_BROKEN, NO_CACHE, PULL, PUSH, Repository
from stapel.oci.retries import Passing
from stapel.oci.transport import Call, Response, scopes_for

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

MOST_DOCUMENT_BYTES = 64 << 20


class RepositoryBlobs:
    """The blobs of a repository."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._transport = repo.transport
        self._path, self._text = repo.path, repo.text
        self._pull, self._push = repo.scopes(PULL), repo.scopes(PUSH)

    def open(self, blob: Descriptor, manifest_digest: str) -> BinaryIO:
        """The bytes of a blob of an existing manifest, verified while they are read. `Broken`, `NotFound`."""
        where = f"blob {blob.digest} of {self._text}"
        waiting = [self._get_blob(blob, manifest_digest, 0, fresh=False)]

        def fetch(offset: int) -> tuple[int, BaseHTTPResponse]:
            begins, response = (0, waiting.pop()) if waiting else self._resume(blob, manifest_digest, offset)
            assert response.raw is not None
            return begins, response.raw

        def confirm() -> bool:
            for ask in range(1, ASKS_BEFORE_BROKEN):
                self._repo.doubt(f"downloading {where}", "it has other bytes than its digest says", ask)
                response = self._get_blob(blob, manifest_digest, 0, fresh=True)
                assert response.raw is not None
                if stream_matches(response.raw, blob.digest):
                    return False
            return True

        return open_blob(blob, where, fetch, confirm, self._transport.retries, self._transport.on_retry)

    def read(self, blob: Descriptor, manifest_digest: str) -> bytes:
        """A small blob (a configuration), whole and verified; asked for up to three times. `Broken`, `NotFound`."""
        if blob.size_bytes > MOST_DOCUMENT_BYTES:
            raise Broken(
                f"blob {blob.digest} of {self._text} is said to be a document of {blob.size_bytes} bytes", blob=blob.digest
            )
        doing = f"downloading blob {blob.digest} of {self._text}"
        for ask in range(1, ASKS_BEFORE_BROKEN + 1):
            response = self._get_blob(blob, manifest_digest, 0, fresh=ask > 1, whole=True)
            if len(response.body) == blob.size_bytes and matches(response.body, blob.digest):
                return response.body
            self._repo.doubt(doing, "it has other bytes than its digest says", ask)
        raise Broken(
            f"blob {blob.digest} of {self._text} is damaged: it has other bytes than its digest says", blob=blob.digest
        )

    def _get_blob(
        self, blob: Descriptor, manifest_digest: str, offset: int, *, fresh: bool, whole: bool = False
    ) -> Response:
        doing = f"downloading blob {blob.digest} of {self._text}"
        for ask in range(ASKS_BEFORE_BROKEN):
            headers = dict(NO_CACHE) if fresh or ask else {}
            if offset:
                headers["Range"] = f"bytes={offset}-"
            call = Call("GET", f"/v2/{self._path}/blobs/{blob.digest}", headers, scopes=self._pull, stream=not whole)
            response = self._transport.request(doing, call)
            if response.status in (200, 206) or (response.status == 416 and offset):
                return response
            if response.status != 404:
                raise self._repo.unexpected(doing, response)
            if ask + 1 < ASKS_BEFORE_BROKEN:
                time.sleep(min(self._transport.retries.first_s, 0.2) * (ask + 1))
        # A manifest that is gone takes its blobs with it: that is a fact about the image, not damage. Raises NotFound.
        self._repo.manifest_digest(manifest_digest)
        raise Broken(
            f"blob {blob.digest} of {self._repo.reference(manifest_digest)} is not in the registry: {response.complaint()}",
            blob=blob.digest,
        )

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
                f"downloading blob {blob.digest} of {self._text}: the registry goes on at another place than asked"
            )
        return 0, response

    def has(self, blob: Descriptor) -> bool:
        """Whether a blob is here, with the size that it should have."""
        doing = f"looking for blob {blob.digest} in {self._text}"
        call = Call("HEAD", f"/v2/{self._path}/blobs/{blob.digest}", scopes=self._push)
        response = self._transport.request(doing, call)
        length = response.headers.get("content-length") or ""
        return response.status == 200 and (not length.isdigit() or blob.size_bytes < 0 or int(length) == blob.size_bytes)

    def mount(self, blob: Descriptor, source: str) -> bool:
        """Take a blob over from the repository `source` of the same host without moving it; False: it has to be uploaded."""
        doing = f"mounting blob {blob.digest} from {source} into {self._text}"
        call = Call(
            "POST",
            f"/v2/{self._path}/blobs/uploads/?mount={quote(blob.digest)}&from={quote(source)}",
            scopes=scopes_for(self._path, PUSH, also=source),
            expected=frozenset({401, 403}),  # not allowed to read there: no reason to fail
        )
        response = self._transport.request(doing, call)
        if response.status == 202:
            self._abandon(response)
        return response.status == 201

    def upload(self, blob: Descriptor, source: Callable[[], BinaryIO]) -> None:
        """Upload a blob, streamed; from its begin again where the connection breaks."""
        doing = f"uploading blob {blob.digest} ({blob.size_bytes} bytes) to {self._text}"
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

        self._transport.retrying(doing, once)

    def upload_written(self, write: Callable[[BinaryIO], Descriptor]) -> Descriptor | None:
        """Upload a blob of which nobody knows the digest yet, while it is written. What `write` raises is passed on.

        None where the registry has not taken it so. It is not tried again: that is for `upload`, with the digest.
        """
        from stapel.oci.uploads import Written

        doing = f"uploading a layer to {self._text}"
        stream = Written(write)
        try:
            began = self._transport.attempt(
                doing, Call("POST", f"/v2/{self._path}/blobs/uploads/", body=b"", scopes=self._push)
            )
            if began.status != 202 or "location" not in began.headers:
                return None
            trace("blob.before-stream")
            headers = {"Content-Type": "application/octet-stream"}
            source, place = (lambda: cast(BinaryIO, stream)), self._upload_address(began)
            patch = Call("PATCH", place, headers, source=source, length=-1, scopes=self._push, slow=True)
            sent = self._transport.attempt(doing, patch)
            if sent.status not in (202, 204) or "location" not in sent.headers:
                return None
            blob = stream.blob()
            trace("blob.after-stream")
            place = _with_digest(self._upload_address(sent), blob)
            ended = self._transport.attempt(doing, Call("PUT", place, headers, body=b"", scopes=self._push, slow=True))
            return blob if ended.status in (201, 204) else None
        except (Passing, Unreachable):
            return None
        finally:
            stream.close()

    def _is_there(self, doing: str, blob: Descriptor) -> bool:
        call = Call("HEAD", f"/v2/{self._path}/blobs/{blob.digest}", scopes=self._push)
        return self._transport.request(doing, call).status == 200

    def _upload_once(self, doing: str, blob: Descriptor, source: Callable[[], BinaryIO]) -> None:
        call = Call("POST", f"/v2/{self._path}/blobs/uploads/", body=b"", scopes=self._push)
        began = self._transport.request(doing, call)
        if began.status == 201 and began.headers.get("docker-content-digest") == blob.digest:
            return
        if began.status != 202 or "location" not in began.headers:
            raise self._repo.unexpected(doing, began)
        trace("blob.after-begin")
        target = _with_digest(self._upload_address(began), blob)
        headers = {"Content-Type": "application/octet-stream"}
        put = Call("PUT", target, headers, source=source, length=blob.size_bytes, scopes=self._push, slow=True)
        response = self._transport.attempt(doing, put)
        if response.status in (200, 201, 202, 204):
            return
        if response.status in (404, 416) or response.says("BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "DIGEST_INVALID"):
            raise Passing(f"the upload was lost: {response.complaint()}", at_most=4)
        if response.status == 413:
            raise StapelError(
                f"{doing}: too large for the registry or a proxy before it: {response.complaint()}",
                hint="raise the limit there (nginx: client_max_body_size 0)",
            )
        raise self._repo.unexpected(doing, response)

    def _abandon(self, began: Response) -> None:
        """An upload that the registry began instead of mounting: it need not wait for us. Nothing depends on this."""
        if "location" not in began.headers:
            return
        try:
            call = Call("DELETE", self._upload_address(began), scopes=self._push, expected=frozenset({401, 403}))
            self._transport.attempt("ending an upload", call)
        except (Passing, StapelError):
            return

    def _upload_address(self, began: Response) -> str:
        address = urljoin(began.url, began.headers["location"])
        own = self._transport.own_target(address, began.url)
        if own is not None:
            return own
        if not urlsplit(address).scheme.startswith("http"):
            raise Unreachable(f"uploading to {self._text}: the registry gives no web address to upload to: {address[:200]}")
        return address


def _with_digest(location: str, blob: Descriptor) -> str:
    # The address has a query of its own on some registries, and it must be kept as it is.
    return location + ("&" if "?" in location else "?") + f"digest={quote(blob.digest)}"
