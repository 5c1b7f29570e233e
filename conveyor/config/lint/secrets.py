"""Texts that look like secrets, by their name or by their shape."""

from __future__ import annotations

import re

_NAME = re.compile(
    r"(?:passw(?:or)?d|passphrase|secret|token|api_?key|access_?key|private_?key|secret_?key|credentials?)$", re.IGNORECASE
)
_HARMLESS = re.compile(r"|\$.*|/.*|[01]|true|false|yes|no|none|null|<no value>", re.IGNORECASE)
# Every repetition has a bound: a text is read in time that grows with its length.
_SHAPES = (
    (re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----"), "a private key"),
    (re.compile(r"\bgh[pousr]_[A-Za-z0-9]{30}|\bgithub_pat_\w{22}"), "a token of GitHub"),
    (re.compile(r"\bglpat-[\w-]{16}"), "a token of GitLab"),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), "an access key of AWS"),
    (re.compile(r"\bxox[abprs]-[\w-]{10}"), "a token of Slack"),
    (re.compile(r"\beyJ[\w-]{8,1000}\.eyJ[\w-]{8,4000}\.[\w-]"), "a JSON Web Token"),
    (re.compile(r"\b[a-z][a-z0-9+.-]{0,20}://[^/\s:@$]{1,256}:[^/\s:@$]{1,256}@"), "a URL with a password"),
)
_LONGEST_TEXT = 100_000


def secret_name(name: str, value: str) -> bool:
    """Whether a variable is most likely a secret that is written out: a reference to one, a path or a switch is none."""
    return bool(_NAME.search(name)) and not _HARMLESS.fullmatch(value.strip())


def secret_shape(text: str) -> str:
    """What kind of secret a text holds; "" where none is seen."""
    if len(text) > _LONGEST_TEXT:
        text = text[:_LONGEST_TEXT]
    return next((kind for shape, kind in _SHAPES if shape.search(text)), "")
