"""Git's first questions about a directory, asked at once, and before anybody needs the answers."""

from __future__ import annotations

from msgspec import Struct

from conveyor.gitrepo import discovery
from conveyor.gitrepo.processes import Asked
from conveyor.gitrepo.status import ask_status


class Opening(Struct, frozen=True):
    """Where the repository is (`discovery.find`), and what is changed in its work tree; None: nobody wants to know."""

    place: Asked
    status: Asked | None

    def close(self) -> None:
        """End git, whatever it has not said."""
        self.place.close()
        if self.status is not None:
            self.status.close()


def begin(directory: str, *, asks_status: bool) -> Opening:
    """Ask. To look at a large work tree takes its time, and can begin before anybody knows where that is. `GitError`."""
    place = discovery.ask(directory)
    return Opening(place, ask_status(["-C", directory]) if asks_status else None)
