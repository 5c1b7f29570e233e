"""What ISA-L leaves behind in the processor."""

from __future__ import annotations

import hashlib


def reset_vectors() -> None:
    """To be called between ISA-L and SHA-256 on one thread.

    ISA-L's checksums (its compression makes one, too) leave the upper halves of the vector registers in use. As long as they
    are, on this thread and on those that it starts, SHA-256 by the processor's own instructions takes a third longer (tried
    with isal 1.9 on Zen 4). OpenSSL's SHA-512 ends with the instruction that clears them, and costs a microsecond.
    """
    hashlib.sha512(b"").digest()
