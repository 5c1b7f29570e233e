"""What an image runs by its own configuration: its command, as its user, in its directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from stapel.api import Tree
from stapel.containers import DEFAULT_PATH
from stapel.errors import StapelError
from stapel.image_config import NO_ENTRYPOINT
from stapel.oci.api import ImageConfig
from stapel.places import Places
from stapel.script import ROOT

_MOST_BYTES = 1 << 20
_MOUNTED = ("/proc/", "/dev/", "/sys/")
MISSING_STATUS = 127  # as shells and engines have it


class User(Struct, frozen=True):
    """Ids, and the home directory."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


class Program(Struct, frozen=True):
    """`arguments` begin with what runs the program `name`. With `needs_tools` the toolchain is to be there."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    directory: str
    needs_tools: bool


def find_program(config: ImageConfig, command: Sequence[str], tree: Tree) -> Program:
    """What runs with `command` in the place of the image's CMD. `StapelError` where that is nothing, or nobody's."""
    run = config.run
    entrypoint = tuple(run.get("Entrypoint") or ())
    arguments = ((), entrypoint)[entrypoint != NO_ENTRYPOINT] + tuple(command or run.get("Cmd") or ())
    if not arguments:
        raise StapelError("the image has neither ENTRYPOINT nor CMD", hint="name a command behind `--`")
    user = find_user(str(run.get("User") or ""), tree)
    own = dict(text.partition("=")[::2] for text in run.get("Env") or () if "=" in text)
    environment = {"PATH": DEFAULT_PATH, "HOME": user.home, **own}
    directory = "/" + str(run.get("WorkingDir") or "").strip("/")
    if user.uid or user.gid or user.groups:
        groups = ",".join(map(str, sorted({user.gid, *user.groups})))  # as engines have it
        become = (f"{ROOT}/bin/chroot", f"--userspec=+{user.uid}:+{user.gid}", f"--groups={groups}", "--skip-chdir", "/")
        return Program(arguments[0], (*become, *arguments), environment, directory, needs_tools=True)
    return Program(arguments[0], arguments, environment, directory, needs_tools=False)


def is_missing(program: str, path: str, directory: str, tree: Tree) -> bool:
    """Whether an image has no such program, by its PATH; nobody knows of what is mounted into it."""
    places = [program] if "/" in program else [f"{folder or '.'}/{program}" for folder in path.split(":")]
    found = [place if place.startswith("/") else f"{directory}/{place}" for place in places]
    return not any(_is_there(place, tree) or place.startswith(_MOUNTED) for place in found)


def _is_there(path: str, tree: Tree) -> bool:
    names = Places(tree)
    place = names.directory(path.strip("/").encode())  # links are followed, also at the end
    return names.stat(place) is not None


def find_user(text: str, tree: Tree) -> User:
    """The user of `NAME|UID[:GROUP|GID]` by the image's passwd and group. `StapelError` for a name that is not there."""
    name, colon, group = text.partition(":")
    entries = [fields for fields in _read(tree, b"etc/passwd") if len(fields) > 5 and _numbers(fields[2:4])]
    wanted = name or "0"
    found = next((fields for fields in entries if fields[0] == wanted), None)
    found = found or next((fields for fields in entries if wanted.isdigit() and int(fields[2]) == int(wanted)), None)
    if found is not None:
        user = User(int(found[2]), int(found[3]), home=found[5] or "/")
    elif wanted.isdigit():
        user = User(int(wanted))
    else:
        raise StapelError(f"the image's USER {text} is not in its /etc/passwd")
    groups = [fields for fields in _read(tree, b"etc/group") if len(fields) > 3 and _numbers(fields[2:3])]
    if colon and group:
        return User(user.uid, _find_group(group, groups, text), home=user.home)
    if found is None:
        return user
    members = (int(fields[2]) for fields in groups if found[0] in fields[3].split(","))
    return User(user.uid, user.gid, tuple(sorted(set(members) - {user.gid})), user.home)


def _find_group(group: str, groups: Sequence[Sequence[str]], text: str) -> int:
    for fields in groups:
        if fields[0] == group:
            return int(fields[2])
    if not group.isdigit():
        raise StapelError(f"the group of the image's USER {text} is not in its /etc/group")
    return int(group)


def _numbers(fields: Sequence[str]) -> bool:
    return all(field.isdigit() for field in fields)


def _read(tree: Tree, path: bytes) -> list[list[str]]:
    places = Places(tree)
    place = places.place(path)
    file = places.stat(place)
    if file is None or file.kind != "file":
        return []
    with tree.open(place) as content:
        return [line.split(":") for line in content.read(_MOST_BYTES).decode("utf-8", "replace").splitlines()]
