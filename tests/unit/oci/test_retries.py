import pytest

from stapel.oci.errors import NotFound, Unreachable
from stapel.oci.retries import Passing, Retries, retry_after_s, with_retries

QUICK = Retries(attempts=3, first_s=0.0001)


def test_what_passes_is_tried_again_and_told():
    tries, told = [], []

    def once():
        tries.append(1)
        if len(tries) < 3:
            raise Passing("no luck")
        return "done"

    assert with_retries("doing it", once, QUICK, told.append) == "done"
    assert len(told) == 2
    assert "doing it: no luck" in told[0]


def test_the_last_failure_is_told_with_its_reason_and_hint():
    def once():
        raise Passing("no luck", hint="pray")

    with pytest.raises(Unreachable, match=r"doing it: no luck, 3 times") as caught:
        with_retries("doing it", once, QUICK)
    assert caught.value.hint == "pray"
    assert caught.value.temporary


def test_what_is_rather_a_mistake_is_tried_less_often():
    tries = []

    def once():
        tries.append(1)
        raise Passing("no host", at_most=1)

    with pytest.raises(Unreachable):
        with_retries("doing it", once, QUICK)
    assert len(tries) == 1


def test_other_errors_go_through():
    def once():
        raise NotFound("x")

    with pytest.raises(NotFound):
        with_retries("doing it", once, QUICK)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("5", 5.0),
        (" 120 ", 120.0),
        ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("٥", None),
        ("", None),
    ],
)
def test_retry_after(value, expected):
    assert retry_after_s(value, 1000.0) == expected


def test_waits_grow_and_are_bounded():
    retries = Retries(first_s=1, longest_s=8, longest_asked_s=60)
    assert 0.75 <= retries.delay_s(1) <= 1.25
    assert 6 <= retries.delay_s(10) <= 10
    assert 5 <= retries.delay_s(1, 5) <= 6
    assert 60 <= retries.delay_s(1, 1e9) <= 61
