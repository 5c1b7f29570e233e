import json
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from stapel.oci.auth import Credentials
from stapel.oci.errors import Unreachable
from stapel.oci.retries import Passing
from stapel.oci.tokens import (
    Authorisation,
    Challenge,
    TokenAnswer,
    parse_challenges,
    parse_scopes,
    realm_is_permitted,
    token_request,
)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (['Basic realm="a b"'], [Challenge("basic", {"realm": "a b"})]),
        (
            ['Bearer realm="https://auth/t?x=1,2",service="s, \\"q\\"",scope="repository:a/b:pull,push"'],
            [
                Challenge(
                    "bearer",
                    {"realm": "https://auth/t?x=1,2", "service": 's, "q"', "scope": "repository:a/b:pull,push"},
                )
            ],
        ),
        (['BEARER Realm = "x" , SERVICE=y'], [Challenge("bearer", {"realm": "x", "service": "y"})]),
        (
            ['Negotiate, Basic realm="r", Bearer realm="b"'],
            [Challenge("negotiate", {}), Challenge("basic", {"realm": "r"}), Challenge("bearer", {"realm": "b"})],
        ),
        (['Basic realm="r"', 'Bearer realm="b"'], [Challenge("basic", {"realm": "r"}), Challenge("bearer", {"realm": "b"})]),
        (['Bearer realm="never closed'], [Challenge("bearer", {"realm": "never closed"})]),
        ([""], []),
        (["=,=,"], []),
    ],
)
def test_challenges(headers, expected):
    assert parse_challenges(headers) == expected


@pytest.mark.parametrize(
    ("realm", "host", "scheme", "expected"),
    [
        ("https://auth.example.com/token", "reg.example.com", "https", True),
        ("http://auth.example.com/token", "reg.example.com", "https", False),
        ("http://reg.example.com/token", "reg.example.com", "https", False),
        ("http://reg.example.com/token", "reg.example.com", "http", True),
        ("http://reg.example.com:8080/token", "reg.example.com:5000", "http", True),
        ("http://auth.example.com/token", "reg.example.com", "http", False),
        ("http://127.0.0.1:1/token", "localhost:5000", "http", True),
        ("http://127.0.0.1:1/token", "reg.example.com", "http", False),
        ("http://evil.com/token", "localhost:5000", "http", False),
        ("https://evil@auth.example.com/", "reg.example.com", "https", False),
        ("ftp://auth.example.com/", "reg.example.com", "https", False),
        ("token", "reg.example.com", "https", False),
        ("https://[bad/", "reg.example.com", "https", False),
    ],
)
def test_realms_that_may_have_credentials(realm, host, scheme, expected):
    assert realm_is_permitted(realm, host, scheme) is expected


def test_scopes():
    assert parse_scopes(["repository:reg:5000/a:pull,push repository:b:pull", "repository:b:push"]) == {
        "repository:reg:5000/a": {"pull", "push"},
        "repository:b": {"pull", "push"},
    }


def test_a_request_by_password():
    request = token_request("https://auth/t?a=b", "svc", parse_scopes(["repository:a:pull"]), Credentials("joe", "x"))
    query = parse_qs(urlsplit(request.url).query)
    assert query == {"a": ["b"], "service": ["svc"], "scope": ["repository:a:pull"], "account": ["joe"]}
    assert request.headers["Authorization"].startswith("Basic ")
    assert request.form is None


def test_a_request_by_identity_token():
    request = token_request("https://auth/t", "svc", parse_scopes(["repository:a:pull"]), Credentials(identity_token="r"))
    assert parse_qs(request.form.decode())["refresh_token"] == ["r"]
    assert "Authorization" not in request.headers


class TokenServer:
    """Gives numbered tokens, and remembers what was asked."""

    def __init__(self, life_s=300, status=200):
        self.asked = []
        self.life_s = life_s
        self.status = status

    def __call__(self, request):
        self.asked.append(parse_qs(urlsplit(request.url).query).get("scope", []))
        body = {"token": f"t{len(self.asked)}", "expires_in": self.life_s}
        return TokenAnswer(self.status, json.dumps(body).encode())


