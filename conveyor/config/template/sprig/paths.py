"""Functions of sprig over slash-separated paths, as Go's `path` has them. The `os` forms are the same here."""

from __future__ import annotations

from conveyor.config.template.functions import declare


def base(path: str) -> str:
    """The last element; `.` of an empty path, `/` of slashes alone."""
    if not path:
        return "."
    return path.rstrip("/").rpartition("/")[2] or "/"


def directory(path: str) -> str:
    """All but the last element, cleaned."""
    return clean("".join(path.rpartition("/")[:2]))


def extension(path: str) -> str:
    """The last element from its last dot on."""
    _, dot, end = path.rpartition("/")[2].rpartition(".")
    return dot + end if dot else ""


def clean(path: str) -> str:
    """The shortest path that means the same without looking at the disk."""
    rooted = path.startswith("/")
    kept: list[str] = []
    for element in path.split("/"):
        if element == ".." and kept and kept[-1] != "..":
            kept.pop()
        elif element not in ("", ".", "..") or (element == ".." and not rooted):
            kept.append(element)
    return ("/" if rooted else "") + "/".join(kept) or "."


def is_absolute(path: str) -> bool:
    """Whether it begins at the root."""
    return path.startswith("/")


FUNCTIONS = dict(
    declare(prefix + (name[0].upper() + name[1:] if prefix else name), "string", call, walks=1, each=10)
    for prefix in ("", "os")
    for name, call in (
        ("base", base),
        ("dir", directory),
        ("clean", clean),
        ("ext", extension),
        ("isAbs", is_absolute),
    )
)
