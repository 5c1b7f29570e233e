"""How much one rendering may take: its result never depends on the time that a machine needs."""

from __future__ import annotations

from typing import Final

MAX_STEPS: Final = 20_000_000  # of some tenths of a microsecond
MAX_WRITTEN: Final = 32 << 20
MAX_DEPTH: Final = 100
# Steps that things take, so that no number of them within the bound takes long.
STEPS_OF_A_NODE: Final = 5
STEPS_OF_A_CALL: Final = 40
STEPS_OF_A_PARSED_ACTION: Final = 100
STEPS_OF_AN_ELEMENT: Final = 4
STEPS_OF_A_NEW_ENTRY: Final = 16
STEPS_OF_A_PRINTED_CHARACTER: Final = 4  # of a list or map
LEAST_EXTENT: Final = 100  # characters: functions that walk are slow with the shortest, too
CHARACTERS_READ_IN_A_STEP: Final = 16
CHARACTERS_MADE_IN_A_STEP: Final = 4

TOO_MANY_STEPS: Final = f"the templates took more than {MAX_STEPS} steps"
