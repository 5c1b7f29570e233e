"""How git is called: what of the environment reaches it, and the settings that every call has.

Nothing of the environment leads git to another repository, to replaced or grafted objects or into programs of the
repository. Imports nothing: a build where nothing is to do calls git too.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# What a hook or a wrapper may have set, and would lead us to another repository than the one that was opened.
_FOREIGN = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_ATTR_SOURCE",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_EXTERNAL_DIFF",
    "GIT_GLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_LITERAL_PATHSPECS",
    "GIT_NAMESPACE",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_TRACE",
    "GIT_WORK_TREE",
)
_OWN = {
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    # Not /dev/null: that git reads, and says with it that grafts are going away.
    "GIT_GRAFT_FILE": "/dev/null/none",
    "LC_ALL": "C",
}
SETTINGS = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", "-c", "core.quotePath=false")

# Settings of the user have no say in what is listed.
STATUS = ("status", "--porcelain=v2", "-z", "--untracked-files=all", "--ignore-submodules=none", "--no-renames")


def git_environment(more: Mapping[str, str] = {}) -> dict[str, str]:
    """The environment of every process of git."""
    return {name: value for name, value in os.environ.items() if name not in _FOREIGN} | _OWN | dict(more)


def changed_path(record: bytes) -> bytes:
    """The path of one record of `STATUS`; b"" for a record that tells no change. A directory ends with `/`."""
    fields_before = {b"?": 1, b"1": 8, b"u": 10}.get(record[:1])
    return record.split(b" ", fields_before)[fields_before] if fields_before else b""
