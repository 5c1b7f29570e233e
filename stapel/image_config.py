"""The configuration of a stage's image, computed from its parent's and never taken from an engine.

CMD, ENTRYPOINT, USER, WORKDIR and ENV stay as the base has them. Where the base has no CMD or no ENTRYPOINT they become `[]`
and `[""]` (engines take `[""]` for none). A configured CMD resets the base's ENTRYPOINT, a configured ENTRYPOINT the base's
CMD; all else is as a Dockerfile has it. Values are taken as they are written: lists stay lists, nothing is joined or quoted.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from stapel.oci.api import ImageConfig

NO_ENTRYPOINT: tuple[str, ...] = ("",)
NO_COMMAND: tuple[str, ...] = ()

_VARIABLE = r"\\(\$)|\$(?:\{(\w+)\}|(\w+))"
_DURATION = r"([0-9]+(?:\.[0-9]+)?)(ns|us|ms|s|m|h)"
_NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
# What engines write into a configuration of their own accord, about the container that an image was committed from.
_LEFTOVERS = ("container", "container_config", "docker_version", "parent", "throwaway", "id")
_RUN_LEFTOVERS = (
    "Hostname",
    "Domainname",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "Image",
    "NetworkDisabled",
    "MacAddress",
)


class Instructions(Struct, frozen=True):
    """Configured values; `None` is "not configured". `cmd` and `entrypoint`: text is the shell form, a tuple exec.

    `$NAME` and `${NAME}` in the others are variables of the base, as in a Dockerfile, but for `exact_values`.
    """

    volume: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    label: Mapping[str, str] = field(default_factory=dict)
    cmd: str | tuple[str, ...] | None = None
    entrypoint: str | tuple[str, ...] | None = None
    workdir: str | None = None
    user: str | None = None
    healthcheck: str | None = None
    exact_values: bool = False


def configure(
    base: ImageConfig,
    instructions: Instructions | None,
    *,
    labels: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
) -> ImageConfig:
    """The base's configuration with instructions, labels and variables on top. `ValueError` for values without a meaning."""
    run: dict[str, Any] = {key: value for key, value in base.run.items() if key not in _RUN_LEFTOVERS}
    run["Cmd"] = list(run.get("Cmd") or NO_COMMAND)
    run["Entrypoint"] = list(run.get("Entrypoint") or NO_ENTRYPOINT)
    if instructions is not None:
        _instruct(run, instructions)
    if env:
        run["Env"] = _merge_env(run, env)
    if labels:
        run["Labels"] = {**(run.get("Labels") or {}), **labels}
    document = {key: value for key, value in base.document.items() if key not in _LEFTOVERS}
    return ImageConfig({**document, "config": run})


def drop_labels(config: ImageConfig, prefix: str) -> ImageConfig:
    """Without the labels whose names start with `prefix`, and completed as `configure` does."""
    labels = {name: value for name, value in config.labels.items() if not name.startswith(prefix)}
    plain = configure(config, None)
    return plain.with_(run={**plain.run, "Labels": labels or None})


def child(base: ImageConfig, *, diff_ids: tuple[str, ...], created_ms: int) -> ImageConfig:
    """The configuration with these layers: new ones get an entry in the history that says when and nothing else.

    A base with layers and an empty history has had it cleared: it stays empty.
    """
    created = format_time(created_ms)
    history = [entry for entry in base.document.get("history") or [] if isinstance(entry, Mapping)]
    layers = sum(1 for entry in history if not entry.get("empty_layer"))
    if layers > len(diff_ids):
        history, layers = [], 0
    if not (base.document.get("history") == [] and base.diff_ids):
        history += [{"created": created}] * (len(diff_ids) - layers)
    return base.with_(
        rootfs={"type": "layers", "diff_ids": list(diff_ids)},
        history=history,
        created=created,
        os=base.document.get("os") or "linux",
        architecture=base.document.get("architecture") or "amd64",
    )


