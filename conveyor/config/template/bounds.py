"""How much one rendering may take: its result never depends on the time that a machine needs."""

from __future__ import annotations

from typing import Final

MAX_STEPS: Final = 10_000_000  # of at most 50 ns where this was measured
# A text of a few lines never takes more than that; who has large files to read may take more.
STEPS_FOR_A_BYTE_READ: Final = 4
MAX_STEPS_FOR_FILES: Final = 70_000_000
MAX_WRITTEN: Final = 32 << 20
MAX_DEPTH: Final = 100
# Steps that things take, so that no number of them within the bound takes long.
STEPS_OF_A_NODE: Final = 5
STEPS_OF_A_TOKEN: Final = 3  # in an action that is run
STEPS_OF_A_CALL: Final = 40
STEPS_OF_A_TEMPLATE: Final = 60
STEPS_OF_A_TEXT: Final = 150  # that is parsed
STEPS_OF_AN_ESCAPE: Final = 20
STEPS_OF_A_PARSED_TOKEN: Final = 28
STEPS_OF_AN_ELEMENT: Final = 4
STEPS_OF_A_NEW_ENTRY: Final = 16
STEPS_OF_A_VERB: Final = 45  # of `printf`
STEPS_OF_A_FORMATTED_FLOAT: Final = 200
STEPS_OF_A_SORTED_ENTRY: Final = 12
STEPS_OF_A_PRINTED_VALUE: Final = 60
STEPS_OF_A_PRINTED_CHARACTER: Final = 10  # of a list or map
LEAST_EXTENT: Final = 100  # characters: functions that walk are slow with the shortest, too
CHARACTERS_READ_IN_A_STEP: Final = 16
CHARACTERS_MADE_IN_A_STEP: Final = 4
