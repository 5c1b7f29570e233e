"""What an image runs: the rules of engines for ENTRYPOINT, CMD, USER, WORKDIR and ENV."""

import pytest

from stapel.errors import StapelError
from stapel.oci.api import ImageConfig
from stapel.sandbox.program import User, find_program, find_user, is_missing
from tests.unit.stapel.trees import MemoryTree, file, symlink, tree_of

PASSWD = b"root:x:0:0:root:/root:/bin/sh\ndev:x:100:101::/home/dev:/bin/sh\nbroken\n7:x:200:201::/seven:\n"
GROUP = b"root:x:0:\nstaff:x:50:dev,other\nwheel:x:10:dev\ndev:x:101:dev\n8:x:300:\n"
TREE = MemoryTree(tree_of({b"etc/passwd": file(PASSWD), b"etc/group": file(GROUP)}))


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", User(0, 0, home="/root")),
        ("dev", User(100, 101, (10, 50), "/home/dev")),
        ("100", User(100, 101, (10, 50), "/home/dev")),
        ("dev:staff", User(100, 50, (), "/home/dev")),
        ("dev:50", User(100, 50, (), "/home/dev")),
        ("1234", User(1234, 0, (), "/")),
        ("1234:4321", User(1234, 4321, (), "/")),
        ("7", User(200, 201, (), "/seven")),  # a name first, as engines have it
        ("dev:8", User(100, 300, (), "/home/dev")),
        ("dev:", User(100, 101, (10, 50), "/home/dev")),
    ],
)
def test_users(text, user):
    assert find_user(text, TREE) == user


@pytest.mark.parametrize("text", ["nobody", "dev:nobody"])
def test_a_name_that_is_not_there(text):
    with pytest.raises(StapelError, match="nobody"):
        find_user(text, TREE)


def test_an_image_without_users():
    bare = MemoryTree(tree_of({}))
    assert find_user("", bare) == User()
    assert find_user("5:6", bare) == User(5, 6)
    linked = MemoryTree(tree_of({b"etc/passwd": symlink(b"/usr/passwd"), b"usr/passwd": file(PASSWD)}))
    assert find_user("5", linked) == User(5)  # a link is not followed: it may lead to what is no file


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "command", "arguments"),
    [
        (None, ["a", "b"], (), ("a", "b")),
        ([""], ["a"], (), ("a",)),
        (["e"], ["a"], (), ("e", "a")),
        (["e"], ["a"], ("c", "d"), ("e", "c", "d")),
        (["e"], None, (), ("e",)),
        (None, None, ("c",), ("c",)),
    ],
)
def test_commands(entrypoint, cmd, command, arguments):
    run = {"Entrypoint": entrypoint, "Cmd": cmd, "WorkingDir": "/w/", "Env": ["HOME=/h", "A=b=c"]}
    config = ImageConfig({"config": run})
    program = find_program(config, command, TREE)
    assert program.arguments == arguments
    assert program.directory == "/w"
    assert program.environment["HOME"] == "/h"
    assert program.environment["A"] == "b=c"
    assert not program.needs_tools


def test_another_user_than_root():
    program = find_program(ImageConfig({"config": {"Cmd": ["a"], "User": "dev"}}), (), TREE)
    assert program.needs_tools
    assert program.arguments[1:] == ("--userspec=+100:+101", "--groups=10,50,101", "--skip-chdir", "/", "a")
    assert program.environment["HOME"] == "/home/dev"


def test_nothing_to_run():
    with pytest.raises(StapelError, match="neither ENTRYPOINT nor CMD"):
        find_program(ImageConfig({"config": {"Entrypoint": [""], "Cmd": []}}), (), TREE)


@pytest.mark.parametrize(
    ("program", "missing"),
    [
        ("run", False),
        ("other", True),
        ("linked", False),
        ("dangling", True),
        ("./run", False),
        ("../usr/bin/run", False),
        ("/usr/bin/run", False),
        ("/bin/run", False),
        ("/bin/other", True),
        ("/proc/self/exe", False),
    ],
)
def test_programs_that_are_not_there(program, missing):
    tree = MemoryTree(
        tree_of(
            {
                b"usr/bin/run": file(b""),
                b"usr/bin/linked": symlink(b"run"),
                b"usr/bin/dangling": symlink(b"/nowhere"),
                b"bin": symlink(b"usr/bin"),
                b"work/run": file(b""),
            }
        )
    )
    assert is_missing(program, "/sbin:/bin", "/work", tree) is missing
