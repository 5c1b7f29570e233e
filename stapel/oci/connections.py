"""Connections: pools, TLS, proxies, and what an exception of a connection means."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from stapel.oci.errors import StapelError, Unreachable
from stapel.oci.reference import is_loopback
from stapel.oci.retries import Passing

if TYPE_CHECKING:
    import ssl

    from urllib3 import BaseHTTPResponse, PoolManager

CONNECT_TIMEOUT_S = 10.0
MOST_BODY_BYTES = 256 << 20
BLOCK_BYTES = 1 << 18
AGAIN_HINT = "look at the registry, and at what is between it and here; then run it again: what is stored is found"


class Connections:
    """Connections to `host` (host[:port]) and to where it leads. Thread-safe.

    `skip_tls_verify` is for this host name alone: what it redirects to is verified.
    """

    def __init__(self, host: str, *, skip_tls_verify: bool) -> None:
        self.host = host
        self._skip_tls_verify = skip_tls_verify
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, bool, str], PoolManager] = {}

    def open(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Any,  # noqa: ANN401 -- bytes or a reader
        read_s: float,
        *,
        probe: bool = False,
    ) -> BaseHTTPResponse:
        """One request; its answer, the body unread. `probe`: any certificate will do. Raises urllib3's errors."""
        from urllib3 import Timeout

        return self._pool(url, probe).request(
            method,
            url,
            headers={"User-Agent": _user_agent(), **headers},
            body=body,
            timeout=Timeout(connect=min(CONNECT_TIMEOUT_S, read_s), read=read_s),
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )

    def _pool(self, url: str, probe: bool) -> PoolManager:
        parts = urlsplit(url)
        name = parts.hostname or ""
        verify = not probe and not (self._skip_tls_verify and name == urlsplit(f"//{self.host}").hostname)
        proxy = "" if is_loopback(parts.netloc) else _proxy(parts.scheme, parts.netloc)
        # Plain http shares one pool; certificates are a matter of the host.
        key = (proxy, verify, parts.netloc if parts.scheme == "https" else "")
        with self._lock:
            if key not in self._pools:
                self._pools[key] = _new_pool(proxy, verify, key[2])
            return self._pools[key]


def connection_failure(doing: str, url: str, error: Exception) -> Exception:
    """What an exception of urllib3 means: `Passing`, or an `Unreachable` that no retry mends."""
    import ssl

    from urllib3.exceptions import NameResolutionError, NewConnectionError, ProxyError, SSLError, TimeoutError

    netloc = urlsplit(url).netloc
    cause = error
    if isinstance(error, ProxyError):
        cause = error.original_error
        netloc = f"{netloc} (by the proxy of the environment)"
    inner = cause.args[0] if isinstance(cause, SSLError) and cause.args else cause
    if _is_distrust(cause):
        return Unreachable(
            f"{doing}: the certificate of {netloc} is not trusted: {getattr(inner, 'verify_message', inner)}",
            hint="install its authority on this machine (or in /etc/docker/certs.d/HOST/ca.crt), "
            "or give --skip-tls-verify-registry",
        )
    if isinstance(inner, ssl.SSLError) and _speaks_no_tls(inner):
        return Unreachable(
            f"{doing}: {netloc} does not speak TLS: {inner.reason or inner}",
            hint="if this registry has plain http only, give --insecure-registry",
        )
    if isinstance(cause, NameResolutionError):
        return Passing(
            f"there is no host {netloc}", at_most=3, hint="check the name of the registry, and this machine's DNS"
        )
    if isinstance(cause, NewConnectionError):
        reason = str(cause.__cause__ or cause).rpartition("] ")[2]
        return Passing(f"{netloc} cannot be connected to: {reason}", at_most=4, hint="is the registry running?")
    if isinstance(cause, (TimeoutError, OSError)) and "timed out" in str(cause):
        return Passing(f"{netloc} does not answer: {_plain(cause)}", at_most=3, hint=AGAIN_HINT)
    return Passing(f"the connection to {netloc} broke: {_plain(cause)}", hint=AGAIN_HINT)


