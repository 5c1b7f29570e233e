"""The script that takes secrets from its stdin, run by the bash of this machine."""

import subprocess

from stapel.docker.secret_files import SecretFiles, find_place, stdin_of
from tests.unit.stapel.trees import MemoryTree, Node, file, tree_of

SECRETS = {"a b": b"one\n\xff\0", "-n": b"", "$(x)": b"three"}


def run(tmp_path, script, stdin=None, **fields):
    (tmp_path / "secrets").mkdir()
    files = SecretFiles(str(tmp_path / "secrets"), **fields)
    text = files.wrap(script, tuple(SECRETS)).replace("/.conveyor/stapel/bin/", "")
    given = stdin_of(SECRETS) if stdin is None else stdin
    return subprocess.run(["bash", "-ec", text], input=given, capture_output=True)


def test_files_are_made_before_the_script_and_its_stdin_is_empty(tmp_path):
    done = run(tmp_path, "umask; read x || echo empty; compgen -v _conveyor || true; echo $(ls secrets)")
    assert done.stdout.split()[1:2] == [b"empty"]
    made = {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()}
    assert made == SECRETS
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "secrets").iterdir()} == {0o400}


def test_what_does_not_arrive_is_an_error_and_the_script_does_not_run(tmp_path):
    for number, given in enumerate((b"", stdin_of(SECRETS)[:-2], b"b25l\n")):
        (tmp_path / str(number)).mkdir()
        done = run(tmp_path / str(number), "echo ran", stdin=given)
        assert (done.returncode, done.stdout) == (125, b"")
        assert b"the secrets have not arrived" in done.stderr


def test_with_a_link_the_script_ends_as_it_would_alone_and_the_link_goes(tmp_path):
    link, above = str(tmp_path / "run/secrets").encode(), str(tmp_path / "run").encode()
    for number, (script, status) in enumerate(
        [
            ("exit 3", 3),
            ("false; echo on", 1),
            ("exec true", 0),
            ("trap 'exit 9' EXIT", 9),
            ("if false; then :; fi; (exit 4) || true", 0),
            ("echo 'quoted \"x\"' # ) comment", 0),
            ("cat <<end\n)'\nend\n", 0),
        ]
    ):
        (tmp_path / str(number)).mkdir()
        (tmp_path / "run").mkdir()
        (tmp_path / "run/secrets").symlink_to("/nowhere")
        done = run(tmp_path / str(number), script, link=link.lstrip(b"/"), made=above.lstrip(b"/"))
        assert done.returncode == status, script
        assert b"on\n" not in done.stdout
        assert not (tmp_path / "run").exists()


def tree(nodes):
    return MemoryTree(tree_of(nodes))


def test_where_the_files_go():
    assert find_place(tree({b"run/secrets": Node("directory")})) == SecretFiles("/run/secrets")
    assert find_place(tree({b"run/x": file(b"")})) == SecretFiles("/.conveyor/secrets", b"run/secrets")
    assert find_place(tree({})) == SecretFiles("/.conveyor/secrets", b"run/secrets", b"run")
    linked = tree({b"run": Node("symlink", link=b"var/run"), b"var/run/x": file(b"")})
    assert find_place(linked) == SecretFiles("/.conveyor/secrets", b"var/run/secrets")
