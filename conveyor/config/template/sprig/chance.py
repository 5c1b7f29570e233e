"""Functions of sprig that give what chance or the network gives: refused unless giterminism is loose."""

from __future__ import annotations

import base64
import secrets
import string
from collections.abc import Callable

from conveyor.config.template.functions import FunctionError, Runtime, check_text, declare, refuse_unrepeatable
from conveyor.config.template.sprig.letters import REPLACEMENT

_WHY = "is another one in every run"
_PRINTABLE = "".join(map(chr, range(32, 127)))


def rand_int(runtime: Runtime, low: int, high: int) -> int:
    """An integer from `low` to before `high`."""
    refuse_unrepeatable(runtime, "randInt", _WHY)
    if high <= low:
        raise FunctionError("invalid argument to Intn")
    return low + secrets.randbelow(high - low)


def rand_bytes(runtime: Runtime, count: int) -> str:
    """So many bytes, in base 64."""
    refuse_unrepeatable(runtime, "randBytes", _WHY)
    if count < 0:
        raise FunctionError("runtime error: makeslice: len out of range")
    check_text(count * 4 // 3)
    return base64.b64encode(secrets.token_bytes(count)).decode()


def shuffle(runtime: Runtime, text: str) -> str:
    """Its characters in another order."""
    refuse_unrepeatable(runtime, "shuffle", _WHY)
    characters = [REPLACEMENT if "\ud800" <= character <= "\udfff" else character for character in text]
    secrets.SystemRandom().shuffle(characters)
    return "".join(characters)


def uuid_v4(runtime: Runtime) -> str:
    """A random UUID."""
    refuse_unrepeatable(runtime, "uuidv4", _WHY)
    from uuid import uuid4

    return str(uuid4())


def host_by_name(runtime: Runtime, name: str) -> str:
    """One of the addresses of a host."""
    refuse_unrepeatable(runtime, "getHostByName", "depends on the network of the machine")
    import socket

    try:
        found = {info[4][0] for info in socket.getaddrinfo(name, None)}
    except (OSError, UnicodeError) as error:
        raise FunctionError(f"{name}: {error}") from None
    return str(secrets.choice(sorted(found)))


def _picker(name: str, alphabet: str) -> Callable[[Runtime, int], str]:
    def pick(runtime: Runtime, count: int) -> str:
        refuse_unrepeatable(runtime, name, _WHY)
        check_text(count)
        return "".join(secrets.choice(alphabet) for _ in range(count))

    return pick


FUNCTIONS = dict(
    (
        declare("randInt", "int int", rand_int, runtime=True),
        declare("randBytes", "int", rand_bytes, runtime=True),
        declare("randAlpha", "int", _picker("randAlpha", string.ascii_letters), runtime=True),
        declare("randAlphaNum", "int", _picker("randAlphaNum", string.ascii_letters + string.digits), runtime=True),
        declare("randNumeric", "int", _picker("randNumeric", string.digits), runtime=True),
        declare("randAscii", "int", _picker("randAscii", _PRINTABLE), runtime=True),
        declare("shuffle", "string", shuffle, runtime=True, walks=30),
        declare("uuidv4", "", uuid_v4, runtime=True),
        declare("getHostByName", "string", host_by_name, runtime=True),
    )
)
