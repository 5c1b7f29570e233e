"""Runs benches, all of them or those that are named.

    python -m bench [--engine docker|sandbox] [--rounds N] [--files N] [--images N] [NAME...]

Each variant of a bench runs once a round, in turns, so that a busy machine is busy for all of them; what is printed is the
median of the whole process with its children, and ratios of medians. A peer that is not on this machine is left out, with a
line that says so. Figures of two runs cannot be compared, ratios can.
"""

from __future__ import annotations

import argparse

from bench import chain, files, first_build, graph, memory, nothing, one_of_many
from bench.harness import Harness

BENCHES = {
    "chain": chain.measure,
    "nothing": nothing.measure,
    "many": one_of_many.measure,
    "first-build": first_build.measure,
    "files": files.measure,
    "graph": graph.measure,
    "memory": memory.measure,
}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}")
    parser.add_argument("--engine", choices=["docker", "sandbox"], default="docker", help="what conveyor builds with")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--files", type=int, default=100_000, help="in the large repository")
    parser.add_argument("--images", type=int, default=150, help="in the project of many images")
    chosen = parser.parse_args()
    unknown = set(chosen.names) - BENCHES.keys()
    if unknown:
        parser.error(f"no bench is called {', '.join(sorted(unknown))}: {', '.join(BENCHES)}")
    for name, measure in BENCHES.items():
        if name in (chosen.names or BENCHES):
            with Harness(chosen.engine, chosen.rounds, chosen.files, chosen.images) as harness:
                print(f"== {name}: {(measure.__doc__ or '').splitlines()[0]}", flush=True)
                measure(harness)


if __name__ == "__main__":
    main()
