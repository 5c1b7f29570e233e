"""Templates of tests: what they give, and how they fail."""

from __future__ import annotations

import pytest

from conveyor.config.template.api import TemplateError, render


def give(source, root=None, *, loose=False):
    return render(source, templates={}, root={} if root is None else root, read_environment=lambda name: None, loose=loose)


def fail(source, root=None, *, loose=False):
    with pytest.raises(TemplateError) as raised:
        give(source, root, loose=loose)
    return str(raised.value)
