"""Networks of build containers in the sandbox."""

import contextlib
import http.server
import socket
import threading

import pytest

from stapel.api import Cancel, Run
from stapel.errors import StapelError
from tests.conformance.engines import Said


@contextlib.contextmanager
def web_server(address):
    server = http.server.ThreadingHTTPServer((address, 0), http.server.SimpleHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def own_address():
    """An address of this machine that is not its loopback; nothing is sent to find it out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]


def run(sandbox, script, network):
    said = Said()
    sandbox.engine.build(sandbox.base(), [Run(script, network=network)], said, Cancel()).close()
    return said.text()


def asks(address, port):
    return f"(exec 3<>/dev/tcp/{address}/{port}) 2>/dev/null && echo {address} answers; true"


def test_an_isolated_network_has_a_way_out_and_none_to_this_machine(sandbox):
    outside = own_address()
    with web_server("127.0.0.1") as inner, web_server(outside) as outer:
        script = f"ls /sys/class/net; {asks(outside, outer)}\n{asks('127.0.0.1', inner)}\n{asks('10.0.2.2', inner)}"
        said = run(sandbox, script, "isolated")
    assert said.splitlines()[:2] == ["lo", "tap0"]
    assert f"{outside} answers" in said
    assert "127.0.0.1 answers" not in said
    assert "10.0.2.2 answers" not in said


def test_a_resolver_of_this_machine_is_not_named_in_an_isolated_network(sandbox):
    said = run(sandbox, "cat /etc/resolv.conf", "isolated")
    named = [line.split()[1] for line in said.splitlines() if line.startswith("nameserver")]
    assert named
    assert not any(name.startswith("127.") for name in named)


def test_the_network_of_the_host_and_none(sandbox):
    with web_server("127.0.0.1") as port:
        assert "answers" in run(sandbox, asks("127.0.0.1", port), "default")
        assert run(sandbox, f"ls /sys/class/net; {asks('127.0.0.1', port)}", "none").startswith("lo\n")


def test_a_network_that_is_none_of_these(sandbox):
    with pytest.raises(StapelError, match="no network bridge0") as caught:
        run(sandbox, "true", "bridge0")
    assert "isolated" in caught.value.hint
