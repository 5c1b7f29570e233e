"""Worlds for the tests of this room: those of the build."""

from __future__ import annotations

from tests.unit.build.conftest import commit, own_settings, source, world

__all__ = ["commit", "own_settings", "source", "world"]