def empty_config(platform: str) -> ImageConfig:
    """The configuration of an image without layers."""
    system, _, rest = platform.partition("/")
    architecture, _, variant = rest.partition("/")
    document = {"os": system, "architecture": architecture, "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
    return ImageConfig({**document, "variant": variant} if variant else document)


def fits_platform(image_platform: str, wanted: str) -> bool:
    """Whether an image is of a platform; without a variant any variant is."""
    there, asked = image_platform.split("/"), wanted.split("/")
    shorter = min(len(there), len(asked))
    return not wanted or there[:shorter] == asked[:shorter]


def format_time(time_ms: int) -> str:
    """A time as configurations have it."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _instruct(run: dict[str, Any], given: Instructions) -> None:
    variables = _variables(run)

    def resolve(text: str) -> str:
        return text if given.exact_values else _expand(text, variables)

    if given.cmd is not None:
        run["Cmd"] = _command(given.cmd)
        if given.entrypoint is None:
            run["Entrypoint"] = list(NO_ENTRYPOINT)
    if given.entrypoint is not None:
        run["Entrypoint"] = _command(given.entrypoint) or list(NO_ENTRYPOINT)
        if given.cmd is None:
            run["Cmd"] = list(NO_COMMAND)
    if given.user is not None:
        run["User"] = resolve(given.user)
    if given.workdir is not None:
        run["WorkingDir"] = posixpath.normpath(posixpath.join("/", run.get("WorkingDir") or "/", resolve(given.workdir)))
    if given.volume:
        run["Volumes"] = {**(run.get("Volumes") or {}), **{resolve(path): {} for path in given.volume}}
    if given.expose:
        ports: dict[str, Any] = {port: {} for text in given.expose for port in _ports(text, resolve(text))}
        run["ExposedPorts"] = {**(run.get("ExposedPorts") or {}), **ports}
    if given.env:
        run["Env"] = _merge_env(run, {name: resolve(value) for name, value in given.env.items()})
    if given.label:
        run["Labels"] = {**(run.get("Labels") or {}), **{name: resolve(value) for name, value in given.label.items()}}
    if given.healthcheck is not None:
        run["Healthcheck"] = parse_healthcheck(given.healthcheck)


def _command(value: str | tuple[str, ...]) -> list[str]:
    return ["/bin/sh", "-c", value] if isinstance(value, str) else list(value)


def _variables(run: Mapping[str, Any]) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in run.get("Env") or [])


def _merge_env(run: Mapping[str, Any], env: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in {**_variables(run), **env}.items()]


def _expand(value: str, variables: Mapping[str, str]) -> str:
    """`$NAME` and `${NAME}` of the base's environment; `\\$` is a dollar."""
    return re.sub(_VARIABLE, lambda match: match[1] or variables.get(match[2] or match[3], ""), value, flags=re.ASCII)


def _ports(written: str, text: str) -> list[str]:
    ports, _, protocol = text.strip().partition("/")
    first, _, last = ports.partition("-")
    if not first.isdigit() or (last and not last.isdigit()):
        raise ValueError(f"EXPOSE {written}: a port, or a range of ports, is asked for, not `{text}`")
    return [f"{port}/{(protocol or 'tcp').lower()}" for port in range(int(first), int(last or first) + 1)]


def parse_healthcheck(text: str) -> dict[str, Any]:
    """The Dockerfile's form: `NONE`, or `[--interval=30s] ... CMD command`. `ValueError`."""
    flags: dict[str, str] = {}
    rest = text.strip()
    while match := re.match(r"--([a-z-]+)=(\S+)\s+", rest):
        flags[match[1]] = match[2]
        rest = rest[match.end() :]
    keyword, _, command = rest.partition(" ")
    if keyword.upper() == "NONE" and not command:
        return {"Test": ["NONE"]}
    if keyword.upper() != "CMD" or not command.strip():
        raise ValueError(f"HEALTHCHECK {text}: `NONE`, or flags and `CMD command`, is asked for")
    check: dict[str, Any] = {"Test": _health_test(command.strip())}
    names = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod", "retries": "Retries"}
    for flag, value in flags.items():
        if flag not in names:
            raise ValueError(f"HEALTHCHECK {text}: --{flag} is not known (known: {', '.join(names)})")
        if flag == "retries" and not value.isdecimal():
            raise ValueError(f"HEALTHCHECK {text}: --retries is a number, not {value}")
        check[names[flag]] = int(value) if flag == "retries" else parse_duration_ns(value)
    return check


def _health_test(command: str) -> list[str]:
    import json

    if command.startswith("["):
        try:
            parsed = json.loads(command)
        except ValueError:
            parsed = None  # the shell has a `[` of its own
        if isinstance(parsed, list) and all(isinstance(item, str) for item in parsed):
            return ["CMD", *parsed]
    return ["CMD-SHELL", command]


def parse_duration_ns(text: str) -> int:
    """Nanoseconds of `30s`, `1m30s`, `500ms`. `ValueError`."""
    pieces = re.findall(_DURATION, text, re.ASCII)
    if "".join(number + unit for number, unit in pieces) != text or not pieces:
        raise ValueError(f"{text} is no duration (30s, 1m30s, 500ms)")
    return round(sum(float(number) * _NANOSECONDS[unit] for number, unit in pieces))
