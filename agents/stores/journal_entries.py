"""What the journal of provider calls takes and returns (begin with `Claim`), and its Redis scripts.

The first key of a script is the request's entry in the journal, a hash:

- `record`, `instance`, `attempt`, `deadline` (Unix ms): the holder.
- `calls`: the number of the last call. `begun:N`, `ended:N`: the calls.
- `result`: the outcome, until it is sent. `sent`: whether it was.
- `run`: the run of the request, which is its number of replays. A later run starts again; an earlier run is
  ignored.

The second key, if there is one, is the request's entry in the registry. By `spent`, the registry does not
settle a request by an outcome without calls after a call was begun. By `state`, no call is begun for a
settled request.
"""

from datetime import datetime
from decimal import Decimal

import msgspec

from streams.errors import HeadraceError
from streams.events import LlmCall
from streams.model_catalogue import STANDARD_TIER


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What a call costs, and by which prices. `long_context`: whether those of long prompts."""

    cost_usd: Decimal
    price_version: str
    long_context: bool


class BegunCall(msgspec.Struct, frozen=True, kw_only=True):
    """A provider call as it is known before it is made. `input_tokens` is our own count.

    `service_tier` is the one that is asked for. `input_charge` is what the input alone costs at the prices
    of that moment: so the call is booked if its answer is lost, whatever prices hold by then. Calls that an
    earlier build began have none.
    """

    call_id: str
    provider: str
    model: str
    started_at: datetime
    input_tokens: int
    service_tier: str = STANDARD_TIER
    input_charge: Charge | None = None


class LostCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call without a noted end. `number` is its place among the calls."""

    number: int
    call: BegunCall


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The right to work on a request: it ends when another attempt takes over.

    `record` holds the request: ``topic:partition:offset``. `attempt` is the number of the claim, which fences
    older ones; `replay` the run of the request, as in its envelope; `deadline_ms` is in Unix ms.
    """

    request_id: str
    record: str
    attempt: int
    deadline_ms: int = 0
    replay: int = 0


class Fenced(HeadraceError):
    """A newer attempt works on the request, or it has its reply: stop, and send nothing on."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(f"attempt {lease.attempt} at request {lease.request_id!r} is no longer wanted")
        self.lease = lease


class Cancelled(HeadraceError):
    """The request is to be ended without an answer, for `reason`; no call was noted, so make none."""

    def __init__(self, lease: Lease, reason: str) -> None:
        super().__init__(f"request {lease.request_id!r} is cancelled: {reason}")
        self.lease = lease
        self.reason = reason


