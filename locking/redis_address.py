"""Addresses of Redis servers, as people write them. A password in one is never part of a message."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

_TLS_SETTINGS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
_HOW = "it is redis[s]://[user:password@]host[:port][/db], special characters of the password as %xx"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Redis is and who we are there. `tls` None: no TLS; else settings by the names that redis-py has for them."""

    host: str
    port: int
    db: int
    user: str | None
    password: str | None = field(repr=False)
    tls: dict[str, str] | None

    def __str__(self) -> str:
        """The address without the user and the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'redis' if self.tls is None else 'rediss'}://{host}:{self.port}/{self.db}"


def parse_address(text: str) -> Address:
    """Read `redis://[user:password@]host[:port][/db]` or `rediss://...`, the latter with `?ssl_ca_certs=FILE` and its like.

    Raises `ValueError`; the message holds nothing of what stands before the host.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        # The message of urllib quotes what it takes for the port, and that may be a part of the password.
        raise ValueError(f"the host or the port of the address of Redis cannot be read: {_HOW}") from None
    if "@" in parts.path + parts.query + parts.fragment:
        # What we take for the host is a part of the password then, and so is what follows it.
        raise ValueError(f"the address of Redis has an @ after the host: {_HOW}")
    if parts.scheme not in ("redis", "rediss"):
        raise ValueError(f"the address of Redis begins with neither redis:// nor rediss://: {_HOW}")
    if not host:
        raise ValueError(f"the address of Redis names no host: {_HOW}")
    db = parts.path.strip("/")
    if (db and not (db.isascii() and db.isdigit())) or parts.fragment:
        raise ValueError(f"what follows the host in the address of Redis is not the number of a database: {_HOW}")
    return Address(
        host=host,
        port=6379 if port is None else port,
        db=int(db or 0),
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=_tls_settings(parts.query, parts.scheme == "rediss"),
    )


def _tls_settings(query: str, tls: bool) -> dict[str, str] | None:
    settings = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(settings.keys() - set(_TLS_SETTINGS)) if tls else sorted(settings)
    if unknown:
        known = f"rediss:// knows {', '.join(_TLS_SETTINGS)}" if tls else "redis:// has none, rediss:// has"
        raise ValueError(f"the address of Redis has the unknown setting {unknown[0]!r}: {known}")
    if settings.get("ssl_cert_reqs", "required") not in ("required", "none"):
        raise ValueError("the setting ssl_cert_reqs of the address of Redis is `required` (the default) or `none`")
    return settings if tls else None
