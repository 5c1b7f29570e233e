"""What a mapping says of the repository that it takes files from. Apart: a build without such mappings loads none of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct

from conveyor.gitrepo.addresses import Address


@dataclass(frozen=True, slots=True)
class Login:
    """The directive `basicAuth`: a user and where the password is. `password` itself where it was written down."""

    username: str
    kind: Literal["env", "src", "value"]
    password: str = field(repr=False)  # the name of a variable, a path, or the password


class RemoteSource(Struct, frozen=True):
    """A repository, and what of it: a tag, a commit (its full id) or a branch ("" of kind `branch`: the default one)."""

    address: Address
    kind: Literal["tag", "commit", "branch"]
    ref: str
    login: Login | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether it means the same commit tomorrow."""
        return self.kind != "branch"
