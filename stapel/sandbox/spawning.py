"""Starting workers. Imports next to nothing: the first one is started before the modules of a build are imported, which take
as long as it does.
"""

from __future__ import annotations

import _socket
import os
import sys
from sys import audit as trace

_CONTROL = 3
_START = (
    "import sys; sys.path[:0] = sys.argv[3:]; from stapel.sandbox.inside.serve import main; "
    "main(int(sys.argv[1]), sys.argv[2])"
)

_early: list[tuple[str, _socket.socket, int]] = []


def spawn(store_dir: str) -> tuple[_socket.socket, int]:
    """A worker of a store: the socket that it serves, and ends with, and its process. `OSError`."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    given = theirs.detach()
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    roots = dict.fromkeys([root, *(path for path in sys.path if path)])
    argv = [sys.executable, "-I", "-S", "-c", _START, str(_CONTROL), store_dir, *roots]
    actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, given, _CONTROL)]
    try:
        # A session of its own: an interrupt from the terminal is for us, who cancel in order.
        trace("worker.before-start")
        pid = os.posix_spawn(sys.executable, argv, {"PATH": "/usr/bin:/bin"}, file_actions=actions, setsid=True)
    except OSError:
        ours.close()
        raise
    finally:
        os.close(given)
    return ours, pid


def spawn_early(home_dir: str) -> None:
    """Start the worker that will be the first of a home's store, where one has run before. Errors are left for later."""
    store_dir = os.path.join(home_dir, "sandbox")
    if os.path.exists(os.path.join(store_dir, "probed")):
        try:  # noqa: SIM105 -- contextlib is not imported yet
            _early.append((store_dir, *spawn(store_dir)))
        except OSError:
            pass  # who needs it finds out


def take_early(store_dir: str) -> tuple[_socket.socket, int] | None:
    """The worker that was started early for a store, which is the caller's from now on."""
    if _early and _early[0][0] == os.path.abspath(store_dir):
        return _early.pop()[1:]
    return None


def end_early() -> None:
    """Let a worker end that nobody has taken."""
    for _, socket, pid in _early:
        socket.close()
        os.waitpid(pid, 0)
    _early.clear()
