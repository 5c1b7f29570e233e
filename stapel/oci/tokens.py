"""Showing a registry who we are: challenges of 401 answers, and the tokens that answer them.

Where credentials may go: a password to the configured host (Basic), or to the realm that this host names, which must be
https; plain http only where we talk plain http to the registry too, and then on this machine or on the same host.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from stapel.oci.auth import Credentials
from stapel.oci.errors import Refused, Unreachable
from stapel.oci.reference import is_loopback, split_port
from stapel.oci.retries import Passing

CLIENT_ID = "conveyor"
_SHORTEST_LIFE_S = 60  # what the token protocol lets a token live where it does not say

Scopes = Mapping[str, frozenset[str]]  # `repository:NAME` -> actions


class Challenge(Struct, frozen=True):
    """One challenge of a WWW-Authenticate header; the scheme and the parameters' names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """All challenges of the given WWW-Authenticate headers, in order. What makes no sense is left out."""
    found: list[Challenge] = []
    for header in headers:
        scheme, parameters = "", dict[str, str]()
        for word, value in _words(header):
            if value is None:
                if scheme:
                    found.append(Challenge(scheme, parameters))
                scheme, parameters = word.lower(), {}
            elif scheme:
                parameters.setdefault(word.lower(), value)
        if scheme:
            found.append(Challenge(scheme, parameters))
    return found


def _words(header: str) -> Iterable[tuple[str, str | None]]:
    """`Bearer realm="a, b",x=1` -> (Bearer, None), (realm, `a, b`), (x, 1)."""
    at, end = 0, len(header)
    while at < end:
        if header[at] in ", \t":
            at += 1
            continue
        start = at
        while at < end and header[at] not in ",= \t":
            at += 1
        word = header[start:at]
        after = at
        while after < end and header[after] in " \t":
            after += 1
        if after >= end or header[after] != "=":
            yield word, None
            continue
        at = after + 1
        while at < end and header[at] in " \t":
            at += 1
        if at < end and header[at] == '"':
            value, at = _quoted(header, at + 1)
        else:
            start = at
            while at < end and header[at] not in ", \t":
                at += 1
            value = header[start:at]
        if word:
            yield word, value


def _quoted(header: str, at: int) -> tuple[str, int]:
    value: list[str] = []
    while at < len(header) and header[at] != '"':
        if header[at] == "\\" and at + 1 < len(header):
            at += 1
        value.append(header[at])
        at += 1
    return "".join(value), at + 1


def parse_scopes(texts: Iterable[str]) -> Scopes:
    """`repository:a/b:pull,push` (several in one text, split by spaces) -> {`repository:a/b`: {pull, push}}."""
    scopes: dict[str, frozenset[str]] = {}
    for text in texts:
        for scope in text.split():
            resource, _, actions = scope.rpartition(":")
            if resource:
                scopes[resource] = scopes.get(resource, frozenset()) | frozenset(actions.split(","))
    return scopes


def format_scopes(scopes: Scopes) -> list[str]:
    """The reverse, in one order."""
    return [f"{resource}:{','.join(sorted(scopes[resource]))}" for resource in sorted(scopes)]


def realm_is_permitted(realm: str, host: str, scheme: str) -> bool:
    """Whether credentials for `host` (host[:port], reached by `scheme`) may be given to `realm`, a URL."""
    from urllib.parse import urlsplit

    try:
        url = urlsplit(realm)
        name = url.hostname
        _ = url.port
    except ValueError:
        return False
    if not name or url.username is not None or url.password is not None:
        return False
    if url.scheme == "https":
        return True
    if url.scheme != "http" or scheme != "http":
        return False
    return name == split_port(host)[0].lower() or (is_loopback(url.netloc) and is_loopback(host))


class TokenRequest(Struct, frozen=True):
    """What a token server is asked: GET, or POST where `form` is given."""

    url: str
    headers: Mapping[str, str]
    form: bytes | None


class TokenAnswer(Struct, frozen=True):
    """Its answer."""

    status: int
    body: bytes


class _Token(Struct, frozen=True):
    value: str
    scopes: Scopes
    fetched_s: float  # by time.monotonic
    expires_s: float

    def covers(self, wanted: Scopes) -> bool:
        return all(actions <= self.scopes.get(resource, frozenset()) for resource, actions in wanted.items())