class LeaseState(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a lease still stands, and what has cancelled the request, where something has."""

    held: bool
    cancelled: str | None = None

    @property
    def wanted(self) -> bool:
        """Whether the work is still wanted."""
        return self.held and self.cancelled is None


class JournaledCalls(msgspec.Struct, frozen=True, kw_only=True):
    """The calls for a request that the journal knows.

    `lost_calls` have no noted end: they may have been billed, and their answers are lost. `known_calls` are
    those whose end was noted, as they were booked.
    """

    lost_calls: tuple[LostCall, ...] = ()
    known_calls: tuple[LlmCall, ...] = ()


class Claimed(JournaledCalls, frozen=True, kw_only=True):
    """Work on it, showing `lease` at every further step. The calls are those of former attempts."""

    lease: Lease


class ResultStored(msgspec.Struct, frozen=True, kw_only=True):
    """The result is stored, and not known to be sent: send it."""

    lease: Lease
    result: bytes


class HeldElsewhere(msgspec.Struct, frozen=True):
    """Another record of the same request is being worked on: drop this one."""

    record: str


class AlreadySent(msgspec.Struct, frozen=True):
    """The broker has the result: nothing is left to do."""


Claim = Claimed | ResultStored | HeldElsewhere | AlreadySent


CLAIM = """
local key = KEYS[1]
local record, instance, now, deadline, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local replay = tonumber(ARGV[6])
local found = redis.call('HMGET', key, 'record', 'attempt', 'deadline', 'result', 'sent', 'run')
local run = tonumber(found[6] or 0)
if replay < run or (found[5] and replay == run) then return {'sent'} end
local held = found[1] and not found[4] and not found[5]
if held and found[1] ~= record and now < tonumber(found[3]) then return {'held', found[1]} end
if replay > run then redis.call('HSET', key, 'run', replay) end
if found[5] then
  redis.call('HDEL', key, 'sent')
end
if found[4] then
  redis.call('HSET', key, 'record', record, 'instance', instance)
  redis.call('EXPIRE', key, ttl)
  return {'finished', tonumber(found[2]), found[4]}
end
local attempt = redis.call('HINCRBY', key, 'attempt', 1)
redis.call('HSET', key, 'record', record, 'instance', instance, 'deadline', deadline)
redis.call('EXPIRE', key, ttl)
local answer = redis.call('HGETALL', key)
table.insert(answer, 1, attempt)
table.insert(answer, 1, 'claimed')
return answer
"""

# An entry that is missing was lost with Redis's data: it counts as the caller's, and is written again.
_STANDING = """
local function standing(key, record, attempt)
  local holder = redis.call('HMGET', key, 'record', 'attempt')
  return holder, holder[1] and (holder[1] ~= record or holder[2] ~= attempt)
end
"""

# Whoever cancelled the request before its latest replay did not mean this run of it.
_CANCELLING = """
local function cancelling(key, replay)
  local found = redis.call('HMGET', key, 'cancelled', 'replay')
  return tonumber(replay) <= tonumber(found[2] or 0) and found[1]
end
"""

_FENCE = (
    _STANDING
    + """
local key, record, attempt = KEYS[1], ARGV[1], ARGV[2]
local holder, fenced = standing(key, record, attempt)
"""
)

BEGIN = (
    _FENCE
    + _CANCELLING
    + """
if fenced then return {0} end
local cancelled = cancelling(KEYS[2], ARGV[3])
if cancelled then return {-1, cancelled} end
local request = redis.call('HMGET', KEYS[2], 'state', 'replay')
local is_settled = request[1] == 'settling' or request[1] == 'settled'
if is_settled and tonumber(ARGV[3]) <= tonumber(request[2] or 0) then return {0} end
if request[1] then redis.call('HSET', KEYS[2], 'spent', ARGV[3]) end
local call, after, deadline, ttl = ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7]
redis.call('HSET', key, 'record', record, 'attempt', attempt, 'deadline', deadline)
local number = math.max(tonumber(redis.call('HGET', key, 'calls') or 0), after) + 1
redis.call('HSET', key, 'calls', number, 'begun:' .. number, call)
redis.call('EXPIRE', key, ttl)
return {number}
"""
)

END = (
    _FENCE
    + """
if fenced or not holder[1] then return 0 end
redis.call('HSET', key, 'ended:' .. ARGV[3], ARGV[4])
return 1
"""
)

# Two keys and three arguments for each claim.
LOOK = (
    _STANDING
    + _CANCELLING
    + """
local looks = {}
for i = 1, #KEYS / 2 do
  local _, fenced = standing(KEYS[2 * i - 1], ARGV[3 * i - 2], ARGV[3 * i - 1])
  looks[i] = {fenced and 1 or 0, cancelling(KEYS[2 * i], ARGV[3 * i])}
end
return looks
"""
)

# What a worker that has run into a bug may book: nothing once another record holds the request.
CALLS = """
local fields = redis.call('HGETALL', KEYS[1])
if redis.call('HGET', KEYS[1], 'record') ~= ARGV[1] then return {} end
return fields
"""

FINISH = (
    _FENCE
    + """
if fenced then return 0 end
redis.call('HSET', key, 'record', record, 'attempt', attempt, 'result', ARGV[3])
redis.call('EXPIRE', key, ARGV[4])
return 1
"""
)

SENT = (
    _FENCE
    + """
if fenced then return 0 end
local run = redis.call('HGET', key, 'run')
redis.call('DEL', key)
redis.call('HSET', key, 'record', record, 'attempt', attempt, 'sent', 1)
if run then redis.call('HSET', key, 'run', run) end
redis.call('EXPIRE', key, ARGV[3])
return 1
"""
)
