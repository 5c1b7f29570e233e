import base64
import json
import os
import stat

import pytest

from stapel.oci.auth import BadDockerConfig, Credentials, credentials_for, docker_auth

HUB = "https://index.docker.io/v1/"


def write(directory, document):
    (directory / "config.json").write_text(document if isinstance(document, str) else json.dumps(document))
    return str(directory)


def auth(user, password):
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write_helper(directory, name, body):
    path = directory / f"docker-credential-{name}"
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def bin_dir(tmp_path, monkeypatch):
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    return directory


def test_no_file_is_nobody(tmp_path):
    assert credentials_for("reg:5000", str(tmp_path / "absent")) is None
    assert docker_auth("reg:5000", str(tmp_path / "absent")) == {}


@pytest.mark.parametrize("document", ["", "{}", {"auths": None}, {"auths": {"reg:5000": {}}}])
def test_a_file_without_logins_is_nobody(tmp_path, document):
    assert credentials_for("reg:5000", write(tmp_path, document)) is None


@pytest.mark.parametrize(
    "key", ["reg:5000", "https://reg:5000", "http://reg:5000/", "https://reg:5000/v1/", "reg:5000/v2/", "REG:5000"]
)
def test_spellings_of_a_host(tmp_path, key):
    config = write(tmp_path, {"auths": {key: auth("joe", "s:3")}})
    assert credentials_for("reg:5000", config) == Credentials("joe", "s:3")
    for other in ("reg", "reg:5001", "sub.reg:5000", "reg:50001", "evil.com"):
        assert credentials_for(other, config) is None


def test_the_plainest_key_wins(tmp_path):
    config = write(
        tmp_path, {"auths": {"https://reg/v1/": auth("c", "c"), "reg/team": auth("b", "b"), "reg": auth("a", "a")}}
    )
    assert credentials_for("reg", config) == Credentials("a", "a")


@pytest.mark.parametrize("host", ["docker.io", "index.docker.io", "registry-1.docker.io"])
@pytest.mark.parametrize("key", [HUB, "docker.io", "https://index.docker.io/v2/"])
def test_docker_hub_by_all_its_names(tmp_path, host, key):
    config = write(tmp_path, {"auths": {key: auth("joe", "x")}})
    assert credentials_for(host, config) == Credentials("joe", "x")
    assert docker_auth(host, config) == {"username": "joe", "password": "x", "serveraddress": HUB}


def test_kinds_of_entries(tmp_path):
    config = write(
        tmp_path,
        {
            "auths": {
                "plain": {"username": "u", "password": "p"},
                "identity": {**auth("<token>", ""), "identitytoken": "refresh"},
                "bearer": {"registrytoken": "abc"},
                "unpadded": {"auth": base64.b64encode(b"me:secrets").decode().rstrip("=")},
            }
        },
    )
    assert credentials_for("plain", config) == Credentials("u", "p")
    assert credentials_for("identity", config).identity_token == "refresh"
    assert docker_auth("identity", config) == {"identitytoken": "refresh", "serveraddress": "identity"}
    assert credentials_for("bearer", config).registry_token == "abc"
    assert credentials_for("unpadded", config) == Credentials("me", "secrets")


def test_secrets_do_not_show(tmp_path):
    shown = repr(Credentials("joe", "geheim1", "geheim2", "geheim3"))
    assert "joe" in shown
    assert "geheim" not in shown


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "[]",
        "\x00",
        {"auths": []},
        {"auths": {"reg": "x"}},
        {"auths": {"reg": {"auth": "%%%secret"}}},
        {"auths": {"reg": {"auth": base64.b64encode(b"nocolonsecret").decode()}}},
        {"credHelpers": []},
    ],
)
def test_a_file_that_makes_no_sense_is_named_without_its_secrets(tmp_path, document):
    config = write(tmp_path, document)
    with pytest.raises(BadDockerConfig) as caught:
        credentials_for("reg", config)
    assert str(tmp_path / "config.json") in str(caught.value)
    assert "secret" not in str(caught.value)
    assert base64.b64encode(b"nocolonsecret").decode() not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "config.json").write_bytes(b'{"auths": "\xff"}')
    with pytest.raises(BadDockerConfig):
        credentials_for("reg", str(tmp_path))


def test_where_the_file_is_looked_for(tmp_path, monkeypatch):
    (tmp_path / "env").mkdir()
    (tmp_path / "home" / ".docker").mkdir(parents=True)
    write(tmp_path / "env", {"auths": {"reg": auth("env", "x")}})
    write(tmp_path / "home" / ".docker", {"auths": {"reg": auth("home", "x")}})
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "env"))
    assert credentials_for("reg").username == "env"
    monkeypatch.delenv("DOCKER_CONFIG")
    assert credentials_for("reg").username == "home"


def test_helpers_are_asked_on_stdin(tmp_path, bin_dir):
    write_helper(bin_dir, "one", """read host; printf '{"ServerURL":"x","Username":"u","Secret":"for %s"}' "$host"\n""")
    write_helper(bin_dir, "two", """cat >/dev/null; echo '{"Username":"<token>","Secret":"refresh"}'\n""")
    config = write(tmp_path, {"credHelpers": {"reg:5000": "one", HUB: "one"}, "credsStore": "two"})
    assert credentials_for("reg:5000", config) == Credentials("u", "for reg:5000")
    assert credentials_for("docker.io", config) == Credentials("u", f"for {HUB}")
    assert credentials_for("other", config) == Credentials(identity_token="refresh")


def test_a_helper_that_has_nothing_is_silent(tmp_path, bin_dir):
    write_helper(bin_dir, "none", "echo 'credentials not found in native keychain'; exit 1\n")
    warnings = []
    assert credentials_for("reg", write(tmp_path, {"credsStore": "none"}), warn=warnings.append) is None
    assert warnings == []


@pytest.mark.parametrize(
    ("name", "body", "word"),
    [
        ("absent", None, "not installed"),
        ("fails", "echo boom >&2; exit 3\n", "boom"),
        ("talks", "echo hello\n", "no JSON"),
        ("half", 'echo \'{"Username":"u"}\'\n', "no JSON"),
        ("../x", None, "no program's name"),
    ],
)
def test_a_helper_that_fails_is_told_and_passed_over(tmp_path, bin_dir, name, body, word):
    if body:
        write_helper(bin_dir, name, body)
    warnings = []
    config = write(tmp_path, {"credsStore": name, "auths": {"reg": auth("joe", "x")}})
    assert credentials_for("reg", config, warn=warnings.append) == Credentials("joe", "x")
    (warning,) = warnings
    assert word in warning
    assert f"docker-credential-{name}" in warning
