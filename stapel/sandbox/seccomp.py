"""Which system calls a build container may make: Docker's default rules, for the capabilities that it has here.

`seccomp.json` holds the rules as data. What is neither allowed nor `absent` fails with EPERM. `absent` is answered with
ENOSYS: calls newer than these rules, and `clone3` (its flags cannot be looked into), so that programs fall back.
`allowByNumber` are calls that libseccomp may have no name for; such numbers are the same on every architecture.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from sys import audit as trace
from typing import Any

from stapel.errors import StapelError

_UNKNOWN = -1  # of libseccomp, for a name; calls of other architectures have negative numbers of their own
_FORM = 2  # of the program that is made of the same rules
_BINARY_TREE = 2  # instead of comparing with one number after another, at every call
_DATA = Path(__file__).with_name("seccomp.json")


@cache
def _rules() -> dict[str, Any]:
    import json

    rules: dict[str, Any] = json.loads(_DATA.read_bytes())
    return rules


def runtime_rules(machine: str = "") -> dict[str, Any]:
    """The rules in the words of the OCI runtime specification (`linux.seccomp`), for `uname -m` (default: this machine).

    runc and crun leave out names that their libseccomp does not know. `StapelError` for a machine without rules.
    """
    machine = machine or os.uname().machine
    rules, own = _rules(), _architecture(machine)
    allowed = [*rules["allow"], *own["allow"], *rules["allowByNumber"]]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "architectures": own["names"],
        "syscalls": [
            {"names": allowed, "action": "SCMP_ACT_ALLOW"},
            *(
                {
                    "names": [rule["name"]],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{key: rule[key] for key in ("index", "value", "valueTwo", "op") if key in rule}],
                }
                for rule in _by_argument(machine)
            ),
            {"names": rules["absent"]["names"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS},
        ],
    }


def compile_rules(directory: Path) -> Path:
    """A file with the rules as a BPF program for this machine, as bubblewrap's `--seccomp` takes it.

    Compiled once for each state of the rules and kept in `directory`: filled aside and renamed, any number of processes may
    call this at once. `StapelError` where libseccomp is missing or too old.
    """
    import hashlib

    key = hashlib.sha256(_DATA.read_bytes() + f"{os.uname().machine} {_FORM}".encode()).hexdigest()[:16]
    path = directory / f"{key}.bpf"
    if path.exists():
        return path
    import tempfile

    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".filling-", delete=False) as filling:
        try:
            filling.write(_compile())
            filling.close()
            trace("seccomp.before-rename")
            Path(filling.name).replace(path)
        except BaseException:
            Path(filling.name).unlink(missing_ok=True)
            raise
    return path


def _compile() -> bytes:
    from stapel.sandbox.bpf import NotUnderstood, shrink

    program = compile_by_library()
    try:
        return shrink(program)
    except NotUnderstood:  # of a libseccomp that is not known here: it costs some time of each container, and no more
        return program


def compile_by_library() -> bytes:
    """The program as libseccomp makes it. `StapelError`."""
    import tempfile

    try:
        import pyseccomp  # type: ignore[import-untyped]  # it has no stubs
    except RuntimeError as error:
        raise StapelError(
            "libseccomp is not found: no system calls can be kept from build containers", hint="apt-get install libseccomp2"
        ) from error
    rules, own = _rules(), _architecture(os.uname().machine)
    absent = pyseccomp.ERRNO(errno.ENOSYS)
    first, last = rules["absent"]["numbers"]
    try:
        compiled = _named_rules()
        # libseccomp carries a number over to a second architecture by its name only, so numbers are for the machine's own.
        for number in rules["allowByNumber"].values():
            compiled.add_rule(pyseccomp.ALLOW, number)
        for number in range(first, last + 1):
            compiled.add_rule(absent, number)
        if len(own["names"]) > 1:
            others = _named_rules(own["names"][1:])
            others.remove_arch(pyseccomp.Arch.NATIVE)
            compiled.merge(others)
        compiled.set_attr(pyseccomp.Attr.CTL_OPTIMIZE, _BINARY_TREE)
        with tempfile.TemporaryFile() as out:
            compiled.export_bpf(out)
            out.seek(0)
            return out.read()
    except OSError as error:
        hint = "libseccomp 2.5 or newer is needed"
        raise StapelError(f"libseccomp cannot compile the rules of system calls: {error}", hint=hint) from error


def _named_rules(architectures: Sequence[str] = ()) -> Any:  # noqa: ANN401 -- pyseccomp has no stubs
    """A filter of all rules that have a name, for the machine's own architecture and these."""
    import pyseccomp

    rules, machine = _rules(), os.uname().machine
    compiled = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    for name in architectures:
        compiled.add_arch(getattr(pyseccomp.Arch, name.removeprefix("SCMP_ARCH_")))
    for name in (*rules["allow"], *_architecture(machine)["allow"]):
        _add(compiled, pyseccomp.ALLOW, name)
    for rule in _by_argument(machine):
        operator = getattr(pyseccomp, rule["op"].removeprefix("SCMP_CMP_"))
        argument = pyseccomp.Arg(rule["index"], operator, rule["value"], rule.get("valueTwo", 0))
        _add(compiled, pyseccomp.ALLOW, rule["name"], argument)
    for name in rules["absent"]["names"]:
        _add(compiled, pyseccomp.ERRNO(errno.ENOSYS), name)
    return compiled


def _add(compiled: Any, action: int, name: str, *arguments: Any) -> None:  # noqa: ANN401 -- pyseccomp has no stubs
    """Add a rule; a name that this libseccomp does not know is left out, as Docker does: it stays forbidden."""
    import pyseccomp

    number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    if number != _UNKNOWN:
        compiled.add_rule(action, number, *arguments)


def _architecture(machine: str) -> dict[str, Any]:
    known: dict[str, dict[str, Any]] = _rules()["architectures"]
    if machine not in known:
        raise StapelError(f"there are no rules of system calls for {machine}", hint="build with --engine docker")
    return known[machine]


def _by_argument(machine: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = _rules()["allowByArgument"]
    return [rule for rule in listed if rule.get("except") != machine and rule.get("only", machine) == machine]
