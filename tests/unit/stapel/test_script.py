"""Scripts go through the host's real bash, as a build container gives them to its own; the oracle is `bash -e -c`."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from stapel.script import (
    ARGUMENT_BYTES,
    ARGUMENTS_BYTES,
    ENTRYPOINT,
    SCRIPT_PATH,
    entrypoint_arguments,
    join_commands,
    removal_prefix,
)

BASH = shutil.which("bash")
TOOLS = ("base64", "rm", "rmdir")
PIECES = [
    "echo one\n",
    "echo 'two  spaces' \"and\ttab\"\n",
    "printf '%s\\n' * ? [a-z]\n",
    "# a comment; exit 9\n",
    'cat() { while IFS= read -r line; do echo "<$line>"; done; }\n',
    "cat <<EOF\nin the document $HOME `echo x`\nEOF\n",
    "cat <<'EOF'\nnot $expanded\nEOF\n",
    "x=$(echo '\\n'; exit 3) || echo \"status $?\"\n",
    "false || true\n",
    "false\n",
    "exit 7\n",
    "(exit 5)\n",
    "set +e\n",
    "set -u; echo ${unset-default}\n",
    'echo $# "$@"\n',
    "if true\nthen\n  echo then\nfi\n",
    "trap 'echo at the end' EXIT\n",
    "echo \\\n  continued\n",
    "echo 'a line\nbreak'\n",
    'echo "quote\\"$(printf \'%s\' "in\'ner")"\n',
    "echo trailing \\",
    "\r\n",
    "\t \n",
    "echo ünïcode ☃\n",
    "echo $'\\x41\\xff'\n",
    "unfinished() {\n",
    "echo 'unfinished\n",
    "echo )\n",
    ";;\n",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A toolchain of links to the host's tools."""
    assert BASH
    directory = tmp_path_factory.mktemp("root")
    (directory / "bin").mkdir()
    for tool in TOOLS:
        (directory / "bin" / tool).symlink_to(shutil.which(tool))
    return directory


