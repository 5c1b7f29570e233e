"""Layers in any order with any names, applied in both forms: the kernel's overlay must show the same tree as the plain one.

Run in a user namespace with mounts of its own: `unshare --user --map-root-user --mount python overlay_oracle.py EXAMPLES`.
"""

import ctypes
import io
import os
import stat
import sys
import tarfile
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from stapel.oci.apply import Form, apply_layer
from stapel.oci.errors import BadLayer
from stapel.oci.overlay import OverlayLayers

LIBC = ctypes.CDLL(None, use_errno=True)
NAMES = st.sampled_from(["a", "b", "c", "l"])
MARKED = st.builds(str.__add__, st.sampled_from(["", "", "", ".wh."]), NAMES) | st.just(".wh..wh..opq")
PATHS = st.builds(lambda parents, name: "/".join([*parents, name]), st.lists(NAMES, max_size=2), MARKED)
TARGETS = st.sampled_from(["a", "b", "/a/b", "../b", "../../c", "a/l", "/", "."])
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])
MODES = st.sampled_from([0o644, 0o755, 0o1777])
ENTRIES = st.tuples(PATHS, KINDS, TARGETS, MODES, st.integers(1, 4)) | st.tuples(
    st.just("./"), st.just(tarfile.DIRTYPE), TARGETS, MODES, st.integers(1, 4)
)
LAYERS = st.lists(st.lists(ENTRIES, max_size=8), min_size=1, max_size=4)


def layer_of(entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as written:
        for name, kind, target, mode, mtime in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime = kind, mode, mtime
            if kind == tarfile.SYMTYPE:
                info.linkname = target
            elif kind == tarfile.LNKTYPE:
                info.linkname = target.replace("..", ".")
            info.size = 1 if kind == tarfile.REGTYPE else 0
            written.addfile(info, io.BytesIO(b"%d" % mtime))
    return out.getvalue()


def apply(layer, directory, form):
    """Whether the layer was taken."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        apply_layer(io.BytesIO(layer), fd, form)
    except BadLayer:
        return False
    finally:
        os.close(fd)
    return True


def tree(directory):
    """Path -> all that can be seen of it; files that are one are told by the first name."""
    root = directory.stat()
    found, inodes = {".": (root.st_mode, root.st_mtime_ns)}, {}
    for parent, directories, files in os.walk(directory):
        for name in sorted(directories + files):
            info = (path := Path(parent, name)).lstat()
            shown = str(path.relative_to(directory))
            content = ""
            if stat.S_ISREG(info.st_mode):
                content = path.read_text()
            elif stat.S_ISLNK(info.st_mode):
                content = str(path.readlink())
            partner = inodes.setdefault((info.st_dev, info.st_ino), shown) if info.st_nlink > 1 else shown
            link = "" if stat.S_ISDIR(info.st_mode) else partner
            found[shown] = (info.st_mode, info.st_mtime_ns, content, link)
    return found


def mount(source, target, kind, options):
    if LIBC.mount(source.encode(), target.encode(), kind.encode(), 0, options.encode()):
        raise OSError(ctypes.get_errno(), f"mounting {kind} at {target}: {os.strerror(ctypes.get_errno())}")


def main(examples):
    mount("tmpfs", tempfile.gettempdir(), "tmpfs", "")
    count = [0, 0]

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(LAYERS)
    def agree(layers):
        with tempfile.TemporaryDirectory() as made:
            scratch = Path(made)
            for root in ((plain := scratch / "plain"), (empty := scratch / "empty")):
                root.mkdir(mode=0o755)
                os.utime(root, (9, 9))
            uppers = []
            for number, entries in enumerate(layers):
                layer = layer_of(entries)
                taken = apply(layer, plain, Form())
                (upper := scratch / f"upper{number}").mkdir(mode=0o755)
                fds = [os.open(path, os.O_RDONLY) for path in [*reversed(uppers), empty]]
                try:
                    assert apply(layer, upper, Form(overlay="user.", below=OverlayLayers(fds))) == taken, "both or none"
                finally:
                    for fd in fds:
                        os.close(fd)
                count[taken] += 1
                if not taken:
                    return
                uppers.append(upper)
            (merged := scratch / "merged").mkdir()
            lower = ":".join(map(str, [*reversed(uppers), empty]))
            mount("overlay", str(merged), "overlay", f"userxattr,lowerdir={lower}")
            try:
                assert tree(merged) == tree(plain)
            finally:
                LIBC.umount2(bytes(merged), 0)

    agree()
    sys.stdout.write(f"{count[1]} layers agree, {count[0]} were refused by both\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
