"""What an image shall be, whatever it was built on: values taken away from its configuration, and values set.

Apart from `stapel.image_config`, because few images ask for it. Nothing here depends on files: a configuration goes in, and
another one comes out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from stapel.image_config import NO_COMMAND, NO_ENTRYPOINT, Instructions, configure
from stapel.oci.api import ImageConfig

_BRACED = re.compile(r"\$\{(\w+)\}", re.ASCII)


class ImageSpec(Struct, frozen=True):
    """Configured values; `None` is "not configured". What `remove_*` names is a text, or `/re/` for all of a name.

    `healthcheck` is as an image's configuration has it: `Test`, and `Interval`, `Timeout`, `StartPeriod` in nanoseconds,
    `Retries`.
    """

    author: str | None = None
    clear_history: bool | None = None
    clear_cmd: bool = False
    clear_entrypoint: bool = False
    clear_user: bool = False
    clear_working_dir: bool = False
    remove_labels: tuple[str, ...] = ()
    remove_volumes: tuple[str, ...] = ()
    remove_env: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    user: str | None = None
    working_dir: str | None = None
    stop_signal: str | None = None
    cmd: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    healthcheck: Mapping[str, int | tuple[str, ...]] | None = None


def apply_spec(base: ImageConfig, spec: ImageSpec) -> ImageConfig:
    """The configuration with all that the spec takes away gone, then all that it sets in place.

    `${NAME}` in a variable is the base's value of `NAME`, the empty text where it has none. A configured entrypoint resets
    the base's CMD; a configured CMD leaves its entrypoint, which `clear_entrypoint` takes away. With `clear_history` nothing
    is told of how any layer was made.
    """
    before = configure(base, None)
    variables = dict(text.partition("=")[::2] for text in before.run.get("Env") or ())
    given = Instructions(
        volume=spec.volumes,
        expose=spec.expose,
        env={name: _expand(value, variables) for name, value in spec.env.items()},
        label=spec.labels,
        entrypoint=spec.entrypoint,
        workdir=spec.working_dir,
        user=spec.user,
        exact_values=True,
    )
    run: dict[str, Any] = {**configure(before.with_(run=_without(before.run, spec)), given).run}
    if spec.cmd is not None:
        run["Cmd"] = list(spec.cmd)
    if spec.stop_signal is not None:
        run["StopSignal"] = spec.stop_signal
    if spec.healthcheck is not None:
        run["Healthcheck"] = {
            name: list(value) if isinstance(value, tuple) else value for name, value in spec.healthcheck.items()
        }
    fields: dict[str, Any] = {}
    if spec.author is not None:
        fields["author"] = spec.author
    if spec.clear_history:
        fields["history"] = []
    return before.with_(run=run, **fields)


def _without(run: Mapping[str, Any], spec: ImageSpec) -> dict[str, Any]:
    kept = dict(run)
    kept["Labels"] = _filtered(run.get("Labels") or {}, spec.remove_labels) or None
    kept["Volumes"] = _filtered(run.get("Volumes") or {}, spec.remove_volumes) or None
    matches = _matcher(spec.remove_env)
    kept["Env"] = [text for text in run.get("Env") or () if not matches(text.partition("=")[0])]
    if spec.clear_cmd:
        kept["Cmd"] = list(NO_COMMAND)
    if spec.clear_entrypoint:
        kept["Entrypoint"] = list(NO_ENTRYPOINT)
    if spec.clear_user:
        kept["User"] = ""
    if spec.clear_working_dir:
        kept["WorkingDir"] = ""
    return kept


def _filtered(values: Mapping[str, Any], removed: Sequence[str]) -> dict[str, Any]:
    matches = _matcher(removed)
    return {name: value for name, value in values.items() if not matches(name)}


def _matcher(removed: Sequence[str]) -> Callable[[str], bool]:
    texts = frozenset(removed)
    expressions = [pattern for text in removed if (pattern := pattern_of(text)) is not None]
    if not expressions:
        return texts.__contains__
    import re2  # type: ignore[import-untyped, unused-ignore] # no expression takes more than linear time

    patterns = [re2.compile(expression) for expression in expressions]
    return lambda name: name in texts or any(pattern.fullmatch(name) is not None for pattern in patterns)


def pattern_of(text: str) -> str | None:
    """The regular expression that a text of `remove_*` is; None where it is a plain name."""
    return text[1:-1] if len(text) > 2 and text.startswith("/") and text.endswith("/") else None


def _expand(value: str, variables: Mapping[str, str]) -> str:
    return _BRACED.sub(lambda match: variables.get(match[1], ""), value)
