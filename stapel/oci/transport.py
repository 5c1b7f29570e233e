"""HTTP to one registry host: TLS, credentials, redirects, retries. Thread-safe.

The rules that make it safe stand here and in `stapel.oci.tokens`:

- an Authorization header goes to the configured host (scheme, name and port) and never along a redirect to another;
- TLS is verified; plain http is spoken only to this machine, or where `insecure` permits it, and then only if nothing
  there speaks TLS;
- a redirect or an upload address never leads from TLS to plain http.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import urljoin, urlsplit

from msgspec import Struct, field

from stapel.oci.auth import Credentials, credentials_for
from stapel.oci.connections import AGAIN_HINT, Connections, connection_failure, read_body
from stapel.oci.errors import Refused, StapelError, Unreachable
from stapel.oci.reference import DOCKER_HUB, DOCKER_HUB_API, is_loopback
from stapel.oci.retries import Passing, Retries, http_date_s, retry_after_s, with_retries
from stapel.oci.tokens import (
    Authorisation,
    TokenAnswer,
    TokenRequest,
    format_scopes,
    login_hint,
    parse_challenges,
    parse_scopes,
)

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

T = TypeVar("T")

READ_TIMEOUT_S = 60.0
SLOW_TIMEOUT_S = 300.0  # for answers that a registry gives after it has moved a whole blob
PROBE_TIMEOUT_S = 3.0
MOST_REDIRECTS = 6

_PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LIMITED_HINT = "the registry limits how much is asked of it: log in where that raises the limit, or run it again later"
_NOT_SKEWED_MS = 1500  # the Date header has whole seconds: less than this is noise


class Call(Struct, frozen=True):
    """One request. `target` is a path on the registry's host, or a URL that it gave us."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    source: Callable[[], BinaryIO] | None = None  # a body of `length` bytes, opened anew for every try
    length: int = 0  # -1: not known, sent in chunks
    scopes: tuple[str, ...] = ()
    stream: bool = False  # the body of a 200 or 206 is left to be read from `Response.raw`
    slow: bool = False
    expected: frozenset[int] = frozenset()  # statuses handed to the caller that otherwise are errors here


class Response(Struct, frozen=True):
    """An answer that is neither a redirect nor a failure of transport or permission."""

    status: int
    headers: Mapping[str, str]  # names in any case
    url: str
    body: bytes = b""
    raw: BaseHTTPResponse | None = None

    def errors(self) -> list[tuple[str, str]]:
        """(code, message) of the registry's own error document; [] where the body is none."""
        import json

        try:
            listed = json.loads(self.body)["errors"]
            return [(str(one.get("code", "")), str(one.get("message") or "")) for one in listed]
        except (ValueError, KeyError, TypeError, AttributeError):
            return []

    def says(self, *codes: str) -> bool:
        """Whether the registry gives one of these error codes."""
        return any(code in codes for code, _ in self.errors())

    def complaint(self) -> str:
        """Status and what the registry says about it, in one printable line."""
        said = "; ".join(f"{code}: {message}" if message else code for code, message in self.errors())
        if not said:
            said = self.body[:200].decode("utf-8", "replace").strip()
        said = "".join(letter if letter.isprintable() else " " for letter in said)[:300]
        return f"status {self.status}" + (f" ({said})" if said else "")


