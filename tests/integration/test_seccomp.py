"""The compiled rules, asked of the kernel from within bubblewrap."""

import errno
import os
import subprocess
import sys

import pytest

from stapel.sandbox.seccomp import compile_rules

# Numbers of x86_64; arguments are such that no call does anything where it is allowed.
CALLS = {
    "mount": (165, errno.EPERM),
    "keyctl": (250, errno.EPERM),
    "bpf": (321, errno.EPERM),
    "unshare": (272, errno.EPERM),
    "userfaultfd": (323, errno.EPERM),
    "clone3": (435, errno.ENOSYS),
    "fchmodat2": (452, errno.EBADF),
    "one that nobody knows yet": (499, errno.ENOSYS),
}
ASK = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
for number in sys.argv[1:]:
    libc.syscall(int(number), -1, b"x", 0, 0, 0)
    print(ctypes.get_errno())
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64")
def test_calls_that_are_forbidden_fail_and_unknown_ones_are_absent(tmp_path):
    with compile_rules(tmp_path).open("rb") as rules:
        handle = rules.fileno()
        command = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--seccomp", str(handle)]
        numbers = [str(number) for number, _ in CALLS.values()]
        done = subprocess.run(
            [*command, sys.executable, "-I", "-c", ASK, *numbers],
            pass_fds=[handle],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found = dict(zip(CALLS, (int(line) for line in done.stdout.split()), strict=True))
    assert found == {name: expected for name, (_, expected) in CALLS.items()}
