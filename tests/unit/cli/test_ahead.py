import pytest

from conveyor.cli import ahead


@pytest.mark.parametrize(
    ("arguments", "engine", "starts"),
    [
        (["build"], "", True),
        (["build", "app", "--engine", "sandbox"], "docker", True),
        (["build", "--engine=auto"], "", True),
        (["build"], "Docker", False),
        (["build", "--engine", "docker"], "", False),
        (["build", "--engine=docker"], "sandbox", False),
        (["build", "--require-built-images"], "", False),
        (["build", "-h"], "", False),
    ],
)
def test_a_worker_is_started_for_builds_that_may_want_it(arguments, engine, starts, monkeypatch, tmp_path):
    started = []
    monkeypatch.setattr(ahead, "spawn_early", started.append)
    monkeypatch.setattr(ahead.atexit, "register", lambda _: None)
    monkeypatch.setenv("CONVEYOR_ENGINE", engine)
    ahead.start_worker([*arguments, "--home-dir", str(tmp_path)])
    assert started == ([str(tmp_path)] if starts else [])
