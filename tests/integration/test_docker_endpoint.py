"""Where the Docker Engine is looked for, as docker's own client looks for it."""

import hashlib
import json

import pytest

from stapel.docker.endpoint import DEFAULT, find_endpoint, socket_path


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def configure(directory, current="", **contexts):
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps({"auths": {}, **({"currentContext": current} if current else {})}))
    for name, host in contexts.items():
        meta = directory / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
        meta.mkdir(parents=True)
        (meta / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host}}}))


def test_the_usual_socket(home):
    assert find_endpoint() == DEFAULT
    configure(home / ".docker")
    assert find_endpoint() == DEFAULT
    assert socket_path(find_endpoint()) == "/var/run/docker.sock"


def test_docker_host_comes_before_everything(home, monkeypatch):
    configure(home / ".docker", "there", there="tcp://context:1")
    monkeypatch.setenv("DOCKER_CONTEXT", "there")
    monkeypatch.setenv("DOCKER_HOST", "tcp://host:1")
    assert find_endpoint() == "tcp://host:1"
    assert socket_path(find_endpoint()) is None


def test_contexts(home, monkeypatch):
    configure(home / ".docker", "there", there="tcp://there:1", here="unix:///run/user/1000/docker.sock")
    assert find_endpoint() == "tcp://there:1"
    monkeypatch.setenv("DOCKER_CONTEXT", "here")
    assert find_endpoint() == "unix:///run/user/1000/docker.sock"
    assert socket_path(find_endpoint()) == "/run/user/1000/docker.sock"
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    assert find_endpoint() == DEFAULT


def test_a_configuration_of_its_own(home, tmp_path, monkeypatch):
    configure(tmp_path / "one", "there", there="tcp://one:1")
    configure(tmp_path / "two", "there", there="tcp://two:1")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "one"))
    assert find_endpoint() == "tcp://one:1"
    assert find_endpoint(str(tmp_path / "two")) == "tcp://two:1"


@pytest.mark.parametrize(
    "text", ['{"currentContext": 1}', '{"currentContext": ["x"]}', '{"currentContext": ', "[]", '"currentContext"']
)
def test_a_configuration_that_makes_no_sense(home, text):
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text(text)
    assert find_endpoint() == DEFAULT


def test_a_context_that_is_not_there_or_makes_no_sense(home):
    configure(home / ".docker", "absent", broken="x")
    assert find_endpoint() == DEFAULT
    for meta in (home / ".docker/contexts/meta").iterdir():
        (meta / "meta.json").write_text('{"Endpoints": []}')
    configure(home / ".docker", "broken")
    assert find_endpoint() == DEFAULT