def bearer(scope=""):
    return parse_challenges([f'Bearer realm="https://auth/t",service="s",scope="{scope}"'])


PULL = parse_scopes(["repository:a:pull"])
PUSH = parse_scopes(["repository:a:pull,push"])


def test_nothing_is_sent_before_the_registry_asks():
    server = TokenServer()
    authorisation = Authorisation("reg", lambda: Credentials("u", "p"), server, lambda: "https")
    assert authorisation.header(PULL) is None
    assert authorisation.learn(bearer(), PULL, None, time.monotonic())
    assert authorisation.header(PULL) == "Bearer t1"
    assert authorisation.header(PULL) == "Bearer t1"
    assert authorisation.header(PUSH) == "Bearer t2"
    assert authorisation.header(PULL) in ("Bearer t1", "Bearer t2")
    assert server.asked == [["repository:a:pull"], ["repository:a:pull,push"]]


def test_a_refused_token_is_renewed_with_what_the_registry_wants_for_our_repository_only():
    server = TokenServer()
    authorisation = Authorisation("reg", lambda: None, server, lambda: "https")
    authorisation.learn(bearer(), PULL, None, time.monotonic())
    assert authorisation.learn(bearer("repository:a:delete repository:other:push"), PULL, "Bearer t1", time.monotonic())
    assert server.asked[-1] == ["repository:a:delete,pull"]
    assert authorisation.header(PULL) == "Bearer t2"


def test_tokens_that_are_over_are_not_used():
    server = TokenServer(life_s=-1)
    authorisation = Authorisation("reg", lambda: None, server, lambda: "https")
    authorisation.learn(bearer(), PULL, None, time.monotonic())
    assert authorisation.header(PULL) == "Bearer t2"


def test_basic_is_tried_once_and_again_when_a_helper_has_renewed_it():
    stored = [Credentials("u", "old")]
    authorisation = Authorisation("reg", lambda: stored[0], TokenServer(), lambda: "https")
    challenge = parse_challenges(['Basic realm="r"'])
    assert authorisation.learn(challenge, PULL, None, time.monotonic())
    sent = authorisation.header(PULL)
    assert not authorisation.learn(challenge, PULL, sent, time.monotonic())
    stored[0] = Credentials("u", "new")
    assert authorisation.learn(challenge, PULL, sent, time.monotonic())
    assert authorisation.header(PULL) != sent


def test_no_credentials_no_basic():
    authorisation = Authorisation("reg", lambda: None, TokenServer(), lambda: "https")
    assert not authorisation.learn(parse_challenges(['Basic realm="r"']), PULL, None, time.monotonic())


def test_a_plain_realm_gets_nothing():
    server = TokenServer()
    authorisation = Authorisation("reg", lambda: Credentials("u", "p"), server, lambda: "https")
    with pytest.raises(Unreachable, match="not https"):
        authorisation.learn(parse_challenges(['Bearer realm="http://reg/t"']), PULL, None, time.monotonic())
    assert server.asked == []


def test_a_token_server_that_refuses_is_told_with_what_to_do():
    authorisation = Authorisation("reg", lambda: None, TokenServer(status=401), lambda: "https")
    with pytest.raises(Unreachable) as caught:
        authorisation.learn(bearer(), PULL, None, time.monotonic())
    assert "docker login reg" in caught.value.hint


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"token":""}', b'{"token":"a\\nb"}', b'{"token":1}'])
def test_answers_without_a_token(body):
    authorisation = Authorisation("reg", lambda: None, lambda _: TokenAnswer(200, body), lambda: "https")
    with pytest.raises(Passing, match="without a token"):
        authorisation.learn(bearer(), PULL, None, time.monotonic())
