"""Where programs are found."""

from stapel.programs import find_program


def test_the_first_directory_that_has_a_program_is_the_one(tmp_path, monkeypatch):
    for name in "abcd":
        (tmp_path / name).mkdir()
    (tmp_path / "a/tool").write_text("nobody may run it")
    (tmp_path / "b/tool").mkdir()
    for name in "cd":
        (tmp_path / name / "tool").write_text("")
        (tmp_path / name / "tool").chmod(0o755)
    directories = ":".join(["", str(tmp_path / "absent"), *(str(tmp_path / name) for name in "abcd")])
    monkeypatch.setenv("PATH", "")
    assert find_program("tool", directories) == str(tmp_path / "c/tool")
    monkeypatch.setenv("PATH", f"{tmp_path}/a:{tmp_path}/d")
    assert find_program("tool", directories) == find_program("tool") == str(tmp_path / "d/tool")
    monkeypatch.delenv("PATH")
    monkeypatch.chdir(tmp_path / "c")
    assert find_program("tool", "") is None
    assert find_program("tool", f"{tmp_path}/a:{tmp_path}/b") is None
    assert find_program("other", directories) is None
