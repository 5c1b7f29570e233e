"""What can go wrong with images and the places that keep them.

The tree of the whole room stands in `stapel.errors`; these are the ones that `stapel.oci` raises.
"""

from __future__ import annotations


class StapelError(Exception):
    """Root of the errors of stapel.

    `reason` is a stable word for reports, `hint` says what to try ("" where nothing is known), `temporary` whether the
    same call may succeed later.
    """

    reason = "stapel_error"

    def __init__(self, message: str, *, hint: str = "", temporary: bool = False) -> None:
        super().__init__(message)
        self.hint = hint
        self.temporary = temporary


class Unreachable(StapelError):
    """An engine or a registry does not answer, or refuses us."""

    reason = "unreachable"


class Refused(Unreachable):
    """A registry answers and does not let us do this: no login, no right, or it takes nothing from anybody."""

    reason = "refused"


class Damaged(Unreachable):
    """Bytes were damaged on their way, and are right where they are stored: who has used none of them may read again."""


class NotFound(StapelError):
    """No such image, name or blob. A fact, not a fault: callers decide what it means."""

    reason = "not_found"


class Broken(StapelError):
    """Something stored is not what its digest says, or a blob of an existing manifest is absent.

    `blob`: the digest of the blob, "" where it is the manifest or not known.
    """

    reason = "broken"

    def __init__(self, message: str, *, blob: str = "", hint: str = "", temporary: bool = False) -> None:
        super().__init__(message, hint=hint, temporary=temporary)
        self.blob = blob


class BadReference(StapelError):
    """Text that is no image reference."""

    reason = "bad_reference"


class BadLayer(StapelError):
    """A layer that is not taken: damaged, hostile, larger than allowed, or not what its diff id says."""

    reason = "bad_layer"
