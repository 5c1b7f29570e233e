"""Removing trees whose owners are mapped, as root of the namespace that maps them: no mode stands in the way."""

from __future__ import annotations

import os


def remove_tree(path: bytes) -> None:
    """Remove a directory with all in it; what is not there is fine."""
    parent, _, name = path.rpartition(b"/")
    parent_fd = os.open(parent or b".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _remove(parent_fd, name)
    except FileNotFoundError:
        pass
    finally:
        os.close(parent_fd)


def _remove(parent_fd: int, name: bytes) -> None:
    try:
        os.unlink(name, dir_fd=parent_fd)
        return
    except (IsADirectoryError, PermissionError):
        pass  # a directory, by the two ways in which it is said
    directory_fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        with os.scandir(directory_fd) as items:
            for item in items:
                if item.is_dir(follow_symlinks=False):
                    _remove(directory_fd, os.fsencode(item.name))
                else:
                    os.unlink(item.name, dir_fd=directory_fd)
    finally:
        os.close(directory_fd)
    os.rmdir(name, dir_fd=parent_fd)
