import pytest

from conveyor.config.globs import glob_mistake


@pytest.mark.parametrize("pattern", ["a/**/*.py", "[a-c]", "{a,b}", "[", "usr/bin/[", "[/x", "**/["])
def test_a_glob_that_can_be_read(pattern):
    assert glob_mistake(pattern) == ""


@pytest.mark.parametrize("pattern", ["a[", "[a", "x/[b", "[]", "[b-a]", "{a", "a}", "a\\"])
def test_a_glob_that_cannot(pattern):
    assert glob_mistake(pattern)
