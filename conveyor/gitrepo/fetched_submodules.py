"""Submodules that are fetched: by the commit that is wanted, from where .gitmodules says, into clones of the home.

What .gitmodules says is believed as far as git believes it: no paths of this machine, unless the user's settings allow them.
"""

from __future__ import annotations

import os

from msgspec.structs import replace

from conveyor.errors import GitError
from conveyor.gitrepo.addresses import Address, configured_address, parse_address, resolve_relative
from conveyor.gitrepo.clones import Clones
from conveyor.gitrepo.invocation import git_environment
from conveyor.gitrepo.objects import Objects


class FetchedSubmodules:
    """See `conveyor.gitrepo.submodules.FetchSubmodule`. Asked by one thread at a time."""

    def __init__(self, clones: Clones, own: Address | None = None) -> None:
        """`own`: the address of the repository itself; None where its settings tell it."""
        self._clones = clones
        self._own = own
        self._addresses: dict[bytes, Address] = {}
        self._failed: dict[Address, GitError] = {}

    def __call__(self, path: str, parent: Objects, name: bytes, url: str, commit: str) -> Objects:
        """See `FetchSubmodule`."""
        address = self._address(parent, name, url)
        if address in self._failed:
            raise self._failed[address]
        clone = self._clones.of(address)
        try:
            clone.commit(commit)
        except GitError as error:
            if error.reason in ("remote_failed", "remote_stalled"):
                self._failed[address] = error  # a server that is away is not waited for at each commit
            raise
        git_dir = os.fsencode(clone.git_dir)
        self._addresses[git_dir] = address
        return Objects(path, git_dir, git_environment(), clone.supply, address)

    def _address(self, parent: Objects, name: bytes, url: str) -> Address:
        base = self._addresses.get(parent.git_dir) or (self._own if not parent.name else None)
        base = base or configured_address(parent.git_dir, b"remote.origin.url")
        own = configured_address(parent.git_dir, b"submodule." + name + b".url")
        if own is not None:
            return own
        if url.startswith(("./", "../")):
            if base is None:
                raise GitError(f"its address {url} is relative, and the repository has no `origin`", reason="remote_failed")
            url = resolve_relative(base, url)
        try:
            address = parse_address(url)
        except ValueError as error:
            raise GitError(f"its address in .gitmodules cannot be used: {error}", reason="remote_failed") from None
        if base is not None and address.credentials is None and _server(address) == _server(base):
            address = replace(address, credentials=base.credentials)
        return replace(address, is_trusted=False)


def _server(address: Address) -> tuple[str, str]:
    return address.url.partition("://")[0], address.name.partition("/")[0]
