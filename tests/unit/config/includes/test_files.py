from __future__ import annotations

import pytest

from conveyor.config.giterminism.api import Permissions, Refusals
from conveyor.config.giterminism.files import ConfigFiles
from conveyor.config.includes.decode import decode_includes
from conveyor.config.includes.files import IncludedFiles
from tests.unit.gitrepo.conftest import own_settings as own_settings
from tests.unit.gitrepo.repositories import make_place

CONFIG = """\
includes:
- {git: ../common, branch: main, add: /, to: /, excludePaths: [secret]}
- {git: ../other, branch: main, add: /lib, to: /vendor/lib, includePaths: ['*.txt']}
- {git: ../common, branch: main, add: /one, to: /alias}
"""


@pytest.fixture
def files(tmp_path):
    """The files of a project with includes."""
    common = make_place(tmp_path / "common")
    for path, text in {
        "a": "common\n",
        "one": "1\n",
        "secret/x": "s\n",
        ".werf/t.tmpl": "t\n",
        "vendor/lib/a.txt": "common\n",
    }.items():
        common.write(path, text)
    (common.path / "link").symlink_to("one")
    (common.path / "out").symlink_to("../../etc/passwd")
    common.commit()
    other = make_place(tmp_path / "other")
    other.write("lib/a.txt", "other\n")
    other.write("lib/b.md", "b\n")
    other.commit()
    project = make_place(tmp_path / "project")
    project.write("a", "own\n")
    project.write("dir/b", "own\n")
    project.commit()
    project.write("untracked", "x\n")
    repos = {"../common": common.open(), "../other": other.open(), "": project.open()}
    included = IncludedFiles(decode_includes(CONFIG.encode(), "f"), lambda include: repos[include.source.address.url])
    refusals = Refusals(Permissions())
    own = ConfigFiles(repos[""], b"", project.path, refusals)
    own.included = included
    own.refusals = refusals  # type: ignore[attr-defined]
    yield own
    for repo in repos.values():
        repo.close()


def test_own_files_come_first_and_later_includes_before_earlier_ones(files):
    assert files.read("a", None) == b"own\n"
    assert files.read("one", None) == b"1\n"
    assert files.read("/vendor/lib/a.txt", None) == b"other\n"
    assert files.read("vendor/lib/b.md", None) is None
    assert files.read("alias", None) == b"1\n"
    assert files.read("alias/x", None) is None


def test_what_is_excluded_or_leads_out_is_not_there(files):
    assert files.read("secret/x", None) is None
    assert files.read("link", None) == b"1\n"
    assert files.read("out", None) is None
    assert files.read("none", None) is None


def test_globs_see_both(files):
    assert files.names(".werf/**/*.tmpl", None) == [".werf/t.tmpl"]
    assert set(files.matching("**", None)) == {
        ".werf/t.tmpl", "a", "alias", "dir/b", "link", "one", "untracked", "vendor/lib/a.txt",
    }  # fmt: skip
    assert files.matching("vendor", None) == {"vendor/lib/a.txt": b"other\n"}


def test_what_is_there(files):
    assert [files.exists(path, None) for path in ("a", "one", "vendor", "secret/x", "none")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert [files.is_directory(path, None) for path in ("dir", "vendor", ".werf", "one", "secret")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_a_change_of_ones_own_is_refused_and_not_covered_up(files):
    files.read("untracked", None)
    assert files.refusals
