"""Known secret values, kept out of what is stored, shown or sent."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

from stapel.api import Log

MASKED = b"***"
_HEAD = 4
MIN_BASE64 = 8  # shorter texts are found everywhere


class Mask:
    """Replaces secret values, their lines and their base64 by `***`.

    Of a value of several lines each line of 8 bytes or more is masked too, for programs print such values line by line. The
    base64 is found in the usual and the URL alphabet, also in that of a longer text that holds the value.
    """

    __slots__ = ("_beginnings", "_pattern")

    def __init__(self, values: Iterable[bytes]) -> None:
        texts = {text for value in values for text in _texts(value)}
        ordered = sorted(texts, key=lambda text: (-len(text), text))
        self._pattern = re.compile(b"|".join(re.escape(text) for text in ordered)) if ordered else None
        self._beginnings = tuple(ordered)

    def replace(self, data: bytes) -> bytes:
        """A whole text, masked."""
        return self._pattern.sub(MASKED, data) if self._pattern else data

    def stream(self) -> MaskedStream:
        """A stream of chunks that are masked across their boundaries."""
        return MaskedStream(self)

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """What of `data` can be passed on, masked, and the rest, which may be the beginning of a secret."""
        if self._pattern is None:
            return data, b""
        done = bytearray()
        held = self._held_from(data, 0)
        position = 0
        while (match := self._pattern.search(data, position)) and match.start() < held:
            done += data[position : match.start()] + MASKED
            position = match.end()
            if position > held:
                held = self._held_from(data, position)
        done += data[position:held]
        return bytes(done), data[held:]

    def _held_from(self, data: bytes, start: int) -> int:
        """Where the end of `data` begins that may be the beginning of a secret. Long secrets have hundreds of texts."""
        held = len(data)
        for text in self._beginnings:
            head = text[:_HEAD]
            begin = data.find(head, max(start, len(data) - len(text) + 1), held + len(head))
            while 0 <= begin < held:
                if text.startswith(data[begin:]):
                    held = begin
                    break
                begin = data.find(head, begin + 1, held + len(head))
            for length in range(1, min(len(text), _HEAD)):
                if start <= len(data) - length < held and text.startswith(data[-length:]):
                    held = len(data) - length
        return held


class MaskedStream:
    """One stream of bytes on its way through a mask. Holds back only what may be the beginning of a secret."""

    __slots__ = ("_held", "_mask")

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be passed on now."""
        done, self._held = self._mask.split(self._held + data)
        return done

    def end(self) -> bytes:
        """What is left at the end of the stream."""
        rest, self._held = self._mask.replace(self._held), b""
        return rest


@contextmanager
def masking(log: Log, mask: Mask) -> Iterator[Log]:
    """A log that passes on what it is told, masked; all of it when the context ends."""
    streams: dict[Literal["stdout", "stderr"], MaskedStream] = {"stdout": mask.stream(), "stderr": mask.stream()}

    def masked(stream: Literal["stdout", "stderr"], data: bytes) -> None:
        if done := streams[stream].feed(data):
            log(stream, done)

    try:
        yield masked
    finally:
        for name, stream in streams.items():
            if rest := stream.end():
                log(name, rest)


def _texts(value: bytes) -> set[bytes]:
    stripped = value.strip()
    if not stripped:
        return set()  # white space is found everywhere
    texts = {value, stripped, *(line for line in map(bytes.strip, value.splitlines()) if len(line) >= 8)}
    for whole in (value, stripped):
        alone = base64.b64encode(whole)
        for encoded in (alone, alone.rstrip(b"=")):
            if len(encoded) >= MIN_BASE64:
                texts |= {encoded, _url_alphabet(encoded)}
        for offset in range(3):
            # In the base64 of a longer text the value starts at one of three places; the characters at both ends that
            # also hold bits of the neighbours are left out.
            encoded = base64.b64encode(b"\0" * offset + whole)
            first = (offset * 8 + 5) // 6
            last = (offset + len(whole)) * 8 // 6
            inner = encoded[first:last]
            if len(inner) >= MIN_BASE64:
                texts |= {inner, _url_alphabet(inner)}
    return texts - {b""}


def _url_alphabet(encoded: bytes) -> bytes:
    return encoded.translate(bytes.maketrans(b"+/", b"-_"))
