"""Functions of sprig over URLs, as Go's `net/url` reads and writes them."""

from __future__ import annotations

import re

from conveyor.config.template.functions import FunctionError, declare
from conveyor.config.template.quoting import quoted
from conveyor.config.template.sprig.lists import NIL_DEREFERENCE
from conveyor.config.template.values import Value, kind_of, raw
from conveyor.config.template.values import text as as_text

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_USERINFO = re.compile(r"[A-Za-z0-9._:~!$&'()*+,;=%@-]*")
_PORT = re.compile(r"(?::[0-9]*)?")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_IN_HOST = re.compile(_ESCAPE.pattern + rb"|[\x00- #/?@\\^`{|}\x7f]")
_UNRESERVED = r"A-Za-z0-9_.~\-"
_KEPT = {
    "path": re.compile(rf"[^{_UNRESERVED}$&+,/:;=@]"),
    "user": re.compile(rf"[^{_UNRESERVED}$&+,;=]"),
    "host": re.compile(rf"[^{_UNRESERVED}!$&'()*+,;=:\[\]<>\"]"),
    "fragment": re.compile(rf"[^{_UNRESERVED}$&+,/:;=?@!()*]"),
}
_PARTS = ("scheme", "host", "path", "query", "opaque", "fragment", "userinfo")


def parse_url(url: str) -> dict[str, Value]:
    """The parts of a URL."""
    shown, _, fragment = url.partition("#")
    try:
        parts = _parse(shown)
        shown = url
        return {**parts, "fragment": _unescaped(fragment)}
    except FunctionError as error:
        raise FunctionError(f"unable to parse url: parse {quoted(shown)}: {error}") from None


def join_url(parts: dict[str, Value] | None) -> str:
    """The URL of parts as `urlParse` gives them."""
    given = {name: _part(parts or {}, name) for name in _PARTS}
    userinfo = ""
    if given["userinfo"]:
        wrapped = f"proto://{given['userinfo']}@host"
        try:
            userinfo = _parse(wrapped.partition("#")[0])["userinfo"]
        except FunctionError as error:
            raise FunctionError(f"unable to parse userinfo in dict: parse {quoted(wrapped)}: {error}") from None
    scheme, host, path = given["scheme"], given["host"], given["path"]
    url = f"{scheme}:" if scheme else ""
    if given["opaque"]:
        url += given["opaque"]
    else:
        if scheme or host or userinfo:
            url += "//" if host or path or userinfo else ""
            url += f"{userinfo}@" if userinfo else ""
            url += _escaped(host, "host")
        escaped = path if path == "*" else _escaped(path, "path")
        if escaped and escaped[0] != "/" and host:
            url += "/"
        if not url and ":" in escaped.partition("/")[0]:
            url += "./"
        url += escaped
    url += f"?{given['query']}" if given["query"] else ""
    return url + (f"#{_escaped(given['fragment'], 'fragment')}" if given["fragment"] else "")


def _parse(rest: str) -> dict[str, Value]:
    """The parts of a URL without a fragment. Raises FunctionError with the words of Go's library."""
    if re.search("[\x00-\x1f\x7f]", rest):
        raise FunctionError("net/url: invalid control character in URL")
    parts: dict[str, Value] = dict.fromkeys(
        ("scheme", "host", "hostname", "path", "query", "opaque", "userinfo", "fragment"), ""
    )
    if rest == "*":
        return {**parts, "path": "*"}
    if rest.startswith(":"):
        raise FunctionError("missing protocol scheme")
    scheme = _SCHEME.match(rest)
    if scheme:
        parts["scheme"] = scheme[1].lower()
        rest = rest[scheme.end() :]
    rest, _, parts["query"] = rest.partition("?")
    if not rest.startswith("/"):
        if scheme:
            return {**parts, "opaque": rest}
        if ":" in rest.partition("/")[0]:
            raise FunctionError("first path segment in URL cannot contain colon")
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
        rest = slash + path
        userinfo, at, host = authority.rpartition("@")
        parts["host"] = _host(host, strict=parts["scheme"] in ("http", "https"))
        parts["hostname"] = _without_port(parts["host"])
        if at:
            parts["userinfo"] = _userinfo(userinfo)
    parts["path"] = _unescaped(rest)
    return parts


def _host(host: str, *, strict: bool) -> str:
    """The host, unescaped. `strict`: its first colon begins the port, else its last one."""
    bracket = host.rfind("[")
    if bracket > 0:
        raise FunctionError("invalid IP-literal")
    if bracket == 0:
        return _address(host)
    _check_port(host[host.find(":") if strict else host.rfind(":") :] if ":" in host else "")
    return _unescaped(host, host=True)


def _address(host: str) -> str:
    address, bracket, port = host[1:].rpartition("]")
    if not bracket:
        raise FunctionError("missing ']' in host")
    _check_port(port)
    number, zone, name = address.partition("%25")
    text = _unescaped(number, host=True) + _unescaped(zone + name)
    from ipaddress import IPv6Address

    try:
        IPv6Address(text)
    except ValueError:
        raise FunctionError(f"invalid host: ParseAddr({quoted(text)}): unable to parse IP") from None
    return f"[{text}]{port}"


def _check_port(port: str) -> None:
    if not _PORT.fullmatch(port):
        raise FunctionError(f"invalid port {quoted(port)} after host")


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    host = name if colon and _PORT.fullmatch(colon + port) else host
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _userinfo(userinfo: str) -> str:
    if not _USERINFO.fullmatch(userinfo):
        raise FunctionError("net/url: invalid userinfo")
    name, colon, password = userinfo.partition(":")
    return _escaped(_unescaped(name), "user") + colon + _escaped(_unescaped(password), "user")


def _unescaped(text: str, *, host: bool = False) -> str:
    octets: list[bytes] = []
    at = 0
    data = raw(text)
    for found in (_IN_HOST if host else _ESCAPE).finditer(data):
        if found[0][:1] != b"%":
            raise FunctionError(f"invalid character {quoted(as_text(found[0]))} in host name")
        digits = found[1]
        if digits is None or (host and int(digits, 16) < 0x80 and digits != b"25"):
            raise FunctionError(f"invalid URL escape {quoted(as_text(data[found.start() : found.start() + 3]))}")
        octets += (data[at : found.start()], bytes((int(digits, 16),)))
        at = found.end()
    octets.append(data[at:])
    return as_text(b"".join(octets))


def _escaped(text: str, part: str) -> str:
    return _KEPT[part].sub(lambda found: "".join(f"%{byte:02X}" for byte in raw(found[0])), text)


def _part(parts: dict[str, Value], name: str) -> str:
    value = parts.get(name, "")
    if value is None:
        raise FunctionError(NIL_DEREFERENCE)
    if not isinstance(value, str):
        raise FunctionError(f"unable to parse {name} key, must be of type string, but {kind_of(value)} found")
    return value


FUNCTIONS = dict(
    (
        declare("urlParse", "string", parse_url, walks=4),
        declare("urlJoin", "dict", join_url, walks=4),
    )
)
