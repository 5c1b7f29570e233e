"""Values of secrets: when they are read, what is told where one is missing, what the mask knows."""

import pytest
from msgspec.structs import replace

from conveyor.build.secret_values import MOST_BYTES, SecretValues
from conveyor.config.secret import Secret
from conveyor.errors import ConfigError
from tests.unit.build.worlds import HERE, image


def secret(name, kind, origin):
    return Secret(HERE, name, kind, origin)


def with_secrets(name, *secrets):
    return replace(image(name), secrets=secrets)


def test_values_of_each_kind(tmp_path, monkeypatch):
    (tmp_path / "near").write_bytes(b"\xff\0near\n")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/far").write_bytes(b"far")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    app = with_secrets(
        "app",
        secret("a", "env", "A"),
        secret("near", "src", "near"),
        secret("far", "src", "~/far"),
        secret("plain", "value", "ü"),
        secret("empty", "env", "EMPTY"),
    )
    values = SecretValues([app], tmp_path, {"A": "of A\udcff", "EMPTY": ""})
    assert values.of(app) == {
        "a": b"of A\xff",
        "near": b"\xff\0near\n",
        "far": b"far",
        "plain": "ü".encode(),
        "empty": b"",
    }


def test_all_that_is_missing_of_an_image_is_told_at_once_and_the_others_go_on(tmp_path):
    (tmp_path / "large").write_bytes(b"x" * (MOST_BYTES + 1))
    (tmp_path / "full").write_bytes(b"x" * MOST_BYTES)
    bad = with_secrets("bad", secret("A", "env", "A"), secret("f", "src", "absent"), secret("l", "src", "large"))
    good = with_secrets("good", secret("full", "src", "full"))
    values = SecretValues([bad, good], tmp_path, {})
    assert len(values.of(good)["full"]) == MOST_BYTES
    with pytest.raises(ConfigError) as caught:
        values.of(bad)
    assert [problem.place for problem in caught.value.problems] == [HERE] * 3
    told = str(caught.value)
    assert "the variable A is not set" in told and "absent cannot be read" in told and "has more than" in told


def test_the_mask_knows_the_values_of_all_images(tmp_path):
    one, other = with_secrets("one", secret("a", "env", "A")), with_secrets("two", secret("b", "value", "(s.e*cret)"))
    mask = SecretValues([one, other], tmp_path, {"A": "password"}).mask()
    assert mask.replace(b"password (s.e*cret) sXeecret") == b"*** *** sXeecret"


def test_each_value_is_read_once(tmp_path):
    (tmp_path / "f").write_text("first")
    app = with_secrets("app", secret("f", "src", "f"))
    values = SecretValues([app], tmp_path, {})
    assert values.of(app) == {"f": b"first"}
    (tmp_path / "f").write_text("second")
    assert values.of(app) == {"f": b"first"}
    assert values.mask().replace(b"first second") == b"*** second"
