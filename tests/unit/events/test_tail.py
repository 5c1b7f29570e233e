from hypothesis import given
from hypothesis import strategies as st

from conveyor.events.tail import LINE_LIMIT, Tail


def test_the_last_lines_the_unfinished_one_among_them():
    tail = Tail(3)
    tail.feed(b"1\n2\n3\n")
    assert tail.lines() == ("1", "2", "3")
    tail.feed(b"4")
    tail.feed(b"4")
    assert tail.lines() == ("2", "3", "44")
    tail.feed(b"\n")
    assert tail.lines() == ("2", "3", "44")


def test_nothing():
    assert Tail().lines() == ()


def test_twenty_lines():
    tail = Tail()
    tail.feed(b"".join(b"%d\n" % number for number in range(100)))
    assert tail.lines() == tuple(str(number) for number in range(80, 100))


def test_control_and_overwritten_text_are_gone():
    tail = Tail()
    tail.feed(b"1%\r2%\r\n\x1b[31mred\x1b[0m \xff\n")
    assert tail.lines() == ("2%", "red \ufffd")


def test_a_line_without_end_takes_no_memory_and_hides_nothing():
    tail = Tail(2)
    tail.feed(b"before\n")
    for _ in range(1000):
        tail.feed(b"x" * 100_000)
    tail.feed(b"\nafter\n")
    long, after = tail.lines()
    assert len(long) == LINE_LIMIT + 1
    assert after == "after"


@given(st.lists(st.binary(max_size=4) | st.sampled_from([b"\n", b"a\nb\nc\nd\n", b"x\r\n"])), st.integers(1, 3))
def test_where_the_log_is_cut_does_not_matter(parts, count):
    tail, bytewise = Tail(count), Tail(count)
    for part in parts:
        tail.feed(part)
    for byte in b"".join(parts):
        bytewise.feed(bytes([byte]))
    assert tail.lines() == bytewise.lines()
