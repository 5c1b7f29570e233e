"""Programs of seccomp, made smaller: the kernel converts and compiles the program anew for each container.

libseccomp compares with one number after another. What comes of it depends on the numbers of the architecture and of the
call, and for some calls on arguments. The first two are looked up here by what the program does with them: between two
constants that it compares with nothing changes, so all numbers are known by trying one of each range. What looks at
arguments is copied as it is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

Instruction: TypeAlias = tuple[int, int, int, int]  # code, jump if true, jump if false, constant
Code: TypeAlias = tuple[Instruction, ...]  # jumps are forward and inside
Ranges: TypeAlias = Sequence[tuple[int, Code]]  # the first number of each, and what is done with its numbers

FORMAT = struct.Struct("=HBBI")
LOAD, JUMP, AND, RETURN = 0x20, 0x05, 0x54, 0x06
EQUAL, GREATER, NOT_LESS, HAS_BITS = 0x15, 0x25, 0x35, 0x45
CALL, ARCHITECTURE = 0, 4  # what is loaded: offsets in the kernel's `struct seccomp_data`
_COMPARE: dict[int, Callable[[int, int], bool]] = {
    EQUAL: lambda value, constant: value == constant,
    GREATER: lambda value, constant: value > constant,
    NOT_LESS: lambda value, constant: value >= constant,
}
_LONGEST_TEST = 255
_End = TypeVar("_End")


class NotUnderstood(Exception):
    """A program has instructions, or an order of them, that is not known here."""


def shrink(program: bytes) -> bytes:
    """A program that does the same for all calls of all architectures; the same one, if none is shorter. `NotUnderstood`."""
    old: Code = tuple(FORMAT.iter_unpack(program))
    calls = _bounds(old, CALL)
    architectures = []
    for number in _bounds(old, ARCHITECTURE):
        ends = _merged([(call, _end(old, number, call)) for call in calls])
        copies = {end: _copy(old, end) for end in dict.fromkeys(end for _, end in ends)}
        ranges = [(call, copies[end]) for call, end in ends]
        architectures.append((number, ((LOAD, 0, 0, CALL), *_look_up(_merged(ranges)))))
    new = ((LOAD, 0, 0, ARCHITECTURE), *_look_up(_merged(architectures)))
    return b"".join(FORMAT.pack(*instruction) for instruction in new) if len(new) < len(old) else program


def _bounds(program: Code, offset: int) -> list[int]:
    """The numbers at which something may begin to be done that is not done with the one before."""
    holds: list[set[int]] = [set() for _ in program]  # what may have been loaded where an instruction is reached
    found = {0}
    for at, (code, _, _, constant) in enumerate(program):
        for after in _following(program, at):
            holds[after] |= {constant} if code == LOAD else holds[at]
        if code in _COMPARE and offset in holds[at]:
            found |= {constant, constant + 1}
    return sorted(number for number in found if number < 1 << 32)


def _following(program: Code, at: int) -> list[int]:
    code, if_true, if_false, constant = program[at]
    if code == RETURN:
        return []
    if code == JUMP:
        return [at + 1 + constant]
    return [at + 1 + if_true, at + 1 + if_false] if code in _COMPARE or code == HAS_BITS else [at + 1]


def _end(program: Code, architecture: int, call: int) -> int:
    """The instruction from which on nothing is asked of a call but its arguments."""
    numbers = {CALL: call, ARCHITECTURE: architecture}
    loaded: int | None = None
    at = 0
    while True:
        code, if_true, if_false, constant = program[at]
        if code == RETURN or (code == LOAD and constant not in numbers):
            return at
        if code == LOAD:
            loaded = numbers[constant]
        elif code == JUMP:
            at += constant
        elif code in _COMPARE and loaded is not None:
            at += if_true if _COMPARE[code](loaded, constant) else if_false
        else:
            raise NotUnderstood(f"instruction {code:#x} for a number")
        at += 1


def _copy(program: Code, start: int) -> Code:
    """What is reached from an instruction."""
    reached = {start}
    for at in range(start, len(program)):
        if at in reached:
            reached.update(_following(program, at))
    place = {at: number for number, at in enumerate(sorted(reached))}
    copied = []
    for at in place:
        code, if_true, if_false, constant = program[at]
        if code == JUMP:
            constant = place[at + 1 + constant] - place[at] - 1
        elif code in _COMPARE or code == HAS_BITS:
            if_true, if_false = (place[at + 1 + jump] - place[at] - 1 for jump in (if_true, if_false))
        elif code not in (LOAD, AND, RETURN):
            raise NotUnderstood(f"instruction {code:#x} for an argument")
        copied.append((code, if_true, if_false, constant))
    return tuple(copied)


def _merged(ranges: Sequence[tuple[int, _End]]) -> list[tuple[int, _End]]:
    return [item for number, item in enumerate(ranges) if not number or item[1] != ranges[number - 1][1]]


def _look_up(ranges: Ranges) -> Code:
    """Find the range of the number that is loaded, and do what is done with its numbers."""
    if len(ranges) == 1:
        return ranges[0][1]
    tree = _tree(ranges)
    if tree is not None:
        return tree
    middle = len(ranges) // 2
    low, high = _look_up(ranges[:middle]), _look_up(ranges[middle:])
    return ((NOT_LESS, 0, 1, ranges[middle][0]), (JUMP, 0, 0, len(low)), *low, *high)


def _tree(ranges: Ranges) -> Code | None:
    """A tree of tests, and behind it what is done in the end, each once; None where a jump would be too long."""
    place, size = {}, len(ranges) - 1
    for _, code in ranges:
        if code not in place:
            place[code] = size
            size += len(code)
    tests: list[Instruction] = [(0, 0, 0, 0)] * (len(ranges) - 1)

    def put(first: int, last: int, at: int) -> tuple[int, int]:
        """Tests for some ranges, from `at`: where they begin, and the first place behind them."""
        if first == last:
            return place[ranges[first][1]], at
        middle = (first + last + 1) // 2
        low, free = put(first, middle - 1, at + 1)
        high, free = put(middle, last, free)
        tests[at] = (NOT_LESS, high - at - 1, low - at - 1, ranges[middle][0])
        return at, free

    put(0, len(ranges) - 1, 0)
    if any(jump > _LONGEST_TEST for _, if_true, if_false, _ in tests for jump in (if_true, if_false)):
        return None
    return (*tests, *(instruction for code in place for instruction in code))
