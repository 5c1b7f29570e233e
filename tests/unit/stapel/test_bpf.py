"""Programs that were made smaller against those that they were made of, by an interpreter of what the kernel runs."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stapel.sandbox import seccomp
from stapel.sandbox.bpf import (
    AND,
    ARCHITECTURE,
    CALL,
    EQUAL,
    FORMAT,
    GREATER,
    HAS_BITS,
    JUMP,
    LOAD,
    NOT_LESS,
    RETURN,
    NotUnderstood,
    shrink,
)

ARGUMENTS = 16  # the offset of the first one
# x86_64, i386, aarch64, arm, ppc64le, riscv64, s390x, s390, and none
AUDITED = (0xC000003E, 0x40000003, 0xC00000B7, 0x40000028, 0xC0000015, 0xC00000F3, 0x80000016, 0x16, 0)
TESTS = {
    EQUAL: lambda value, constant: value == constant,
    GREATER: lambda value, constant: value > constant,
    NOT_LESS: lambda value, constant: value >= constant,
    HAS_BITS: lambda value, constant: bool(value & constant),
}


def verdict(program, architecture, call, *arguments):
    """What a program says of a call. `program`: its instructions."""
    data = struct.pack("=IIQ6Q", call, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    value, at = 0, 0
    while True:
        code, if_true, if_false, constant = program[at]
        at += 1
        if code == RETURN:
            return constant
        if code == LOAD:
            (value,) = struct.unpack_from("=I", data, constant)
        elif code == AND:
            value &= constant
        elif code == JUMP:
            at += constant
        else:
            at += if_true if TESTS[code](value, constant) else if_false


def instructions(program):
    return list(FORMAT.iter_unpack(program))


def test_every_call_has_the_verdict_that_the_library_gives_it():
    before = seccomp.compile_by_library()
    after = shrink(before)
    assert len(after) < len(before) / 2
    old, new = instructions(before), instructions(after)
    calls = {*range(700), *range(0x40000000, 0x400002BC), 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF}
    values = sorted({rule["value"] for rule in seccomp._rules()["allowByArgument"]})
    by_argument = []
    for architecture in AUDITED:
        for call in calls:
            found = [verdict(old, architecture, call, value, value) for value in values]
            assert [verdict(new, architecture, call, value, value) for value in values] == found, (architecture, call)
            if len(set(found)) > 1:
                by_argument.append((architecture, call))
    assert len(by_argument) >= 3  # personality, socket, clone
    near = {max(value + more, 0) for value in values for more in (-1, 0, 1)}
    for value in (*near, *(1 << bit for bit in range(64)), 2**64 - 1):
        for numbers in by_argument:
            for arguments in ((value,), (0, value), (value, value)):
                assert verdict(new, *numbers, *arguments) == verdict(old, *numbers, *arguments)


@st.composite
def programs(draw):
    """A program that looks at an architecture, at calls in a tree of tests, and at arguments of some."""
    rng = random.Random(draw(st.integers(0, 1 << 32)))
    numbers = draw(st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 40), min_size=1, max_size=12))

    def end():
        if rng.random() < 0.7:
            return [(RETURN, 0, 0, rng.randrange(4))]
        masked = [(AND, 0, 0, rng.randrange(16))] if rng.random() < 0.5 else []
        test = (rng.choice(list(TESTS)), rng.randrange(2), rng.randrange(2), rng.randrange(16))
        return [(LOAD, 0, 0, ARGUMENTS), *masked, test, (RETURN, 0, 0, 5), (RETURN, 0, 0, 6)]

    def tree(depth):
        if not depth:
            return end()
        low, high = tree(depth - 1), tree(depth - 1)
        test = rng.choice([EQUAL, GREATER, NOT_LESS])
        if len(low) < 250 and rng.random() < 0.5:
            return [(test, len(low), 0, rng.choice(numbers)), *low, *high]
        return [(test, 0, 1, rng.choice(numbers)), (JUMP, 0, 0, len(low)), *low, *high]

    first, second = ([(LOAD, 0, 0, CALL), *tree(rng.randrange(7))] for _ in range(2))
    look = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 0, 1, 7), (JUMP, 0, 0, len(first))]
    return [*look, *first, *second], numbers


@settings(max_examples=100, deadline=None)
@given(made=programs(), argument=st.integers(0, 31))
def test_any_program_says_the_same(made, argument):
    old, numbers = made
    new = instructions(shrink(b"".join(FORMAT.pack(*item) for item in old)))
    assert len(new) <= len(old)
    for architecture in (0, 6, 7, 8, 2**32 - 1):
        for call in {0, *numbers, *(number + 1 for number in numbers), *(max(number, 1) - 1 for number in numbers)}:
            call &= 2**32 - 1
            assert verdict(new, architecture, call, argument) == verdict(old, architecture, call, argument)


@pytest.mark.parametrize(
    "unknown",
    [
        [(0x80, 0, 0, 0), (RETURN, 0, 0, 0)],  # the length of the data
        [(LOAD, 0, 0, CALL), (AND, 0, 0, 1), (EQUAL, 0, 0, 1), (RETURN, 0, 0, 0)],
        [(LOAD, 0, 0, CALL), (HAS_BITS, 0, 0, 1), (RETURN, 0, 0, 0)],
        [(EQUAL, 0, 0, 1), (RETURN, 0, 0, 0)],  # of nothing that was loaded
        [(LOAD, 0, 0, ARGUMENTS), (0x07, 0, 0, 0), (RETURN, 0, 0, 0)],  # a second register
    ],
)
def test_what_is_not_understood_is_left_alone(unknown):
    with pytest.raises(NotUnderstood):
        shrink(b"".join(FORMAT.pack(*item) for item in unknown))
