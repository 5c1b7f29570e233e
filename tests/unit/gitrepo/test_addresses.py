from __future__ import annotations

import pytest

from conveyor.gitrepo.addresses import Credentials, hide_secrets, parse_address, resolve_relative


@pytest.mark.parametrize(
    ("text", "url", "name"),
    [
        ("https://Example.org/a/b.git", "https://Example.org/a/b.git", "example.org/a/b"),
        ("https://example.org:443/a//b/", "https://example.org:443/a//b/", "example.org/a/b"),
        ("https://example.org:8443/a/b", "https://example.org:8443/a/b", "example.org:8443/a/b"),
        ("https://t0ken@example.org/a/b", "https://example.org/a/b", "example.org/a/b"),
        ("https://u:p%40ss@example.org/a/b", "https://example.org/a/b", "example.org/a/b"),
        ("ssh://git:secret@example.org:22/a/b.git", "ssh://git@example.org:22/a/b.git", "example.org/a/b"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git", "example.org/a/b"),
        ("example.org:/a/b", "example.org:/a/b", "example.org/a/b"),
        ("git://[::1]:9418/a", "git://[::1]:9418/a", "[::1]/a"),
        ("git://[::1]/a", "git://[::1]/a", "[::1]/a"),
        ("file:///srv/git/a.git", "file:///srv/git/a.git", "/srv/git/a"),
        ("/srv/git/a.git/", "/srv/git/a.git/", "/srv/git/a"),
        ("../a", "../a", "../a"),
        ("./with:colon", "./with:colon", "with:colon"),
    ],
)
def test_what_is_asked_and_what_it_is_called(text, url, name):
    address = parse_address(text)
    assert (address.url, address.name) == (url, name)


def test_credentials_are_taken_off_and_never_shown():
    address = parse_address("https://u:p%40ss@example.org/a")
    assert address.credentials == Credentials("u", "p@ss")
    assert "p@ss" not in repr(address)
    assert parse_address("https://t0ken@example.org/a").credentials == Credentials("t0ken", "")
    assert parse_address("git@example.org:a").credentials is None


@pytest.mark.parametrize("text", ["", " ", "-u", "https://", "https:///a", "ext::sh -c true", "s3://a/b", "https://a/\nb"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match=r"\w"):
        parse_address(text)


@pytest.mark.parametrize(
    ("base", "relative", "expected"),
    [
        ("https://example.org/a/b.git", "../c.git", "https://example.org/a/c.git"),
        ("https://example.org/a/b", "../../x/c", "https://example.org/x/c"),
        ("https://example.org/a/b", "./c", "https://example.org/a/b/c"),
        ("git@example.org:a/b.git", "../c.git", "git@example.org:a/c.git"),
        ("git@example.org:b.git", "../c.git", "git@example.org:c.git"),
        ("/srv/git/a", "../b", "/srv/git/b"),
        ("/srv/git/a", "https://example.org/b", "https://example.org/b"),
    ],
)
def test_a_relative_address_is_resolved_as_git_does(base, relative, expected):
    assert resolve_relative(parse_address(base), relative) == expected


def test_what_a_program_says_is_shown_without_secrets():
    said = "fatal: unable to access 'https://abc@example.org/a/': p%40ss p@ss"
    hidden = hide_secrets(said, Credentials("u", "p@ss"))
    assert hidden == "fatal: unable to access 'https://example.org/a/': *** ***"
