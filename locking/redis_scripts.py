"""What happens inside of Redis, one step at a time: taking a lock or a place in its queue, extending, leaving.

Keys, behind `conveyor:`, NAME being the lock's name and TOKEN the random name of one wish to have it:

    lock:NAME     hash: token, owner, since_ms. Ends with the lease: who does not extend it loses it
    queue:NAME    sorted set of tokens, by their place. First come, first served
    waiter:TOKEN  who waits; ends by itself unless he asks again in time, and then his place is void
    wake:TOKEN    list with one element where he should ask again: he sleeps on it

Every step may be repeated with the same token: the answer to a request may be lost, and then the request is made again.
Every script first makes the write that Redis allows when its memory is full, or none: where memory is full for what follows,
nothing was changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from msgspec import Struct

PREFIX = "conveyor:"

_COMMON = """
local function living_head(queue, token)
  while true do
    local head = redis.call('ZRANGE', queue, 0, 0)[1]
    if not head or head == token or redis.call('EXISTS', 'conveyor:waiter:' .. head) == 1 then return head end
    redis.call('ZREM', queue, head)
    redis.call('DEL', 'conveyor:wake:' .. head)
  end
end

local function wake(token)
  redis.call('DEL', 'conveyor:wake:' .. token)
  redis.call('RPUSH', 'conveyor:wake:' .. token, '1')
  redis.call('PEXPIRE', 'conveyor:wake:' .. token, 60000)
end

local function forget(queue, token)
  redis.call('ZREM', queue, token)
  redis.call('DEL', 'conveyor:waiter:' .. token, 'conveyor:wake:' .. token)
end
"""

_ACQUIRE = (
    _COMMON
    + """
local lock, queue = KEYS[1], KEYS[2]
local token, owner, lease_ms, waiter_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local holder = redis.call('HMGET', lock, 'token', 'owner', 'since_ms')
local head = false
if not holder[1] then
  head = living_head(queue, token)
  if not head or head == token then
    redis.call('HSET', lock, 'token', token, 'owner', owner, 'since_ms', string.format('%.0f', now_ms))
    redis.call('PEXPIRE', lock, lease_ms)
    forget(queue, token)
    return {1, 0, '', 0}
  end
  wake(head)
elseif holder[1] == token then
  redis.call('PEXPIRE', lock, lease_ms)
  return {1, 0, '', 0}
end

if waiter_ms > 0 then
  redis.call('SET', 'conveyor:waiter:' .. token, owner, 'PX', waiter_ms)
  if not redis.call('ZSCORE', queue, token) then
    local last = redis.call('ZRANGE', queue, -1, -1, 'WITHSCORES')[2]
    redis.call('ZADD', queue, last and last + 1 or 1, token)
  end
  redis.call('PEXPIRE', queue, 2 * waiter_ms)
end
if head then
  local waiter = 'conveyor:waiter:' .. head
  return {0, redis.call('PTTL', waiter), redis.call('GET', waiter) or '', -1}
end
return {0, redis.call('PTTL', lock), holder[2] or '', now_ms - (tonumber(holder[3]) or now_ms)}
"""
)

_RENEW = """
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

_LEAVE = (
    _COMMON
    + """
if redis.call('HGET', KEYS[1], 'token') == ARGV[1] then redis.call('DEL', KEYS[1]) end
forget(KEYS[2], ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 0 then
  local head = living_head(KEYS[2], ARGV[1])
  if head then wake(head) end
end
return 1
"""
)


class Client(Protocol):
    """What is used of a client of Redis; it raises what it likes."""

    def eval(self, script: str, numkeys: int, *keys_and_args: bytes | str | float) -> object:
        """Run a script."""

    def blpop(self, keys: list[str], timeout: float) -> object:
        """Wait for an element of a list and take it."""


class Answer(Struct, frozen=True):
    """What became of a wish: `taken`, or who is before us, and when to ask again unless we are woken.

    `held_ms` is how long he has had it, None where he is about to take it.
    """

    taken: bool
    again_in_s: float = 0.0
    owner: str = ""
    held_ms: int | None = None


def acquire(client: Client, name: str, token: str, owner: str, *, lease_s: float, waiter_s: float) -> Answer:
    """Take a lock that is free and whose turn is ours. Otherwise queue for it, for `waiter_s` seconds (0: do not)."""
    owner_bytes = owner.encode("utf-8", "replace")
    reply = client.eval(_ACQUIRE, 2, *_keys(name), token, owner_bytes, _ms(lease_s), _ms(waiter_s))
    taken, again_in_ms, shown, held_ms = cast("tuple[int, int, bytes, int]", tuple(cast("Sequence[object]", reply)))
    if taken:
        return Answer(True)
    # A key that ends at a millisecond is there until it is over; a key without an end is none of ours, and may stay.
    again_in_s = (again_in_ms + 2) / 1000 if again_in_ms >= 0 else waiter_s
    return Answer(False, again_in_s, shown.decode("utf-8", "replace"), held_ms if held_ms >= 0 else None)


def renew(client: Client, name: str, token: str, *, lease_s: float) -> bool:
    """Have a lease end `lease_s` seconds from now; False where it is not ours any more."""
    return client.eval(_RENEW, 1, _keys(name)[0], token, _ms(lease_s)) == 1


def leave(client: Client, name: str, token: str) -> None:
    """Give back the lock, or the place in its queue, if it is ours, and wake who is next."""
    client.eval(_LEAVE, 2, *_keys(name), token)


def sleep(client: Client, token: str, seconds: float) -> None:
    """Wait until we are woken, at most so long."""
    # 0 is for ever to Redis, and so is what it rounds to 0.
    client.blpop([f"{PREFIX}wake:{token}"], timeout=max(seconds, 0.01))


def _keys(name: str) -> tuple[bytes, bytes]:
    # Names hold any text; of the ways to write half surrogates, this one gives different names different bytes.
    raw = name.encode("utf-8", "surrogatepass")
    return f"{PREFIX}lock:".encode() + raw, f"{PREFIX}queue:".encode() + raw


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
