"""Addresses of repositories: what of them is a name, and what is a secret.

What a URL holds before `@` gives access (a password, or a token in place of the user) and is taken off it at once, so that
it is in nothing that is told, stored or seen by others. The user of an SSH address is a name and stays.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from msgspec import Struct

from conveyor.gitrepo.processes import run_git

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(.*)", re.DOTALL)
_SCP = re.compile(r"(?:([^/:@]+)@)?(\[[^]/]+\]|[^/:@]+):(?!:)(.*)", re.DOTALL)  # as git reads `user@host:path`
_PORTS = {"http": "80", "https": "443", "ssh": "22", "git": "9418"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a server is told of who asks. Never shown. With a `problem` there is nothing to tell it, and it is not asked."""

    username: str = field(repr=False)
    password: str = field(repr=False)
    problem: str = ""


class Address(Struct, frozen=True):
    """Where a repository is. `url` is what git is given, and what is shown; `name` is the same for all ways to write it."""

    url: str
    name: str  # HOST[:PORT]/PATH, or a path of this machine
    credentials: Credentials | None = None
    is_trusted: bool = True  # False: a repository names it, not a person

    @property
    def is_local(self) -> bool:
        """Whether it is a directory of this machine."""
        return _is_path(self.url) or self.url.lower().startswith("file://")

    @property
    def is_http(self) -> bool:
        """Whether a server may ask for a name and a password."""
        return self.url.lower().startswith(("http://", "https://"))


def parse_address(text: str) -> Address:
    """An address as a configuration has it. `ValueError` says what is wrong with it."""
    if not text.strip() or text.startswith("-") or any(ord(character) < 32 for character in text):
        raise ValueError("it is not the address of a repository")
    found = _URL.fullmatch(text)
    if found:
        scheme, place, path = found[1].lower(), found[2], found[3]
        user, _, host = place.rpartition("@")
        if scheme == "file":
            return Address(text, _path_name(path))
        if not host:
            raise ValueError("the host is missing")
        if scheme not in ("http", "https", "ssh", "git", "git+ssh", "ssh+git"):
            raise ValueError(f"`{scheme}://` is not an address that is fetched from: https, http, ssh, git and file are")
        if scheme in ("http", "https"):
            name, _, password = user.partition(":")
            credentials = Credentials(unquote(name), unquote(password)) if user else None
            return Address(f"{found[1]}://{host}{path}", _host_name(scheme, host, path), credentials)
        shown = user.partition(":")[0]
        return Address(f"{found[1]}://{shown}{'@' if shown else ''}{host}{path}", _host_name(scheme, host, path))
    if "::" in text.partition("/")[0]:
        raise ValueError("helpers (`name::address`) are not used")
    scp = _SCP.fullmatch(text)
    if scp and not _is_path(text):
        return Address(text, _host_name("ssh", scp[2], "/" + scp[3].lstrip("/")))
    return Address(text, _path_name(text))


def resolve_relative(base: Address, relative: str) -> str:
    """The address that a submodule's URL means, `./` and `../` in it being relative to the repository's own."""
    if not relative.startswith(("./", "../")):
        return relative
    url, separator = base.url.rstrip("/"), "/"
    while relative.startswith(("./", "../")):
        if relative.startswith("../"):
            separator = "/" if "/" in url else ":"
            url = url.rpartition(separator)[0]
        relative = relative.partition("/")[2]
    return f"{url}{separator}{relative}"


def configured_address(git_dir: bytes, setting: bytes) -> Address | None:
    """The address that a setting of a repository names."""
    done = run_git([b"--git-dir=" + git_dir, "config", "--get", setting])
    try:
        return parse_address(done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")) if done.returncode == 0 else None
    except ValueError:
        return None


def hide_secrets(text: str, credentials: Credentials | None = None) -> str:
    """What a program said, without passwords: those that it was given, and those of addresses that it knows of itself."""
    text = re.sub(r"(://)[^/@\s'\"]+@", r"\1", text)
    if credentials is not None:
        secret = credentials.password or credentials.username
        for form in {secret, quote(secret, safe="")} - {""}:
            text = text.replace(form, "***")
    return text


def _is_path(text: str) -> bool:
    return not _URL.fullmatch(text) and (text.startswith(("/", "./", "../", "~")) or ":" not in text.partition("/")[0])


def _host_name(scheme: str, host: str, path: str) -> str:
    name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not colon or port in ("", _PORTS.get(scheme, "")):
        host = name or host
    return f"{host.lower()}/{_without_ending(path)}"


def _path_name(path: str) -> str:
    cleaned = os.path.normpath(path)
    return _without_ending(cleaned) if path.startswith("/") is False else "/" + _without_ending(cleaned)


def _without_ending(path: str) -> str:
    path = re.sub(r"/+", "/", path).strip("/")
    return path.removesuffix(".git").rstrip("/") if path != ".git" else path
