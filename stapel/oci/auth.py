"""Who we are to a registry: credentials from docker's `config.json` and the helpers that it names.

`docker login` writes that file; whatever works for `docker pull` and `docker push` works here. Nothing is ever written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stapel.oci.errors import StapelError
from stapel.oci.reference import DOCKER_HUB, DOCKER_HUB_API

if TYPE_CHECKING:
    from pathlib import Path

DOCKER_HUB_KEY = "https://index.docker.io/v1/"
HELPER_TIMEOUT_S = 60

Warn = Callable[[str], None]

_DOCKER_HUB_HOSTS = frozenset({DOCKER_HUB, "index.docker.io", DOCKER_HUB_API})
_TOKEN_USER = "<token>"  # noqa: S105 -- the user name by which helpers say that the secret is an identity token


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a registry knows us by. Secrets never show in a repr."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)  # given to the token server instead of a password
    registry_token: str = field(default="", repr=False)  # a bearer token, given to the registry as it is


class BadDockerConfig(StapelError):
    """docker's `config.json` cannot be read; the message names the file."""

    reason = "bad_docker_config"


def config_path(docker_config: str | None = None) -> Path:
    """Where `config.json` is: in `docker_config` (a directory), else $DOCKER_CONFIG, else ~/.docker."""
    import os
    from pathlib import Path

    directory = docker_config or os.environ.get("DOCKER_CONFIG") or ""
    if directory:
        return Path(directory) / "config.json"
    try:
        return Path.home() / ".docker" / "config.json"
    except RuntimeError:
        # No home: a machine without credentials, not a failure.
        return Path("/.docker/config.json")


def credentials_for(host: str, docker_config: str | None = None, *, warn: Warn | None = None) -> Credentials | None:
    """The credentials of a registry host (`docker.io`, `reg.example.com:5000`); None: ask as nobody.

    A helper for this host is asked first (`credHelpers`, then `credsStore`), then `auths`. A helper that is missing or
    fails is told to `warn` and passed over. `BadDockerConfig` where the file is there and makes no sense.
    """
    path = config_path(docker_config)
    document = _read(path)
    if not document:
        return None
    host = DOCKER_HUB if host.lower() in _DOCKER_HUB_HOSTS else host.lower()
    helper = _helper_for(path, document, host)
    if helper:
        found = _ask_helper(helper, DOCKER_HUB_KEY if host == DOCKER_HUB else host, path, warn)
        if found is not None:
            return found
    return _from_auths(path, _table(path, document, "auths"), host)


def docker_auth(host: str, docker_config: str | None = None, *, warn: Warn | None = None) -> dict[str, str]:
    """The same for Docker Engine's X-Registry-Auth (the SDK's `auth_config`); {} where there are none."""
    credentials = credentials_for(host, docker_config, warn=warn)
    if credentials is None:
        return {}
    address = {"serveraddress": DOCKER_HUB_KEY if host.lower() in _DOCKER_HUB_HOSTS else host}
    if credentials.registry_token:
        return {"registrytoken": credentials.registry_token, **address}
    if credentials.identity_token:
        return {"identitytoken": credentials.identity_token, **address}
    return {"username": credentials.username, "password": credentials.password, **address}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise BadDockerConfig(f"{path} cannot be read: {error.strerror or error}") from error
    if not data.strip():
        return {}
    import json

    try:
        document = json.loads(data)
    except ValueError as error:  # JSON and UTF-8 errors both
        raise BadDockerConfig(f"{path} is not JSON: {error}", hint="mend it, or write it anew by docker login") from error
    if not isinstance(document, dict):
        raise BadDockerConfig(f"{path} is not a JSON object", hint="mend it, or write it anew by docker login")
    return document


def _table(path: Path, document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadDockerConfig(f"{path}: {key} is not a JSON object")
    return value


def _helper_for(path: Path, document: Mapping[str, Any], host: str) -> str:
    helpers = _table(path, document, "credHelpers")
    for key in _matching(helpers, host):
        if isinstance(helpers[key], str):
            return str(helpers[key])
    store = document.get("credsStore") or ""
    return store if isinstance(store, str) else ""


def _matching(keys: Mapping[str, Any], host: str) -> list[str]:
    """Keys that mean `host`, the plainest spelling first: `host`, then with a scheme, then with a path."""
    matching = [key for key in keys if _host_of(key) == host]
    return sorted(matching, key=lambda key: (key.lower() != host, key.partition("://")[2].count("/"), len(key), key))


def _host_of(key: str) -> str:
    """The host that a key of `auths` means: without scheme and path, Docker Hub by its one name."""
    host = key.lower()
    for scheme in ("https://", "http://"):
        host = host.removeprefix(scheme)
    host = host.partition("/")[0]
    return DOCKER_HUB if host in _DOCKER_HUB_HOSTS else host


def _from_auths(path: Path, auths: Mapping[str, Any], host: str) -> Credentials | None:
    for key in _matching(auths, host):
        entry = auths[key]
        if not isinstance(entry, dict):
            raise BadDockerConfig(f"{path}: the entry of {key} in auths is not a JSON object")
        found = _entry(path, key, {name: value for name, value in entry.items() if isinstance(value, str)})
        if found is not None:
            return found
    return None


def _entry(path: Path, key: str, entry: Mapping[str, str]) -> Credentials | None:
    username, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth"):
        username, password = _decode(path, key, entry["auth"])
    if entry.get("registrytoken"):
        return Credentials(username, registry_token=entry["registrytoken"])
    if entry.get("identitytoken"):
        return Credentials(username, identity_token=entry["identitytoken"])
    if username or password:
        return Credentials(username, password)
    return None


def _decode(path: Path, key: str, auth: str) -> tuple[str, str]:
    import base64

    try:
        text = base64.b64decode(auth.strip() + "=" * (-len(auth.strip()) % 4), validate=True).decode()
    except ValueError:
        text = ""
    username, colon, password = text.partition(":")
    if not colon:
        # The value is a secret: the message must not hold it.
        raise BadDockerConfig(
            f"{path}: auth of {key} is not the base64 of USER:PASSWORD", hint=f"write it anew: docker login {key}"
        )
    return username, password.rstrip("\0")


def _ask_helper(helper: str, server: str, path: Path, warn: Warn | None) -> Credentials | None:
    import json
    import subprocess

    program = f"docker-credential-{helper}"
    found, why = None, ""
    try:
        if "/" in helper or "\0" in helper:
            raise OSError(0, "that is no program's name")
        # The helper that the user's own configuration names.
        done = subprocess.run(
            [program, "get"], input=server.encode(), capture_output=True, timeout=HELPER_TIMEOUT_S, check=False
        )
        if done.returncode == 0:
            found = _read_helper(json.loads(done.stdout))
        else:
            said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
            if "credentials not found" not in said.lower():
                why = f"failed ({said[:200] or f'exit status {done.returncode}'})"
    except FileNotFoundError:
        why = "is not installed"
    except subprocess.TimeoutExpired:
        why = f"did not answer within {HELPER_TIMEOUT_S} s"
    except OSError as error:
        why = f"cannot be run ({error.strerror})"
    except (ValueError, KeyError, TypeError):
        why = "answered something that is no JSON with Username and Secret"
    if why and warn is not None:
        warn(f"{path} names the credential helper {program} for {server}, which {why}: going on without its credentials")
    return found


def _read_helper(answer: Any) -> Credentials | None:  # noqa: ANN401 -- JSON of another program
    username, secret = str(answer["Username"]), str(answer["Secret"])
    if not username and not secret:
        return None
    return Credentials(identity_token=secret) if username == _TOKEN_USER else Credentials(username, secret)
