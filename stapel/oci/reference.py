"""Names of images as people write them, read by Docker's rules.

debian                        docker.io/library/debian:latest
me/app:1                      docker.io/me/app:1
localhost/app                 localhost/app:latest            (`localhost` is a host; `me` is not)
reg.example.com:5000/a/b@sha256:...
"""

from __future__ import annotations

import re

from msgspec import Struct

from stapel.oci.errors import BadReference

DOCKER_HUB = "docker.io"
DOCKER_HUB_API = "registry-1.docker.io"
DEFAULT_TAG = "latest"

_DOCKER_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(?::([0-9]{{1,5}}))?"
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_IMAGE_ID = r"[0-9a-f]{64}"
_LONGEST_REPOSITORY = 255


class Reference(Struct, frozen=True):
    """A parsed reference. `tag` and `digest` are "" where the text has none."""

    registry: str  # host[:port], lower case; Docker Hub is `docker.io`
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def api_host(self) -> str:
        """The host[:port] that answers for this registry: Docker Hub's differs from its name."""
        return DOCKER_HUB_API if self.registry == DOCKER_HUB else self.registry

    @property
    def repository_text(self) -> str:
        """`registry/repository`."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        text = self.repository_text
        if self.tag:
            text += f":{self.tag}"
        if self.digest:
            text += f"@{self.digest}"
        return text


def parse_reference(text: str, *, default_registry: str = DOCKER_HUB) -> Reference:
    """Read `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`. No tag is added where none is written. `BadReference`."""
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise _bad(text, "the digest is not sha256: and 64 hexadecimal digits")
    head, slash, tail = rest.partition("/")
    if slash and _is_host(head):
        registry, path = _host(text, head), tail
    else:
        registry, path = default_registry, rest
    # A colon can only be a tag's in what stands behind the host.
    path, colon, tag = path.partition(":")
    if colon and not is_tag(tag):
        raise _bad(text, f"{tag!r} is no tag: letters, digits, `_`, `.` and `-`, at most 128, not starting with `.` or `-`")
    if registry == DOCKER_HUB and "/" not in path:
        if re.fullmatch(_IMAGE_ID, path):
            raise _bad(text, "64 hexadecimal digits are an image id, not a name")
        if path:
            path = f"library/{path}"
    _check_path(text, path)
    return Reference(registry, path, tag, digest)


def normalise(text: str) -> str:
    """The one spelling of a reference, for keys: host and `library/` written out, `:latest` where nothing pins it.

    With a digest the tag stays where one is written, and none is added. `BadReference`.
    """
    reference = parse_reference(text)
    if not reference.tag and not reference.digest:
        reference = Reference(reference.registry, reference.repository, DEFAULT_TAG)
    return str(reference)


def is_tag(text: str) -> bool:
    """Whether `text` can be a tag."""
    return _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Whether `text` is a digest in a form that we can verify (sha256, sha512)."""
    return _DIGEST.fullmatch(text) is not None


def split_port(host: str) -> tuple[str, int | None]:
    """`host[:port]` -> the host without brackets, and the port where one is written."""
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name, int(port[1:]) if port[1:].isdigit() else None
    name, _, port = host.partition(":")
    return name, int(port) if port.isdigit() else None


def is_loopback(host: str) -> bool:
    """Whether `host[:port]` is this machine itself: `localhost`, 127.0.0.0/8, ::1. No name is looked up."""
    name, _ = split_port(host)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    if not name or name[0] not in "0123456789:":
        return False
    import ipaddress

    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_host(text: str) -> bool:
    return "." in text or ":" in text or text == "localhost"


def _host(text: str, host: str) -> str:
    match = re.fullmatch(_HOST, host)
    if match is None:
        raise _bad(text, f"{host!r} is no host name")
    if match[1] is not None and not 0 < int(match[1]) < 65536:
        raise _bad(text, f"{match[1]} is no port")
    if host.startswith("["):
        import ipaddress

        try:
            ipaddress.IPv6Address(split_port(host)[0])
        except ValueError:
            raise _bad(text, f"{host!r} is no IPv6 address") from None
    host = host.lower()
    return DOCKER_HUB if host in _DOCKER_HUB_NAMES else host


def _check_path(text: str, path: str) -> None:
    if not path:
        raise _bad(text, "there is no repository name")
    if len(path) > _LONGEST_REPOSITORY:
        raise _bad(text, f"the repository name is longer than {_LONGEST_REPOSITORY} characters")
    for part in path.split("/"):
        if _PATH.fullmatch(part):
            continue
        if part != part.lower():
            raise _bad(text, "a repository name is written in lower case")
        if not part:
            raise _bad(text, "a part between two slashes is empty")
        raise _bad(text, f"{part!r} is not lower-case letters and digits, with single `.`, `_`, `__` or `-` between them")


def _bad(text: str, why: str) -> BadReference:
    return BadReference(f"{text!r} is no image reference: {why}", hint="an image is named [HOST[:PORT]/]NAME[:TAG][@DIGEST]")
