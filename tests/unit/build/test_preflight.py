from __future__ import annotations

from dataclasses import replace

import pytest

from conveyor.build.preflight import check_history, check_mappings, check_tasks, check_uncommitted
from conveyor.config.giterminism.api import Permissions, Refusals
from conveyor.config.models import GitWorktree, Project, Shell
from conveyor.errors import ConfigError, GiterminismError, GitError
from tests.unit.build.worlds import image, mapping
from tests.unit.gitrepo.repositories import Place, make_place


@pytest.fixture
def place(tmp_path) -> Place:
    made = make_place(tmp_path / "repository")
    for path in ("werf.yaml", "src/main.c", "src/old.o", "bin/start", "doc/page"):
        made.write(path)
    made.commit()
    return made


def project(*images, **worktree):
    return Project("p", "werf.yaml", images, GitWorktree(**worktree))


APP = image("app", git=(mapping("/src", to="/app", exclude=["*.o"]), mapping("/bin", to="/bin")))
WEB = image("web", git=(mapping("/src", to="/web"),))
PLAIN = image("", beforeInstall="true")


# -- uncommitted


def refused(place, *images, prefix=b"", written=()):
    repo = place.open()
    refusals = Refusals(Permissions())
    try:
        check_uncommitted(images, repo, prefix, written, refusals)
        refusals.raise_any()
    except GiterminismError as error:
        assert error.reason == "uncommitted"
        assert error.exit_status == 2
        assert "--dev" in error.hint
        return str(error).splitlines()
    finally:
        repo.close()
    return []


def test_a_clean_work_tree_is_fine(place):
    assert refused(place, APP, WEB) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda place: place.write("src/main.c", "new"), "has changes that are not committed"),
        (lambda place: place.write("src/new.c"), "is not tracked by git"),
        (lambda place: (place.path / "src/main.c").unlink(), "is deleted, and the deletion is not committed"),
        (lambda place: (place.write("src/new.c"), place.git("add", "-A")), "has staged changes that are not committed"),
    ],
)
def test_each_kind_of_change_is_told_with_what_uses_the_file(place, change, what):
    change(place)
    (line,) = refused(place, APP)
    assert 'file "src/' in line
    assert line.endswith(f'" must be committed: it {what}; used by image app (git.add: /src)')


def test_a_changed_submodule_is_told(place, tmp_path):
    inner = make_place(tmp_path / "inner")
    inner.write("x")
    inner.commit()
    place.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.path), "src/sub")
    place.commit()
    assert refused(place, APP) == []
    place.write("src/sub/x", "new")
    assert 'the submodule "src/sub" is not clean and must be committed: it has changes inside' in refused(place, APP)[0]


@pytest.mark.parametrize("path", ["doc/page", "doc/new", "src/new.o", "src/old.o", "other"])
def test_files_that_nothing_uses_may_change(place, path):
    place.write(path, "new")
    assert refused(place, APP) == []


def test_what_git_ignores_is_no_input(place):
    place.write(".gitignore", "*.tmp\n")
    place.commit()
    place.write("src/x.tmp")
    assert refused(place, APP) == []


def test_all_files_are_told_in_order_each_with_all_its_users(place):
    place.write("src/main.c", "new")
    place.write("bin/start", "new")
    more = [image(name, git=(mapping("/src", to="/x"),)) for name in ("three", "four", "five")]
    lines = refused(place, APP, WEB, image("", git=(mapping("/bin", to="/x"),)), *more)
    assert lines == [
        "the following files must be committed:",
        "  - bin/start has changes that are not committed; used by image app (git.add: /bin), image ~ (git.add: /bin)",
        "  - src/main.c has changes that are not committed; used by image app (git.add: /src), image web (git.add: /src), "
        "image three (git.add: /src) and 2 more",
    ]


def test_what_we_write_ourselves_does_not_count(place):
    place.write("report.json")
    everything = image("all", git=(mapping("/"),))
    assert "report.json" in refused(place, everything)[0]
    assert refused(place, everything, written={b"report.json"}) == []


def test_names_that_are_no_text_are_shown(place):
    place.write(b"src/caf\xe9", "new")
    assert r'the untracked file "src/caf\xe9" must be committed' in refused(place, APP)[0]


def test_paths_are_those_of_the_project_directory(place):
    place.write("sub/src/x")
    place.commit()
    place.write("src/main.c", "new")
    assert refused(place, APP, prefix=b"sub") == []
    place.write("sub/src/x", "new")
    assert 'the file "src/x" must be committed' in refused(place, APP, prefix=b"sub")[0]


def test_the_work_tree_is_the_input_in_dev(place):
    place.write("src/main.c", "new")
    repo = place.open(dev=True)
    try:
        refusals = Refusals(Permissions())
        check_uncommitted([APP], repo, b"", (), refusals)
        assert not refusals
    finally:
        repo.close()


# -- mappings


def problems(place, *images, prefix=b""):
    repo = place.open()
    try:
        check_mappings(images, repo, prefix)
    except ConfigError as error:
        return error.problems
    finally:
        repo.close()
    return ()