def run(arguments, cwd="/"):
    """Status and output of bash, with nothing of this process around it.

    Where the text is no bash, the status is only a failure: `bash -c` and `eval` do not agree on a number.
    """
    done = subprocess.run(
        [BASH, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=cwd,
        env={"PATH": "/nowhere", "HOME": "/root", "LC_ALL": "C"},
        timeout=60,
    )
    unreadable = done.returncode and re.search(b"syntax error|unexpected E(OF|nd)", done.stderr)
    return "unreadable" if unreadable else done.returncode, done.stdout


def as_called(script, root):
    call = entrypoint_arguments(script, str(root))
    arguments = call.arguments
    if call.archive is None:
        return run_alone(arguments)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "script"
        path.write_bytes(call.archive)
        ran = run_alone([argument.replace(SCRIPT_PATH, str(path)) for argument in arguments])
        assert not path.exists(), "the script removes its file"
        return ran


def run_alone(arguments):
    with tempfile.TemporaryDirectory() as directory:
        return run(arguments, directory)


def plainly(script):
    return run_alone(["-e", "-c", "--", os.fsencode(script)])


@settings(max_examples=150, deadline=None)
@given(script=st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
@example(script="")
@example(script="\n\n")
@example(script="s=1; echo $s")
@example(script="cat <<EOF\nno end")
@example(script="-e")
@example(script="echo a; kill -TERM $$; echo b")
@example(script="echo a\\\n")
@example(script="echo a\\")
@example(script="cat <<EOF\nno end\n\n\n")
def test_a_script_does_what_bash_does_with_it(script, root):
    assert as_called(script, root) == plainly(script)


@settings(max_examples=150, deadline=None)
@given(script=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
def test_any_text_does_what_bash_does_with_it(script, root):
    assert as_called(script, root) == plainly(script)


@settings(max_examples=50, deadline=None)
@given(text=st.binary(max_size=200))
def test_every_byte_arrives(text, root):
    assume(b"\0" not in text)
    quoted = os.fsdecode(text).replace("'", "'\\''")
    assert as_called(f"printf %s '{quoted}'", root) == (0, text)


@pytest.mark.parametrize("filler", [0, 300_000, 1_000_000])
def test_a_script_sees_no_variable_of_ours(filler, root):
    script = 'for x in a b; do s="$s $x"; done; echo $s; echo $#; compgen -v _conveyor || echo none; set -u\n' + "#" * filler
    assert as_called(script, root) == (0, b"a b\n0\nnone\n")


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (ARGUMENT_BYTES * 3 // 4 - 1, 0),
        (ARGUMENT_BYTES * 3 // 4, 2),
        (300 * 1024, 5),
        (ARGUMENTS_BYTES * 3 // 4 - 1, 11),
    ],
)
def test_a_long_script_comes_in_pieces_that_the_kernel_takes(size, pieces, root):
    head, tail = "echo $# $0 ${#long}\nlong='", "'\necho ${#long}\nexit 3\n"
    script = head + "x" * (size - len(head) - len(tail)) + tail
    call = entrypoint_arguments(script, str(root))
    assert call.archive is None
    assert all(len(argument) < 128 * 1024 for argument in call.arguments)
    assert len(call.arguments[3:]) == pieces
    status, output = as_called(script, root)
    assert status == 3
    count, _, before, after = output.split()
    assert (count, before, int(after)) == (b"0", b"0", size - len(head) - len(tail))


@pytest.mark.parametrize("size", [ARGUMENTS_BYTES * 3 // 4, 3 << 20])
def test_a_script_that_no_arguments_hold_comes_as_a_file(size, root):
    script = "echo begin\n" + "#" + "x" * size + "\necho 'end  of it'\nexit 4\n"
    call = entrypoint_arguments(script, str(root))
    assert call.archive.startswith(script.encode())
    assert sum(map(len, call.arguments)) < 1000
    assert as_called(script, root) == (4, b"begin\nend  of it\n")


def test_without_its_decoder_nothing_runs_and_the_call_fails(tmp_path):
    for script in ("echo ran", "echo ran\n" + "#" * 300_000):
        status, output = as_called(script, tmp_path)
        assert status != 0
        assert output == b""


def test_without_its_file_nothing_runs_and_the_call_fails(root, tmp_path):
    call = entrypoint_arguments("echo ran\n" + "#" * (1 << 20), str(root))
    status, output = run([argument.replace(SCRIPT_PATH, str(tmp_path / "absent")) for argument in call.arguments])
    assert status != 0
    assert output == b""


def test_nul_is_refused():
    with pytest.raises(ValueError, match="NUL"):
        entrypoint_arguments("echo \0")


def test_the_call_names_the_tools_of_the_toolchain():
    assert ENTRYPOINT == "/.conveyor/stapel/bin/bash"
    (option, text) = entrypoint_arguments("true").arguments
    assert option == "-ec"
    assert "/.conveyor/stapel/bin/base64 --decode" in text


# -- commands


@pytest.mark.parametrize(
    ("commands", "joined"),
    [
        ([], ""),
        (["a"], "a\n"),
        (["a\n", "b"], "a\nb\n"),
        (["a # comment", "b"], "a # comment\nb\n"),
        (["  a  \n\n", ""], "  a  \n\n\n"),
    ],
)
def test_commands_stand_on_lines_of_their_own(commands, joined):
    assert join_commands(commands) == joined


def test_a_failed_command_is_the_last(root):
    assert as_called(join_commands(["echo a", "(exit 6)", "echo b"]), root) == (6, b"a\n")


# -- removals


@pytest.fixture(params=["C", "C.UTF-8"])
def remove(request, root, tmp_path):
    """Runs the removal of paths, which are meant below a directory and not below `/`; returns status and output."""

    def run_removal(removals, emptied=()):
        inside = os.fsencode(tmp_path)[1:] + b"/"
        script = removal_prefix([inside + path for path in removals], [inside + path for path in emptied], str(root))
        env = {"PATH": "/nowhere", "LC_ALL": request.param}
        done = subprocess.run([BASH, "-ec", script], capture_output=True, env=env, timeout=60)
        return done.returncode, done.stdout + done.stderr

    return run_removal


NAMES = st.binary(min_size=1, max_size=30).filter(lambda name: not {0, 0x2F} & set(name) and name not in (b".", b".."))


@settings(max_examples=60, deadline=None)
@given(names=st.sets(NAMES, min_size=2, max_size=5))
@example(names={b"*", b"a"})
@example(names={b"-rf", b"--"})
@example(names={b"$(touch x)", b"`touch x`"})
@example(names={b"'", b'"', b"\\", b"\n", b" "})
@example(names={b"\xff\x41", b"\xc3\xa9", b"\xe2\x98\x83", b"\x0f1"})
@example(names={b"\\x41", b"A", b"\\n"})
def test_files_with_any_names_are_removed_and_no_others(names, root):
    with tempfile.TemporaryDirectory() as directory:
        inside = os.fsencode(directory)
        for name in names:
            Path(os.fsdecode(inside + b"/" + name)).write_text("")
        removed, *kept = sorted(names)
        script = removal_prefix([inside[1:] + b"/" + removed], [], str(root))
        assert run(["-ec", script]) == (0, b"")
        assert sorted(os.fsencode(path.name) for path in Path(directory).iterdir()) == kept


def test_a_link_is_removed_and_not_what_it_leads_to(remove, tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target/file").write_text("")
    (tmp_path / "link").symlink_to("target")
    assert remove([b"link"]) == (0, b"")
    assert (tmp_path / "target/file").exists()
    assert not (tmp_path / "link").is_symlink()


def test_directories_go_where_they_are_empty(remove, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/kept").write_text("")
    (tmp_path / "full/gone").write_text("")
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/gone").write_text("")
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole/file").write_text("")
    removals = [b"full/gone", b"deep/er/gone", b"whole"]
    assert remove(removals, [b"full", b"deep/er", b"deep"]) == (0, b"")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["full", "kept"]


def test_what_is_gone_already_is_no_failure(remove):
    assert remove([b"absent"]) == (0, b"")


def test_nothing_to_remove_is_no_text():
    assert removal_prefix([], []) == ""
