"""Where the directories of a layer are made: elsewhere on the disk, where it has become slow.

ext4 puts a file beside its directory, and a directory beside its parent. There it passes over the place of each file that
was removed within the last five minutes, one by one, whenever one is made: where a large tree was, 400 µs a file, not 10.
"""

from __future__ import annotations

import os
from contextlib import suppress
from time import perf_counter_ns

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SLOW_NS = 100_000
_LOOKED_AT = 64  # files
_MOST_PLACES = 64


class Nursery:
    """Makes files and directories in open directories.

    `place`: what the names begin with that directories of ours may have meanwhile, in one whose directories stand apart from
    one another (`stapel.scattering`); b"": all is made where it belongs. They are gone when this is closed.
    """

    def __init__(self, place: bytes = b"") -> None:
        self._place = place
        self._ours: list[bytes] = []
        self._at = -1  # the directory in which others are made, where that is not the one in which they belong
        self._files = self._elapsed_ns = 0

    def make_file(self, name: bytes, directory: int) -> int:
        """A new file, open to be written. `FileExistsError`."""
        began_ns = perf_counter_ns()
        fd = os.open(name, _CREATE, 0o600, dir_fd=directory)
        self._elapsed_ns += perf_counter_ns() - began_ns
        self._files += 1
        if self._files == _LOOKED_AT:
            if self._elapsed_ns > _LOOKED_AT * _SLOW_NS and self._place:
                with suppress(OSError):
                    self._move()
            self._files = self._elapsed_ns = 0
        return fd

    def make_directory(self, name: bytes, directory: int) -> None:
        """A new directory, mode 0700. `FileExistsError`."""
        if self._at < 0:
            os.mkdir(name, 0o700, dir_fd=directory)
            return
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=directory, follow_symlinks=False)
            raise FileExistsError
        try:
            os.mkdir(b"new", 0o700, dir_fd=self._at)
            os.rename(b"new", name, src_dir_fd=self._at, dst_dir_fd=directory)
        except OSError:  # it may be another file system, or count for another quota
            self._leave()
            os.mkdir(name, 0o700, dir_fd=directory)

    def close(self) -> None:
        """Remove what is ours."""
        self._leave()
        for path in self._ours:
            with suppress(OSError):
                os.rmdir(path)

    def _leave(self) -> None:
        """Make everything where it belongs from now on."""
        self._place = b""
        if self._at >= 0:
            with suppress(OSError):
                os.rmdir(b"new", dir_fd=self._at)
            os.close(self._at)
            self._at = -1

    def _move(self) -> None:
        """Go on where making a file is quick, if there is such a place; each new directory of ours stands at another one."""
        while len(self._ours) < _MOST_PLACES:
            path = b"%b%d" % (self._place, len(self._ours))
            os.mkdir(path, 0o700)
            self._ours.append(path)
            at = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if self._at >= 0:
                os.close(self._at)
            self._at = at
            began_ns = perf_counter_ns()
            os.close(os.open(b"probe", _CREATE, 0o600, dir_fd=at))
            elapsed_ns = perf_counter_ns() - began_ns
            os.unlink(b"probe", dir_fd=at)
            if elapsed_ns < _SLOW_NS:
                return
