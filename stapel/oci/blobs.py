"""Blobs read from a registry: verified while they are read, and gone on with where a connection breaks."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from stapel.oci.api import Descriptor
from stapel.oci.connections import AGAIN_HINT
from stapel.oci.errors import Broken, Damaged, Unreachable
from stapel.oci.reference import is_digest
from stapel.oci.retries import Retries

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

BUFFER_BYTES = 1 << 18
_PROGRESS_BYTES = 1 << 20  # a download that gets this much further each time may break as often as it likes

Fetch = Callable[[int], "tuple[int, BaseHTTPResponse]"]


def open_blob(
    blob: Descriptor,
    where: str,
    fetch: Fetch,
    confirm: Callable[[], bool],
    retries: Retries,
    on_retry: Callable[[str], None] | None,
) -> BinaryIO:
    """The bytes of `blob`. `fetch(offset)` asks for them from there on and returns where the answer begins.

    `Broken` is raised in place of the last bytes where the whole is not what the digest says, or is shorter or longer.
    `confirm()` downloads again to tell stored bytes from a damaged transfer: True means the stored ones are wrong; `Damaged`
    is raised where they are not.
    """
    if not is_digest(blob.digest):
        raise Broken(f"{where} has a digest that cannot be verified: {blob.digest!r}")
    return io.BufferedReader(_Reader(blob, where, fetch, confirm, retries, on_retry), BUFFER_BYTES)


def stream_matches(response: BaseHTTPResponse, digest: str) -> bool:
    """Whether a streamed answer has this digest; True too where it breaks off: nothing is known then."""
    from urllib3.exceptions import HTTPError

    seen = hashlib.new(digest.partition(":")[0])
    try:
        for piece in response.stream(BUFFER_BYTES, decode_content=False):
            seen.update(piece)
    except (HTTPError, OSError):
        return True
    finally:
        response.close()
    return seen.hexdigest() == digest.partition(":")[2]


class _Reader(io.RawIOBase):
    def __init__(
        self,
        blob: Descriptor,
        where: str,
        fetch: Fetch,
        confirm: Callable[[], bool],
        retries: Retries,
        on_retry: Callable[[str], None] | None,
    ) -> None:
        super().__init__()
        self._blob = blob
        self._where = where
        self._fetch = fetch
        self._confirm = confirm
        self._retries = retries
        self._on_retry = on_retry
        self._hash = hashlib.new(blob.digest.partition(":")[0])
        self._got = 0
        self._got_at_failure = 0
        self._failures = 0
        self._response: BaseHTTPResponse | None = None
        self._done = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the only buffer that BufferedReader gives
        while not self._done:
            data = self._more(len(buffer))
            if data is None:
                continue
            size_bytes = self._blob.size_bytes
            longer = 0 <= size_bytes < self._got + len(data)
            self._got += len(data)
            self._hash.update(data)
            if longer or self._got == size_bytes or not data:
                # Before the last bytes are given away: somebody who counts never asks for what comes behind them.
                self._verify(longer=longer or self._has_more())
            buffer[: len(data)] = data
            if data:
                return len(data)
        return 0

    def close(self) -> None:
        if not self.closed:
            self._done = True
            self._drop()
        super().close()

    def _more(self, size: int) -> bytes | None:
        """The next bytes; b"" at the end; None: the connection broke and was made anew."""
        from urllib3.exceptions import HTTPError

        try:
            if self._response is None:
                begins, self._response = self._fetch(self._got)
                self._skip(self._got - begins)
            data = self._response.read(size, decode_content=False)
        except (HTTPError, OSError) as error:
            self._failed(str(error))
            return None
        if not data and self._got < self._blob.size_bytes:
            why = f"it ends after {self._got} of {self._blob.size_bytes} bytes"
            self._drop()
            # The answer was whole: either these are the stored bytes, or something between us has cut it.
            if self._confirm():
                self._done = True
                raise self._broken(why)
            self._failed(why)
            return None
        return data

    def _skip(self, count: int) -> None:
        """Read over what is here already, where the registry gives the whole again."""
        assert self._response is not None
        while count > 0:
            data = self._response.read(min(count, BUFFER_BYTES), decode_content=False)
            if not data:
                return
            count -= len(data)

    def _failed(self, why: str) -> None:
        self._drop()
        if self._got - self._got_at_failure >= _PROGRESS_BYTES:
            self._failures = 0
        self._got_at_failure = self._got
        self._failures += 1
        if self._failures >= self._retries.attempts:
            self._done = True
            raise Unreachable(f"downloading {self._where}: {why}, {self._failures} times", hint=AGAIN_HINT, temporary=True)
        delay_s = self._retries.delay_s(self._failures)
        if self._on_retry is not None:
            self._on_retry(f"downloading {self._where}: {why}; going on from byte {self._got} in {delay_s:.1f} s")
        time.sleep(delay_s)

    def _has_more(self) -> bool:
        """Whether the registry sends bytes behind the last one; reading to the end also frees the connection."""
        from urllib3.exceptions import HTTPError

        if self._response is None:
            return False
        try:
            return bool(self._response.read(1, decode_content=False))
        except (HTTPError, OSError):
            return False

    def _verify(self, *, longer: bool) -> None:
        self._done = True
        if longer:
            self._drop()
        elif self._response is not None:
            self._response.release_conn()
            self._response = None
        if not longer and self._hash.hexdigest() == self._blob.digest.partition(":")[2]:
            return
        if self._confirm():
            raise self._broken("is longer than its descriptor says" if longer else "has other bytes than its digest says")
        raise Damaged(f"downloading {self._where}: the bytes were damaged on their way", hint=AGAIN_HINT, temporary=True)

    def _broken(self, why: str) -> Broken:
        return Broken(f"{self._where} is damaged: {why}", blob=self._blob.digest)

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response.release_conn()
            self._response = None
