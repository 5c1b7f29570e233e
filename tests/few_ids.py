"""COUNT COMMAND...: run a command as root of a user namespace that has COUNT ids from 0, as in a container of a user."""

import ctypes
import os
import sys

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000


def main() -> int:
    count, command = int(sys.argv[1]), sys.argv[2:]
    entered, mapped = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER | CLONE_NEWNS):
            os._exit(125)
        os.write(entered[1], b".")
        os.read(mapped[0], 1)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        os.execvp(command[0], command)
    os.close(entered[1])
    if not os.read(entered[0], 1):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    for ids in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{ids}", "w") as file:
            file.write(f"0 0 {count}\n")
    os.write(mapped[1], b".")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