class Authorisation:
    """The Authorization header for requests to one registry host. Thread-safe.

    Nothing is sent before the registry has asked for it. `credentials` is called when a token is fetched and when the
    registry refuses what it took before, so that credentials which a helper renews are found; `fetch` sends one request
    to a token server and follows no redirect; `scheme` tells how the registry is reached.
    """

    def __init__(
        self,
        host: str,
        credentials: Callable[[], Credentials | None],
        fetch: Callable[[TokenRequest], TokenAnswer],
        scheme: Callable[[], str],
    ) -> None:
        self._host = host
        self._load = credentials
        self._fetch = fetch
        self._scheme = scheme
        self._lock = threading.Lock()
        self._challenge: Challenge | None = None
        self._loaded = False
        self._credentials: Credentials | None = None
        self._tokens: list[_Token] = []
        self._more: dict[str, frozenset[str]] = {}  # actions that the registry asked for beside ours

    @property
    def known(self) -> bool:
        """Whether there are credentials for this host, as far as it was looked."""
        return self._credentials is not None

    def header(self, scopes: Scopes) -> str | None:
        """The value for a request that needs `scopes`; None: the registry has not asked, or there is nothing to say."""
        with self._lock:
            if self._challenge is None:
                return None
            if self._challenge.scheme == "basic":
                return self._basic(self._current())
            return self._bearer(scopes)

    def learn(self, challenges: Sequence[Challenge], scopes: Scopes, sent: str | None, sent_s: float) -> bool:
        """Take in a 401 to a request that carried `sent` at `sent_s` (monotonic). Whether another try can end otherwise."""
        with self._lock:
            challenge = next((one for one in challenges if one.scheme == "bearer" and one.parameters.get("realm")), None)
            challenge = challenge or next((one for one in challenges if one.scheme == "basic"), None)
            if challenge is None:
                return False
            self._challenge = challenge
            if challenge.scheme == "basic":
                if sent is not None:
                    self._loaded = False  # a helper may have renewed them
                return self._basic(self._current()) not in (None, sent)
            # What is of the same age may have been taken back with it; what another thread has fetched since stays.
            self._tokens = [token for token in self._tokens if token.fetched_s > sent_s or not token.covers(scopes)]
            for resource, actions in parse_scopes([challenge.parameters.get("scope", "")]).items():
                if resource in scopes:
                    self._more[resource] = self._more.get(resource, frozenset()) | actions
            return self._bearer(scopes) not in (None, sent)

    def _current(self) -> Credentials | None:
        if not self._loaded:
            self._credentials = self._load()
            self._loaded = True
        return self._credentials

    def _basic(self, credentials: Credentials | None) -> str | None:
        if credentials is None or not (credentials.username or credentials.password):
            return None
        import base64

        return "Basic " + base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()

    def _bearer(self, scopes: Scopes) -> str:
        wanted = {resource: actions | self._more.get(resource, frozenset()) for resource, actions in scopes.items()}
        now = time.monotonic()
        self._tokens = [token for token in self._tokens if token.expires_s > now]
        token = next((token for token in self._tokens if token.covers(wanted)), None)
        if token is None:
            token = self._new_token(wanted, now)
            self._tokens.append(token)
        return f"Bearer {token.value}"

    def _new_token(self, scopes: Scopes, now: float) -> _Token:
        assert self._challenge is not None
        realm = self._challenge.parameters["realm"]
        self._loaded = False
        credentials = self._current()
        if credentials is not None and credentials.registry_token:
            return _Token(credentials.registry_token, scopes, now, now + _SHORTEST_LIFE_S)
        if not realm_is_permitted(realm, self._host, self._scheme()):
            raise Unreachable(
                f"the registry {self._host} names {realm} as its token server, which is not https: no credentials go there",
                hint="the registry has to name a realm with https (plain http: only on this machine)",
            )
        answer = self._fetch(token_request(realm, self._challenge.parameters.get("service", ""), scopes, credentials))
        if answer.status != 200:
            raise Refused(
                f"the token server {realm} of {self._host} refuses us: status {answer.status}", hint=login_hint(self._host)
            )
        return _read_token(answer.body, scopes, now, realm)


def login_hint(host: str) -> str:
    """What to try where a registry does not let us in."""
    return f"docker login {host} (and check that this user may read and write the repository)"


def token_request(realm: str, service: str, scopes: Scopes, credentials: Credentials | None) -> TokenRequest:
    """The request for a token: OAuth2's POST with an identity token, else the GET of the token protocol."""
    import base64
    from urllib.parse import urlencode

    texts = format_scopes(scopes)
    if credentials is not None and credentials.identity_token:
        form = {
            "grant_type": "refresh_token",
            "service": service,
            "client_id": CLIENT_ID,
            "scope": " ".join(texts),
            "refresh_token": credentials.identity_token,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return TokenRequest(realm, headers, urlencode(form).encode())
    query = [("service", service)] if service else []
    query += [("scope", text) for text in texts]
    headers = {}
    if credentials is not None and (credentials.username or credentials.password):
        query.append(("account", credentials.username))
        pair = f"{credentials.username}:{credentials.password}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
    return TokenRequest(realm + ("&" if "?" in realm else "?") + urlencode(query), headers, None)


def _read_token(body: bytes, scopes: Scopes, now: float, realm: str) -> _Token:
    import json

    try:
        document = json.loads(body)
        value = document.get("token") or document.get("access_token")
        life_s = float(document.get("expires_in") or _SHORTEST_LIFE_S)
    except (ValueError, AttributeError, TypeError):
        value, life_s = None, 0.0
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        raise Passing(f"the token server {realm} answered without a token", at_most=3)
    # Let go of early: a token that ends on its way costs a round trip, or a whole upload.
    return _Token(value, scopes, time.monotonic(), now + life_s * 0.8)