def test_mappings_that_match_are_fine(place):
    root_file = image("f", git=(mapping("/bin/start", to="/start"), mapping("/", to="/")))
    assert problems(place, APP, WEB, root_file, PLAIN) == ()


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (mapping("/nothing"), "git.add: /nothing matches no files at commit"),
        (mapping("/src", include=["*.py"]), "git.add: /src matches no files with includePaths and excludePaths at commit"),
        (mapping("/src", exclude=["**"]), "matches no files with includePaths and excludePaths at commit"),
        (mapping("/bin/start", to="/"), "git.to: / cannot be the file /bin/start"),
    ],
)
def test_mappings_that_mean_nothing(place, found, message):
    (problem,) = problems(place, image("app", git=(found,)))
    assert message in problem.message
    assert problem.place == found.place
    assert problem.hint


def test_the_commit_counts_and_not_the_work_tree(place):
    place.write("new/file")
    assert len(problems(place, image("app", git=(mapping("/new"),)))) == 1


def test_files_kept_by_lfs_are_refused_where_nothing_can_fetch_them(place, monkeypatch):
    monkeypatch.setattr("conveyor.build.kept_contents.is_lfs_installed", lambda: False)
    place.write(".gitattributes", "*.bin filter=lfs\nexcluded.bin -filter\n")
    for name in ("a.bin", "excluded.bin", "b.bin"):
        place.write(f"src/{name}", f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 5\n")
    place.write("src/raw.bin", "committed as it is\n")
    # The filter itself need not be there.
    place.git("config", "filter.lfs.clean", "cat")
    place.commit()
    found = problems(place, image("app", git=(mapping("/src"),)), image("other", git=(mapping("/bin", to="/b"),)))
    assert [problem.message.partition(" is kept")[0] for problem in found] == ["src/a.bin", "src/b.bin"]
    assert "git lfs is not installed" in found[0].message
    assert problems(place, image("app", git=(mapping("/src", exclude=["*.bin"]),))) == ()
    monkeypatch.setattr("conveyor.build.kept_contents.is_lfs_installed", lambda: True)
    assert problems(place, image("app", git=(mapping("/src"),))) == ()


def test_all_problems_of_all_images_are_told_at_once_and_each_once(place):
    one = mapping("/nothing")
    found = problems(place, image("a", git=(one, mapping("/neither"))), image("b", git=(mapping("/bin/start", to="/"),)))
    assert len(found) == 3
    assert len(problems(place, image("a", git=(one, one)))) == 1


def test_a_prefix_goes_before_what_is_added(place):
    place.write("sub/only/x")
    place.commit()
    found = image("a", git=(mapping("/only"),))
    assert problems(place, found, prefix=b"sub") == ()
    assert len(problems(place, found)) == 1


# -- history


def shallow_clone(place, tmp_path):
    for number in range(3):
        place.write("src/main.c", str(number))
        place.commit()
    clone = Place(tmp_path / "clone")
    place.git("clone", "--quiet", "--depth=1", f"file://{place.path}", str(clone.path))
    return clone


def history(place, **worktree):
    repo = place.open()
    try:
        check_history(project(**worktree), repo)
        return repo.is_shallow()
    finally:
        repo.close()


def test_a_whole_clone_is_fine(place):
    assert history(place, allow_unshallow=False) is False


def test_a_shallow_clone_is_deepened(place, tmp_path):
    clone = shallow_clone(place, tmp_path)
    assert history(clone) is False
    assert len(clone.git("rev-list", "HEAD").splitlines()) == 4


def test_a_shallow_clone_that_cannot_be_deepened_is_refused(place, tmp_path):
    clone = shallow_clone(place, tmp_path)
    place.path.rename(tmp_path / "gone")
    with pytest.raises(GitError) as caught:
        history(clone)
    assert caught.value.reason == "shallow_clone"
    assert "fetch-depth: 0" in caught.value.hint


def test_a_shallow_clone_that_may_not_be_deepened_is_refused(place, tmp_path):
    clone = shallow_clone(place, tmp_path)
    with pytest.raises(GitError, match="may not be deepened") as caught:
        history(clone, allow_unshallow=False)
    assert caught.value.exit_status == 2
    assert len(clone.git("rev-list", "HEAD").splitlines()) == 1


def test_a_shallow_clone_is_used_as_it_is_where_that_is_wanted(place, tmp_path):
    clone = shallow_clone(place, tmp_path)
    assert history(clone, force_shallow_clone=True) is True
    assert len(clone.git("rev-list", "HEAD").splitlines()) == 1


# -- tasks


def test_modules_that_no_build_has_are_told_before_it_begins():
    tasks = Shell(tasks={"install": '[{"npm": {}}, {"command": "make"}]'})
    (problem,) = check_tasks([APP, replace(WEB, shell=tasks)])
    assert "`install` of image web: the module `npm` is not part of ansible-core" in problem.message
    assert "`shell`" in problem.hint
