"""Makes the base images of the samples and the tests on this machine, without a registry.

    make_base.py busybox conveyor-sample/busybox:latest
    make_base.py debian conveyor-sample/debian:12
    make_base.py busybox --archive busybox.tar      # for `conveyor image import`

`busybox` is made of the static busybox of this machine, in a second. `debian` is a minimal Debian 12 from Debian's mirror,
by debootstrap, as root, in about a minute; its archive is kept in `$XDG_CACHE_HOME/conveyor-samples`. An image that is there
already, made of the same files, stays.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import docker

SUITE = "bookworm"
LABEL = "made-of"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ACCOUNTS = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
    ),
    "etc/group": "root:x:0:\nwww-data:x:33:\nusers:x:100:\nnogroup:x:65534:\n",
}


def main() -> None:
    """Make one base image."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("kind", choices=["busybox", "debian"])
    target = arguments.add_mutually_exclusive_group(required=True)
    target.add_argument("reference", nargs="?", help="the name of an image in the Docker Engine, with its tag")
    target.add_argument("--archive", type=Path, help="a file for the root file system, instead of an image")
    chosen = arguments.parse_args()
    if chosen.archive is not None:
        shutil.copyfile(debian_archive(), chosen.archive) if chosen.kind == "debian" else chosen.archive.write_bytes(
            busybox_archive(find_busybox())
        )
        return
    import docker

    client = docker.APIClient(timeout=600)
    try:
        make_base(client, chosen.kind, chosen.reference)
    finally:
        client.close()


def make_base(client: docker.APIClient, kind: str, reference: str) -> None:
    """Have a base image of this name; it stays where it is made of the same files; many processes may call this at once."""
    if kind == "busybox":
        archive = busybox_archive(find_busybox())
        digest = hashlib.sha256(archive).hexdigest()
        _import(digest, reference, client, lambda **how: client.import_image_from_data(archive, **how))
    else:
        path = debian_archive()
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        _import(digest, reference, client, lambda **how: client.import_image_from_file(os.fspath(path), **how))


def find_busybox() -> Path:
    """The static busybox of this machine."""
    found = shutil.which("busybox", path=os.environ.get("PATH", "") + ":/usr/bin:/bin")
    if found is None:
        sys.exit("there is no busybox on this machine: apt-get install busybox-static")
    path = Path(found).resolve()
    if b"/lib64/ld-" in path.read_bytes()[:4096] or b"/lib/ld-" in path.read_bytes()[:4096]:
        sys.exit(f"{path} is not static and runs in no image of its own: apt-get install busybox-static")
    return path


def busybox_archive(busybox: Path) -> bytes:
    """A root file system of busybox, its links, two accounts and empty directories: the same bytes for the same busybox."""
    links = subprocess.run([busybox, "--list-full"], check=True, capture_output=True, text=True).stdout.split()
    directories = {"dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "var", "var/tmp", "var/www", "usr/local/bin"}
    directories |= {"bin"} | {str(parent) for link in links for parent in Path(link).parents}
    directories |= {str(parent) for directory in directories for parent in Path(directory).parents}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for directory in sorted(directories - {"."}):
            entry = tarfile.TarInfo(directory)
            entry.type = tarfile.DIRTYPE
            entry.mode = {"tmp": 0o1777, "var/tmp": 0o1777, "root": 0o700}.get(directory, 0o755)
            archive.addfile(entry)
        _add_file(archive, "bin/busybox", busybox.read_bytes(), 0o755)
        for link in sorted(set(links) - {"bin/busybox"}):
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname, entry.mode = tarfile.LNKTYPE, "bin/busybox", 0o755
            archive.addfile(entry)
        for name, text in ACCOUNTS.items():
            _add_file(archive, name, text.encode(), 0o644)
    return buffer.getvalue()


def debian_archive() -> Path:
    """The archive of a minimal Debian, made by debootstrap where the cache does not have it. Complete or absent."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "conveyor-samples"
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"debian-{SUITE}-minbase.tar"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            with tempfile.TemporaryDirectory(prefix=".debootstrap-", dir=cache) as scratch:
                filled = Path(scratch) / "archive.tar"
                _debootstrap(Path(scratch) / "root", filled)
                filled.rename(path)
    return path


def _debootstrap(root: Path, archive: Path) -> None:
    command = ["debootstrap", "--variant=minbase", SUITE, os.fspath(root), _mirror()]
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if ran.returncode != 0:
        log = root / "debootstrap/debootstrap.log"
        tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
        sys.exit(f"{' '.join(command)} ended with {ran.returncode}:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}{tail}")
    # Packages that were downloaded are of no use, device nodes are the engine's.
    for name in ("var/cache/apt/archives", "var/lib/apt/lists"):
        for path in (root / name).glob("*.deb" if name.endswith("archives") else "*_*"):
            path.unlink()
    subprocess.run(["tar", "-C", root, "--numeric-owner", "--exclude=./dev/*", "-cf", archive, "."], check=True)


def _mirror() -> str:
    """The mirror that this machine's apt uses for the suite, else Debian's own."""
    if shutil.which("apt-get"):
        command = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", f"Codename: {SUITE}"]
        sites = subprocess.run(command, capture_output=True, text=True).stdout.split()
        for site in sites:
            if site.startswith("http"):
                return site
    return "http://deb.debian.org/debian"


def _import(digest: str, reference: str, client: docker.APIClient, load: Callable[..., str]) -> None:
    import docker.errors

    try:
        if (client.inspect_image(reference)["Config"].get("Labels") or {}).get(LABEL) == digest:
            return
    except docker.errors.ImageNotFound:
        pass
    repository, _, tag = reference.rpartition(":")
    changes = [f"ENV PATH={PATH}", 'CMD ["sh"]', f"LABEL {LABEL}={digest}"]
    answer = load(repository=repository, tag=tag, changes=changes)
    if '"error"' in answer:
        sys.exit(f"the engine did not import {reference}: {answer}")


def _add_file(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


if __name__ == "__main__":
    main()
