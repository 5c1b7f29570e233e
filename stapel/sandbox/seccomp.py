"""Compiling the rules for system calls, once a home: the filter is kept, and a run opens a file."""

from __future__ import annotations

import ctypes
import hashlib
import os
from pathlib import Path

from stapel.errors import StapelError
from stapel.sandbox.seccomp_rules import ALLOWED, CONDITIONAL, ERRORS

_ALLOW = 0x7FFF0000
_ERROR = 0x00050000
_EPERM = 1
_OPTIMIZE = 8
_BINARY_TREE = 2
# Programs of 32 bits run on these machines too.
_ALSO = {"x86_64": (0x40000003, 0x4000003E), "aarch64": (0x40000028,)}


class _Condition(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def compiled_rules(directory: Path) -> Path:
    """The file that has the filter for this machine. `StapelError` where libseccomp is missing."""
    rules = repr((sorted(ALLOWED), sorted(CONDITIONAL.items()), sorted(ERRORS.items()), os.uname().machine))
    path = directory / f"{hashlib.sha256(rules.encode()).hexdigest()[:16]}.bpf"
    if not path.exists():
        directory.mkdir(exist_ok=True)
        temporary = directory / f".{os.getpid()}-{os.urandom(4).hex()}"
        try:
            with temporary.open("wb") as out:
                _compile(out.fileno())
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def _compile(out_fd: int) -> None:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        raise StapelError("libseccomp is not found", hint="install the package libseccomp2 (libseccomp)") from None
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ERROR | _EPERM)))
    if not context:
        raise StapelError("libseccomp does not start")
    try:
        for architecture in _ALSO.get(os.uname().machine, ()):
            library.seccomp_arch_add(context, ctypes.c_uint32(architecture))
        library.seccomp_attr_set(context, _OPTIMIZE, ctypes.c_uint32(_BINARY_TREE))
        for name in sorted(ALLOWED):
            _add(library, context, _ALLOW, name)
        for name, number in sorted(ERRORS.items()):
            _add(library, context, _ERROR | number, name)
        for name, conditions in sorted(CONDITIONAL.items()):
            for condition in conditions:
                _add(library, context, _ALLOW, name, _Condition(*condition))
        if library.seccomp_export_bpf(context, out_fd):
            raise StapelError("libseccomp does not compile the rules for system calls")
    finally:
        library.seccomp_release(context)


def _add(library: ctypes.CDLL, context: ctypes.c_void_p, action: int, name: str, *conditions: _Condition) -> None:
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number == -1:
        return  # a call that this libseccomp does not know yet: it fails, as all that is not listed
    given = (_Condition * len(conditions))(*conditions)
    # The answer is not looked at: calls of other architectures cannot be added everywhere.
    library.seccomp_rule_add_array(context, ctypes.c_uint32(action), number, len(conditions), given)