def read_body(raw: BaseHTTPResponse) -> bytes:
    """A document, whole; urllib3's errors where it breaks off, `Unreachable` where it is beyond all measure."""
    data = bytearray()
    # Only the read that finds nothing tells a whole body from one that broke off.
    while piece := raw.read(BLOCK_BYTES, decode_content=False):
        data += piece
        if len(data) > MOST_BODY_BYTES:
            raw.close()
            raise Unreachable(
                f"a registry answers with more than {MOST_BODY_BYTES >> 20} MiB where a document was asked for"
            )
    raw.release_conn()
    return bytes(data)


def _plain(error: BaseException) -> str:
    """The innermost text of urllib3's nested errors."""
    if (
        isinstance(error.args[0] if error.args else None, str)
        and len(error.args) > 1
        and isinstance(error.args[1], Exception)
    ):
        return f"{error.args[0]} {error.args[1]}".rstrip(".")
    text = str(error)
    return text.partition("): ")[2] or text or type(error).__name__


def _is_distrust(error: Exception) -> bool:
    import ssl

    return any(isinstance(one, ssl.SSLCertVerificationError) for one in (error, *error.args))


def _speaks_no_tls(error: Any) -> bool:  # noqa: ANN401 -- ssl.SSLError, imported late
    return (error.reason or "") in {
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "RECORD_LAYER_FAILURE",
        "PACKET_LENGTH_TOO_LONG",
        "UNKNOWN_PROTOCOL",
        "UNSUPPORTED_PROTOCOL",
    }


def _proxy(scheme: str, netloc: str) -> str:
    from urllib import request

    proxies: dict[str, str] = request.getproxies_environment()
    proxy = proxies.get(scheme) or proxies.get("all") or ""
    bypassed = request.proxy_bypass_environment(netloc, proxies)  # type: ignore[attr-defined]  # typeshed lacks it
    if not proxy or bypassed or proxy.startswith("socks"):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _new_pool(proxy: str, verify: bool, netloc: str) -> PoolManager:
    from urllib3 import PoolManager, ProxyManager

    from stapel.oci.wire import PlainPool, TlsPool

    # 16 threads look and 4 save; a pool that is too small throws connections away.
    options: dict[str, Any] = {"num_pools": 8, "maxsize": 24, "blocksize": BLOCK_BYTES}
    if netloc:
        options["ssl_context"] = _tls(verify, netloc)
    manager = ProxyManager(proxy, **options) if proxy else PoolManager(**options)
    manager.pool_classes_by_scheme = {"http": PlainPool, "https": TlsPool}
    return manager


def _tls(verify: bool, netloc: str) -> ssl.SSLContext:
    import ssl

    if verify:
        context = ssl.create_default_context()
    else:
        from urllib3 import disable_warnings
        from urllib3.exceptions import InsecureRequestWarning

        # It was asked for: a warning on every request would be noise between a build's lines.
        disable_warnings(InsecureRequestWarning)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    _load_docker_certificates(context, netloc)
    return context


def _load_docker_certificates(context: ssl.SSLContext, netloc: str) -> None:
    """What Docker trusts for this host: /etc/docker/certs.d/HOST/*.crt, and *.cert with *.key as our own."""
    from pathlib import Path

    directory = Path("/etc/docker/certs.d") / netloc
    if netloc in ("", ".", "..") or not directory.is_dir():
        return
    for path in sorted(directory.iterdir()):
        try:
            if path.suffix == ".crt":
                context.load_verify_locations(path)
            elif path.suffix == ".cert" and path.with_suffix(".key").exists():
                context.load_cert_chain(path, path.with_suffix(".key"))
        except OSError as error:  # ssl.SSLError is one
            raise StapelError(f"{path} cannot be used: {error}") from error


_agent: list[str] = []


def _user_agent() -> str:
    if not _agent:
        from importlib.metadata import PackageNotFoundError, version

        try:
            _agent.append(f"conveyor/{version('conveyor-build')}")
        except PackageNotFoundError:
            _agent.append("conveyor")
    return _agent[0]
