"""Pages of a registry's list of tags: what stands on one, and where the next one is."""

from __future__ import annotations

from stapel.oci.retries import Passing


def next_link(header: str) -> str | None:
    """The target of `rel="next"` in a Link header; None: there is no next page."""
    at = 0
    while (start := header.find("<", at)) >= 0:
        end = header.find(">", start)
        if end < 0:
            return None
        following = header.find("<", end)
        parameters = header[end + 1 : following if following >= 0 else None]
        for parameter in parameters.replace(",", ";").split(";"):
            name, _, value = parameter.strip().partition("=")
            if name.strip().lower() == "rel" and "next" in value.strip().strip('"').lower().split():
                return header[start + 1 : end].strip()
        at = end + 1
    return None


def parse_tags(body: bytes) -> list[str]:
    """The tags of a page. `Passing` where it is none: a list may break off where its length was not told."""
    import json

    try:
        tags = json.loads(body)["tags"]
    except (ValueError, KeyError, TypeError):
        tags = 0
    if tags is None:
        return []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise Passing(f"the registry answers something that is no list of tags: {body[:100]!r}", at_most=3)
    return tags
