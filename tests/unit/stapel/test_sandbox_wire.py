"""Messages of the sandbox's workers."""

import os
import socket

import pytest

from stapel.sandbox.wire import Gone, receive, send


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_messages_that_come_at_once_are_read_one_by_one(ends):
    ours, theirs = ends
    reading, writing = os.pipe()
    send(ours, ("go", {}))
    send(ours, ("next", {"lowers": [b"\xff"]}), [writing])
    send(ours, ("cancel", {}))
    assert receive(theirs) == (("go", {}), [])
    message, (given,) = receive(theirs)
    assert message == ("next", {"lowers": [b"\xff"]})
    assert receive(theirs) == (("cancel", {}), [])
    assert os.path.sameopenfile(given, writing)
    for file in (reading, writing, given):
        os.close(file)


def test_a_large_message(ends):
    import threading

    ours, theirs = ends
    message = [os.urandom(1000) for _ in range(2000)]
    thread = threading.Thread(target=send, args=(ours, message))
    thread.start()
    assert receive(theirs) == (message, [])
    thread.join()


@pytest.mark.parametrize("sent", [b"", b"\0\0", b"\0\0\0\x09half"])
def test_an_end_in_the_middle_is_told(ends, sent):
    ours, theirs = ends
    ours.sendall(sent)
    ours.close()
    with pytest.raises(Gone):
        receive(theirs)
