"""Which blobs a repository is known to have, so that each is put once in a run, whoever needs it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, BinaryIO

from stapel.oci.api import Descriptor
from stapel.oci.repository_blobs import RepositoryBlobs

if TYPE_CHECKING:
    from stapel.oci.uploads import Upload


class KeptBlobs:
    """See the module. `calls`: to the repository, past what is known. Thread-safe."""

    def __init__(self, calls: RepositoryBlobs) -> None:
        self.calls = calls
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._uploads: dict[str, threading.Lock] = {}

    def missing(self, uploads: Iterable[Upload]) -> list[Upload]:
        """Those that are not known to be there."""
        return [upload for upload in uploads if upload.blob.digest not in self._known]

    def put(self, upload: Upload, sources: Sequence[str]) -> None:
        """Put a blob that is not there: mounted from a repository of `sources` that has it, else uploaded."""
        blob = upload.blob
        if blob.digest in self._known:
            return
        with self._lock:
            uploading = self._uploads.setdefault(blob.digest, threading.Lock())
        with uploading:  # images that are saved at once share their lower layers
            if blob.digest in self._known:
                return
            if not self.calls.has(blob) and not any(self.calls.mount(blob, source) for source in sources):
                self.calls.upload(blob, upload.open)
            self._known.add(blob.digest)
        with self._lock:
            self._uploads.pop(blob.digest, None)

    def put_written(self, write: Callable[[BinaryIO], Descriptor]) -> None:
        """Put a blob while it is written, if the registry takes it so (`RepositoryBlobs.upload_written`)."""
        blob = self.calls.upload_written(write)
        if blob is not None:
            self._known.add(blob.digest)

    def forget(self, digests: Iterable[str]) -> None:
        """These may be gone."""
        self._known.difference_update(digests)

    def forget_all(self) -> None:
        """All may be gone."""
        self._known.clear()
