"""What build containers of every engine have in common, beside their script."""

from __future__ import annotations

import os

SECRETS_DIR = "/run/secrets"
AGENT_SOCKET = "/.conveyor/tmp/ssh-auth-sock"
# What Docker gives to a container whose image does not say.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What Docker predefines for build containers.
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")


def proxies() -> dict[str, str]:
    """The proxy variables of this process, in both spellings where they are set."""
    names = [*_PROXIES, *(name.lower() for name in _PROXIES)]
    return {name: os.environ[name] for name in names if os.environ.get(name)}
