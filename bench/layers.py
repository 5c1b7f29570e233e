"""Layers: 20,000 small files and 200 MB, written, compressed and applied, against GNU tar, gzip and zstd on the same files.

Everything is in a memory file system where there is one, so that what is measured is the work and not the disk.

    python bench/layers.py [ROUNDS]
"""

from __future__ import annotations

import io
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from stapel.oci.apply import Form, apply_layer
from stapel.oci.compress import write_compressed
from stapel.oci.diff import diff_upper
from stapel.oci.layer import write_layer


def make_small(directory: Path) -> None:
    """20,000 files of some hundred bytes in 200 directories."""
    for number in range(200):
        (inner := directory / f"d{number:03}").mkdir()
        for file in range(100):
            (inner / f"f{file:03}").write_bytes(b"%d " % file * (20 + file))


def make_big(directory: Path) -> None:
    """200 MB in four files, about as compressible as programs are."""
    block = b"".join(os.urandom(40) + b"the same again and again " * 2 for _ in range(12_000))
    for number in range(4):
        (directory / f"f{number}").write_bytes(block * (50_000_000 // len(block)))


def written(directory: Path, out: io.BytesIO) -> None:
    """A layer with its diff id."""
    with _opened(directory) as root:
        write_layer(diff_upper(root), out)


def compressed(directory: Path, compression: str) -> None:
    """A blob with both digests."""
    with _opened(directory) as root:
        write_compressed(diff_upper(root), io.BytesIO(), compression)  # type: ignore[arg-type]


def applied(layer: bytes, scratch: Path, form: Form) -> None:
    """A layer in a directory that is not there before."""
    target = Path(tempfile.mkdtemp(dir=scratch))
    with _opened(target) as root:
        apply_layer(io.BytesIO(layer), root, form)


def extracted(layer: bytes, scratch: Path) -> None:
    """The same by GNU tar."""
    subprocess.run(["tar", "-xC", tempfile.mkdtemp(dir=scratch)], input=layer, check=True)


class _opened:
    """An open directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> int:
        self._fd = os.open(self._path, os.O_RDONLY)
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def pipe(directory: Path, command: str) -> None:
    """GNU tar of a directory through a command of the shell."""
    subprocess.run(["sh", "-c", f"tar -cC {directory} . | {command} >/dev/null"], check=True)


def processor_s() -> float:
    """What this process and its children have used."""
    return sum(os.times()[:4])


def main(rounds: int) -> None:
    """Print the figures: wall time and processor time with children, medians of interleaved rounds, and the ratio of
    the latter to that of the first of each group (the wall shows threads, and how busy the machine is)."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    owners = os.geteuid() == 0
    with tempfile.TemporaryDirectory(dir=memory) as made:
        for name, make in (("20,000 small files", make_small), ("200 MB", make_big)):
            (source := Path(made, "source")).mkdir(mode=0o755)
            make(source)
            written(source, out := io.BytesIO())
            layer = out.getvalue()
            (scratch := Path(made, "scratch")).mkdir()
            groups: list[dict[str, Callable[[], object]]] = [
                {
                    "GNU tar": lambda source=source: pipe(source, "cat"),
                    "GNU tar, sha256sum": lambda source=source: pipe(source, "sha256sum"),
                    "layer with diff id": lambda source=source: written(source, io.BytesIO()),
                },
                {
                    "GNU tar, gzip -1": lambda source=source: pipe(source, "gzip -1"),
                    "GNU tar, zstd -3": lambda source=source: pipe(source, "zstd -q -3"),
                    "layer, gzip, both digests": lambda source=source: compressed(source, "gzip"),
                    "layer, zstd, both digests": lambda source=source: compressed(source, "zstd"),
                },
                {
                    "GNU tar -x": lambda layer=layer, scratch=scratch: extracted(layer, scratch),
                    "apply, plain": lambda layer=layer, scratch=scratch: applied(layer, scratch, Form(owners=owners)),
                    "apply, upper directory": lambda layer=layer, scratch=scratch: applied(
                        layer, scratch, Form(overlay="user.", owners=owners)
                    ),
                },
            ]
            print(name)
            for group in groups:
                taken: dict[str, list[tuple[float, float]]] = {variant: [] for variant in group}
                for _ in range(rounds):
                    for variant, run in group.items():
                        start, spent = time.perf_counter(), processor_s()
                        run()
                        taken[variant].append((time.perf_counter() - start, processor_s() - spent))
                        shutil.rmtree(scratch)
                        scratch.mkdir()
                first = statistics.median(spent for _, spent in next(iter(taken.values())))
                for variant, times in taken.items():
                    wall, spent = (statistics.median(column) for column in zip(*times, strict=True))
                    print(f"  {variant:26} {wall * 1000:7.0f} ms  {spent * 1000:7.0f} ms  {spent / first:6.2f}")
            shutil.rmtree(source)
            shutil.rmtree(scratch)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
