import errno
import re
import struct

import pytest

from stapel.errors import StapelError
from stapel.sandbox import seccomp

DANGEROUS = {
    "add_key",
    "bpf",
    "delete_module",
    "init_module",
    "io_uring_setup",
    "kexec_load",
    "keyctl",
    "mount",
    "move_mount",
    "open_by_handle_at",
    "perf_event_open",
    "pivot_root",
    "reboot",
    "setns",
    "swapon",
    "umount2",
    "unshare",
    "userfaultfd",
}


def allowed(rules):
    return {name for rule in rules["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "ppc64le", "riscv64", "s390x"])
def test_what_is_not_named_is_forbidden_and_what_is_dangerous_is_not_named(machine):
    rules = seccomp.runtime_rules(machine)
    assert rules["defaultAction"] == "SCMP_ACT_ERRNO"
    assert rules["defaultErrnoRet"] == errno.EPERM
    assert DANGEROUS.isdisjoint(allowed(rules))
    assert {"openat", "execve", "chown", "setresuid", "clone", "ptrace"} <= allowed(rules)


def test_clone_makes_no_namespaces_on_any_machine():
    for machine, index in (("x86_64", 0), ("s390x", 1)):
        rules = [rule for rule in seccomp.runtime_rules(machine)["syscalls"] if rule["names"] == ["clone"]]
        assert [argument["index"] for rule in rules for argument in rule["args"]] == [index]
        assert all(argument["value"] & 0x10000000 for rule in rules for argument in rule["args"])  # CLONE_NEWUSER


def test_every_name_is_a_name_and_stands_once():
    names = seccomp.runtime_rules("x86_64")["syscalls"][0]["names"]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in names)


def test_a_machine_without_rules_is_told_of():
    with pytest.raises(StapelError, match="vax") as caught:
        seccomp.runtime_rules("vax")
    assert "--engine docker" in caught.value.hint


def test_the_program_is_compiled_once_and_is_one(tmp_path):
    first = seccomp.compile_rules(tmp_path / "made")
    instructions = list(struct.iter_unpack("=HBBI", first.read_bytes()))
    assert len(instructions) > 100
    assert instructions[-1][0] == 0x06  # BPF_RET
    stamp = first.stat()
    assert seccomp.compile_rules(tmp_path / "made") == first
    assert first.stat().st_mtime_ns == stamp.st_mtime_ns
    assert list(first.parent.iterdir()) == [first]