class Transport:
    """Requests to `host` (host[:port]). `on_retry` is told of every wait and of credentials that could not be had."""

    def __init__(
        self,
        host: str,
        *,
        docker_config: str | None = None,
        insecure: bool = False,
        skip_tls_verify: bool = False,
        on_retry: Callable[[str], None] | None = None,
        retries: Retries | None = None,
    ) -> None:
        self.host = host
        self.retries = retries or Retries()
        self.on_retry = on_retry
        self.skew_ms = 0
        self._docker_config = docker_config
        self._may_be_plain = insecure or is_loopback(host)
        self._insecure = insecure
        self._connections = Connections(host, skip_tls_verify=skip_tls_verify)
        self._scheme = "" if self._may_be_plain else "https"
        self._probe_lock = threading.Lock()
        self._notes: list[str] = []
        self._authorisation = Authorisation(host, self._credentials, self._fetch_token, lambda: self._scheme)

    def request(self, doing: str, call: Call) -> Response:
        """Send until an answer comes. `doing` begins the message of an error.

        `Unreachable`: no answer after the retries, 401, 403, or a TLS failure. Every other status is the caller's.
        """
        return self.retrying(doing, lambda: self.attempt(doing, call))

    def retrying(self, doing: str, once: Callable[[], T]) -> T:
        """`once`, made of attempts, with this transport's retries."""
        return with_retries(doing, once, self.retries, self.on_retry)

    def own_target(self, link: str, base: str) -> str | None:
        """`link` (found in an answer from `base`) as a path on our host; None where it leads to another host.

        Registries behind a proxy that ends TLS name themselves with http: the name counts, the scheme stays ours.
        """
        url = urlsplit(urljoin(base, link))
        if _place(url.scheme, url.netloc) != _place(url.scheme, self.host):
            return None
        return url.path + (f"?{url.query}" if url.query else "")

    def attempt(self, doing: str, call: Call) -> Response:
        """One try, redirects and a renewal of credentials included. `Passing` where another may help; see `request`."""
        self._settle_scheme(doing)
        url = self._url(call.target)
        method, scopes, renewed = call.method, parse_scopes(call.scopes), False
        for _ in range(MOST_REDIRECTS):
            own = self._is_own(url)
            headers = dict(call.headers)
            with _while(doing):
                authorisation = self._authorisation.header(scopes) if own else None
            if authorisation is not None:
                headers["Authorization"] = authorisation
            sent_s = time.monotonic()
            response = self._send(doing, call, method, url, headers)
            if response.status in _REDIRECTS and "location" in response.headers:
                if response.status == 303:
                    method = "GET"
                url = self._redirected(doing, url, response.headers["location"])
                continue
            if response.status == 401 and own and not renewed:
                renewed = True
                challenges = parse_challenges(_all(response.headers, "www-authenticate"))
                with _while(doing):
                    learned = self._authorisation.learn(challenges, scopes, authorisation, sent_s)
                if learned:
                    continue
            return self._judge(doing, call, response, own)
        raise Unreachable(f"{doing}: {self.host} redirects more than {MOST_REDIRECTS} times")

    def _judge(self, doing: str, call: Call, response: Response, own: bool) -> Response:
        if response.status in call.expected:
            return response
        if response.status in _PASSING_STATUSES:
            asked_s = retry_after_s(response.headers.get("retry-after"), time.time())
            hint = _LIMITED_HINT if response.status == 429 else AGAIN_HINT
            raise Passing(f"{self._who(response, own)} answers {response.complaint()}", asked_s=asked_s, hint=hint)
        if response.status == 401 and own:
            who = "refuses our credentials" if self._authorisation.known else "wants a login"
            raise Refused(f"{doing}: {self.host} {who}: {response.complaint()}", hint=self._login_hint())
        if response.status in (401, 403):
            raise Refused(f"{doing}: {self._who(response, own)} refuses it: {response.complaint()}", hint=self._login_hint())
        return response

    def _login_hint(self) -> str:
        # Docker Hub is logged in to by its one name.
        host = DOCKER_HUB if self.host == DOCKER_HUB_API else self.host
        return "; ".join([login_hint(host), *self._notes])

    def _who(self, response: Response, own: bool) -> str:
        return self.host if own else f"{urlsplit(response.url).netloc}, to which {self.host} redirects,"

    def _send(self, doing: str, call: Call, method: str, url: str, headers: dict[str, str]) -> Response:
        """One request on the wire; redirects and refusals are given back as they are."""
        from urllib3.exceptions import HTTPError

        body: Any = call.body if method == call.method else None
        source: _Source | None = None
        if call.source is not None and method == call.method:
            source = body = _Source(call.source(), call.length)
        if body is not None and (source is None or call.length >= 0):
            headers["Content-Length"] = str(call.length if source is not None else len(body))
        # A blob in another coding would not have its digest.
        headers.setdefault("Accept-Encoding", "identity")
        began_s = time.time()
        try:
            raw = self._connections.open(method, url, headers, body, SLOW_TIMEOUT_S if call.slow else READ_TIMEOUT_S)
            if self._is_own(url):
                self._note_date(raw.headers.get("date"), raw.headers.get("age"), began_s)
            if call.stream and raw.status in (200, 206):
                return Response(raw.status, raw.headers, url, raw=raw)
            return Response(raw.status, raw.headers, url, read_body(raw))
        except (HTTPError, OSError) as error:
            if source is not None and source.error is not None:
                raise source.error from None
            raise connection_failure(doing, url, error) from error
        finally:
            if source is not None:
                source.close()

    def _redirected(self, doing: str, url: str, location: str) -> str:
        target = urlsplit(urljoin(url, location))
        if target.scheme not in ("http", "https") or not target.hostname:
            raise Unreachable(f"{doing}: {urlsplit(url).netloc} redirects to {location[:200]!r}, which is no web address")
        self._check_downgrade(doing, target.scheme, target.netloc)
        return target._replace(netloc=target.netloc.rpartition("@")[2], fragment="").geturl()

    def _check_downgrade(self, doing: str, scheme: str, netloc: str) -> None:
        if scheme == "http" and self._scheme == "https" and not self._insecure:
            raise Unreachable(
                f"{doing}: {self.host} leads from TLS to plain http ({netloc})",
                hint="mend the registry's external address, or give --insecure-registry",
            )

    def _url(self, target: str) -> str:
        if target.startswith("/"):
            return f"{self._scheme}://{self.host}{target}"
        own = self.own_target(target, target)
        if own is not None:
            return f"{self._scheme}://{self.host}{own}"
        self._check_downgrade("following an address", urlsplit(target).scheme, urlsplit(target).netloc)
        return target

    def _is_own(self, url: str) -> bool:
        parts = urlsplit(url)
        return _place(parts.scheme, parts.netloc) == _place(self._scheme, self.host)

    def _settle_scheme(self, doing: str) -> None:
        """Find out whether a host that may speak plain http does: TLS first. Nothing secret is sent."""
        if self._scheme:
            return
        with self._probe_lock:
            if self._scheme:
                return
            from urllib3.exceptions import HTTPError, NameResolutionError

            for scheme in ("https", "http"):
                url = f"{scheme}://{self.host}/v2/"
                try:
                    raw = self._connections.open("GET", url, {}, None, PROBE_TIMEOUT_S, probe=True)
                    body = read_body(raw)
                except (HTTPError, OSError) as error:
                    if scheme == "https" and not isinstance(error, NameResolutionError):
                        continue
                    raise connection_failure(doing, url, error) from error
                if scheme == "http" and raw.status == 400 and b"HTTPS" in body:
                    raise Passing(f"{self.host} speaks TLS, and broke it off")
                self._scheme = scheme
                return

    def _credentials(self) -> Credentials | None:
        def warn(note: str) -> None:
            if note not in self._notes:
                self._notes.append(note)
                if self.on_retry is not None:
                    self.on_retry(note)

        return credentials_for(self.host, self._docker_config, warn=warn)

    def _fetch_token(self, request: TokenRequest) -> TokenAnswer:
        from urllib3.exceptions import HTTPError

        doing = f"asking the token server of {self.host}"
        try:
            raw = self._connections.open(
                "GET" if request.form is None else "POST", request.url, request.headers, request.form, READ_TIMEOUT_S
            )
            body = read_body(raw)
        except (HTTPError, OSError) as error:
            raise connection_failure(doing, request.url, error) from error
        if raw.status in _PASSING_STATUSES:
            asked_s = retry_after_s(raw.headers.get("retry-after"), time.time())
            netloc = urlsplit(request.url).netloc
            raise Passing(f"the token server {netloc} answers status {raw.status}", asked_s=asked_s, hint=AGAIN_HINT)
        return TokenAnswer(raw.status, body)

    def _note_date(self, date: str | None, age: str | None, began_s: float) -> None:
        """Keep how far the registry's clock is before ours."""
        if date is None or age not in (None, "0"):
            return
        date_s = http_date_s(date)
        if date_s is None:
            return
        ours_s = (began_s + time.time()) / 2
        skew_ms = round((date_s + 0.5 - ours_s) * 1000)
        self.skew_ms = skew_ms if abs(skew_ms) > _NOT_SKEWED_MS else 0


