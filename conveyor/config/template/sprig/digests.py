"""Functions of sprig that take a digest of a text."""

from __future__ import annotations

import hashlib
import zlib

from conveyor.config.template.functions import declare
from conveyor.config.template.values import raw


def sha1(text: str) -> str:
    """SHA-1, in hexadecimal digits."""
    return hashlib.sha1(raw(text), usedforsecurity=False).hexdigest()


def sha256(text: str) -> str:
    """SHA-256, in hexadecimal digits."""
    return hashlib.sha256(raw(text)).hexdigest()


def adler32(text: str) -> str:
    """Adler-32, in decimal digits."""
    return str(zlib.adler32(raw(text)))


FUNCTIONS = dict(
    (
        declare("sha1sum", "string", sha1),
        declare("sha256sum", "string", sha256),
        declare("adler32sum", "string", adler32),
    )
)
