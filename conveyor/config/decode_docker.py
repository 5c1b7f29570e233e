"""The directive `docker`: the configuration of an image."""

from __future__ import annotations

import re

from conveyor.config.fields import Fields
from conveyor.config.findings import Findings
from conveyor.config.models import DockerInstructions
from conveyor.config.nodes import Node
from conveyor.config.tables.image import DOCKER

_PORT = r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(?:tcp|udp|sctp))?"


def decode_docker(findings: Findings, node: Node, place: Node) -> DockerInstructions:
    """The instructions of one image."""
    fields = Fields(findings, node, "`docker`", DOCKER)
    env = fields.text_map("ENV")
    for name in env:
        if not name or "=" in name:
            findings.add(fields.key("ENV"), f"`{name}` in `ENV` cannot name a variable")
    label = fields.text_map("LABEL")
    if "" in label:
        findings.add(fields.key("LABEL"), "a label needs a name")
    check_ports(fields, "EXPOSE")
    for volume in fields.text_nodes("VOLUME"):
        if not volume.text.strip():
            findings.add(volume, "`VOLUME` needs a path")
    return DockerInstructions(
        place=findings.place(place),
        volume=fields.texts("VOLUME"),
        expose=fields.texts("EXPOSE"),
        env=env,
        label=label,
        cmd=_command(fields, "CMD"),
        entrypoint=_command(fields, "ENTRYPOINT"),
        workdir=nonempty_text(fields, "WORKDIR"),
        user=nonempty_text(fields, "USER"),
        healthcheck=_healthcheck(fields),
        exact_values=fields.flag("exactValues"),
    )


def _command(fields: Fields, name: str) -> str | tuple[str, ...] | None:
    value = fields.value(name)
    if value is None:
        return None
    return value.text if value.kind == "scalar" else fields.texts(name)


def _healthcheck(fields: Fields) -> str | None:
    value, text = fields.value("HEALTHCHECK"), nonempty_text(fields, "HEALTHCHECK")
    if value is not None and text and text.strip():
        from stapel.image_config import parse_healthcheck

        try:
            parse_healthcheck(text)
        except ValueError as error:
            hint = "write `NONE`, or `CMD command` behind flags as `--interval=30s`, `--retries=3`"
            fields.findings.add(value, str(error), hint)
    return text


def check_ports(fields: Fields, name: str) -> None:
    """Note what is no port, nor a range of ports."""
    for port in fields.text_nodes(name):
        if "$" not in port.text and not _is_port(port.text):
            fields.findings.add(port, f"`{name}: {port.text}` is not a port", "write `8080`, `53/udp` or `7000-7010`")


def nonempty_text(fields: Fields, name: str) -> str | None:
    """A text; an empty one is noted. None where it is not given."""
    value = fields.value(name)
    if value is None:
        return None
    text = fields.text(name)
    if value.kind == "scalar" and not text.strip():
        fields.findings.add(value, f"`{name}` is empty", "remove it")
    return text


def _is_port(text: str) -> bool:
    match = re.fullmatch(_PORT, text, re.IGNORECASE)
    return match is not None and 1 <= int(match[1]) <= int(match[2] or match[1]) <= 65535
