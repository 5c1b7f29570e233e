"""The directive `imageSpec`, of the project (`build.imageSpec`) and of an image.

What an image says wins over what the project says: the nearer word is the later thought, and one image can be an exception.
Labels are merged by name, and what is to be removed is united.
"""

from __future__ import annotations

from msgspec.structs import replace

from conveyor.config.decode_docker import check_ports, nonempty_text
from conveyor.config.fields import Fields
from conveyor.config.findings import Findings
from conveyor.config.nodes import Node
from conveyor.config.scalars import integer
from conveyor.config.tables.image_spec import HEALTHCHECK, IMAGE_SPEC, OF_IMAGE, PROJECT_SPEC, SHARED
from stapel.image_config import parse_duration_ns
from stapel.image_spec import ImageSpec, pattern_of

_DURATIONS = {"interval": "Interval", "timeout": "Timeout", "startperiod": "StartPeriod", "startPeriod": "StartPeriod"}
_TESTS = ("NONE", "CMD", "CMD-SHELL")
# What a base brings along that werf has built. Of ours only the label that stages are found by stays, in any case.
_LABELS_OF_WERF = "/werf(?:[-.].*)?/"
_LEAST_NS = 1_000_000  # the shortest duration that engines take

_LONGEST_EXPRESSION, _LONGEST_SHOWN = 1000, 200  # characters


def decode_project_spec(findings: Findings, node: Node) -> ImageSpec | None:
    """`build.imageSpec`; None where it says nothing."""
    spec = Fields(findings, node, "`build.imageSpec`", PROJECT_SPEC)
    config = spec.map_node("config")
    forbidden = "is for the `imageSpec` of an image, not for that of all images"
    shared = Fields(findings, config, "`build.imageSpec.config`", SHARED, tuple(OF_IMAGE), forbidden) if config else None
    found = _shared(spec, shared)
    return None if found == ImageSpec() else found


def decode_image_spec(findings: Findings, node: Node) -> ImageSpec | None:
    """That of an image; None where it says nothing."""
    spec = Fields(findings, node, "`imageSpec`", IMAGE_SPEC)
    node_of_config = spec.map_node("config")
    if node_of_config is None:
        found = _shared(spec, None)
        return None if found == ImageSpec() else found
    config = Fields(findings, node_of_config, "`imageSpec.config`", (*SHARED, *OF_IMAGE))
    for name in config.text_map("env"):
        if not name or "=" in name:
            findings.add(config.key("env"), f"`{name}` in `env` cannot name a variable")
    check_ports(config, "expose")
    found = replace(
        _shared(spec, config),
        clear_cmd=config.flag("clearCmd"),
        clear_entrypoint=config.flag("clearEntrypoint"),
        clear_user=config.flag("clearUser"),
        clear_working_dir=config.flag("clearWorkingDir"),
        remove_volumes=_removed(config, "removeVolumes"),
        remove_env=_removed(config, "removeEnv"),
        env=config.text_map("env"),
        volumes=config.texts("volumes"),
        expose=config.texts("expose"),
        user=nonempty_text(config, "user"),
        working_dir=nonempty_text(config, "workingDir"),
        stop_signal=nonempty_text(config, "stopSignal"),
        cmd=_words(config, "cmd"),
        entrypoint=_words(config, "entrypoint"),
        healthcheck=_healthcheck(config),
    )
    return None if found == ImageSpec() else found


def merge_specs(project: ImageSpec | None, own: ImageSpec | None) -> ImageSpec | None:
    """What holds for an image of which the project and the image itself say something."""
    if project is None or own is None:
        return own or project
    return replace(
        own,
        author=own.author if own.author is not None else project.author,
        clear_history=own.clear_history if own.clear_history is not None else project.clear_history,
        remove_labels=tuple(dict.fromkeys((*project.remove_labels, *own.remove_labels))),
        labels={**project.labels, **own.labels},
    )


def _shared(spec: Fields, config: Fields | None) -> ImageSpec:
    """What the project may say too."""
    removed: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    if config is not None:
        config.flag("keepEssentialWerfLabels")  # what cleanup needs is kept anyway
        removed = _removed(config, "removeLabels")
        if config.flag("clearWerfLabels"):
            removed = (*removed, _LABELS_OF_WERF)
        labels = config.text_map("labels")
        if "" in labels:
            config.findings.add(config.key("labels"), "a label needs a name")
    return ImageSpec(
        author=nonempty_text(spec, "author"),
        clear_history=spec.flag("clearHistory") if spec.has("clearHistory") else None,
        remove_labels=removed,
        labels=labels,
    )


def _removed(config: Fields, name: str) -> tuple[str, ...]:
    for node in config.text_nodes(name):
        pattern = pattern_of(node.text)
        if not node.text:
            config.findings.add(node, f"`{name}` holds an empty text", "remove it")
        elif pattern is not None:
            from conveyor.config.giterminism.matching import expression_mistake

            long = len(pattern) > _LONGEST_EXPRESSION
            mistake = f"more than {_LONGEST_EXPRESSION} characters" if long else expression_mistake(node.text)
            if mistake:
                shown = node.text[:_LONGEST_SHOWN]
                message = f"`{name}`: `{shown}` is no regular expression: {mistake[:_LONGEST_SHOWN]}"
                config.findings.add(node, message, "a text between two `/` is a regular expression for the whole of a name")
    return config.texts(name)


def _words(config: Fields, name: str) -> tuple[str, ...] | None:
    value = config.value(name)
    if value is None:
        return None
    if value.kind == "scalar":
        hint = f"write `{name}: [program, argument]`, or `{name}: [/bin/sh, -c, ...]` for a shell"
        config.findings.add(value, f"`{name}` in `imageSpec.config` must be a list of texts", hint)
        return None
    return config.texts(name)


def _healthcheck(config: Fields) -> dict[str, int | tuple[str, ...]] | None:
    node = config.map_node("healthcheck")
    if node is None:
        return None
    fields = Fields(config.findings, node, "`healthcheck`", HEALTHCHECK)
    found: dict[str, int | tuple[str, ...]] = {}
    test = _words(fields, "test")
    if test is not None:
        if test[:1] == () or test[0] not in _TESTS:
            hint = "write `[CMD, program, argument]`, `[CMD-SHELL, command]` or `[NONE]`"
            config.findings.add(fields.key("test"), "`test` in `healthcheck` begins with `CMD`, `CMD-SHELL` or `NONE`", hint)
        found["Test"] = test
    for name, key in _DURATIONS.items():
        if fields.has(name):
            found[key] = _duration_ns(fields, name)
    if fields.has("retries"):
        found["Retries"] = fields.whole("retries", 0, least=0)
    return found


def _duration_ns(fields: Fields, name: str) -> int:
    """A duration as `30s`, or a number: of seconds, but nanoseconds where so few of them would be no time at all."""
    value = fields.value(name)
    assert value is not None
    text = fields.text(name)
    if value.kind == "scalar":
        number = integer(value)
        if number is not None and number >= 0:
            return number if number >= _LEAST_NS else number * 1_000_000_000
        try:
            return parse_duration_ns(text)
        except ValueError:
            hint = "write `30s`, `1m30s` or a number of seconds"
            fields.findings.add(value, f"`{name}: {text}` in `healthcheck` is not a duration", hint)
    return 0