def scopes_for(repository: str, actions: str, *, also: str = "") -> tuple[str, ...]:
    """Token scopes: `actions` (`pull`, `pull,push`) on a repository, and pull on another one to mount from."""
    scopes = [f"repository:{repository}:{actions}"] + ([f"repository:{also}:pull"] if also else [])
    return tuple(format_scopes(parse_scopes(scopes)))


@contextmanager
def _while(doing: str) -> Iterator[None]:
    """What a token server refuses is told with what it was wanted for."""
    try:
        yield
    except Unreachable as error:
        raise type(error)(f"{doing}: {error}", hint=error.hint, temporary=error.temporary) from error


class _Source:
    """A request's body, read once. Its own failures are kept apart from those of the connection."""

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self._stream = stream
        self._left = length
        self.error: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            if self._left < 0:
                return self._stream.read(size)
            data = self._stream.read(self._left if size < 0 else min(size, self._left))
            if not data and self._left:
                raise StapelError(f"a blob that is being uploaded ends {self._left} bytes too early")
        except Exception as error:
            self.error = error
            raise
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._stream.close()


def _place(scheme: str, netloc: str) -> tuple[str, str, int]:
    parts = urlsplit(f"//{netloc}")
    try:
        port = parts.port
    except ValueError:
        port = -1
    return scheme, parts.hostname or "", port or (443 if scheme == "https" else 80)


def _all(headers: Mapping[str, str], name: str) -> list[str]:
    getlist = getattr(headers, "getlist", None)
    return list(getlist(name)) if getlist is not None else [headers[name]] if name in headers else []
