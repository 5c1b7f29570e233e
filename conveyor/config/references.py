"""References to images from outside: whether they can name one at all."""

from __future__ import annotations

import re

_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)"
_DOMAIN = rf"(?:{_HOST}(?:\.{_HOST})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9a-f]{32,}"


def reference_mistake(reference: str) -> tuple[str, str]:
    """What is wrong with `[host[:port]/]path[:tag][@digest]`, and a hint; two empty texts where nothing is."""
    if not reference:
        return "it is empty", ""
    if re.search(r"\s", reference):
        return "it holds white space", _white_space_hint(reference)
    if any(quote in reference for quote in "“”„‘’«»"):
        return "it holds typographic quotes", "write plain ones, or none"
    if "://" in reference:
        return "it is a URL", f"write `{reference.partition('://')[2]}`"
    name, at, digest = reference.partition("@")
    if at and not re.fullmatch(_DIGEST, digest):
        return f"`{digest}` is not a digest", "a digest is `sha256:` and 64 hexadecimal digits"
    if digest.startswith("sha256:") and len(digest) != 71:
        return f"`{digest}` is not a digest", "a digest is `sha256:` and 64 hexadecimal digits"
    last = name.rpartition("/")[2]
    if ":" in last:
        tag = last.partition(":")[2]
        name = name[: -len(tag) - 1]
        if not re.fullmatch(_TAG, tag):
            return (
                f"`{tag}` is not a tag",
                "a tag has letters, digits, `_`, `.`, `-`, at most 128, and no `.` or `-` in front",
            )
    first, slash, rest = name.partition("/")
    if slash and (re.search(r"[.:\[]", first) or first == "localhost" or first != first.lower()):
        if not re.fullmatch(_DOMAIN, first):
            return f"`{first}` is not the address of a registry", ""
        path = rest
    else:
        path = name
    if path != path.lower():
        return f"the repository `{path}` must be lower case", f"write `{path.lower()}`"
    for component in path.split("/"):
        if not re.fullmatch(_COMPONENT, component):
            return f"`{component}` cannot stand in the name of a repository", ""
    if len(path) > 255:
        return "the name of the repository is longer than 255 characters", ""
    if not slash and re.fullmatch("[0-9a-f]{64}", path):
        return "64 hexadecimal digits are the id of an image, not its name", ""
    return "", ""


def _white_space_hint(reference: str) -> str:
    """What a text became part of the reference by."""
    if re.search(r"\s---(\s|$)", reference):
        return "a line `---` begins at the left edge"
    return "a comment begins with `#`" if re.search(r"\s(//|--|;)", reference) else ""
