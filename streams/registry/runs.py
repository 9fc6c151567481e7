"""The runs of an `Idempotency-Key`: after a failure that cost nothing the key may be used again.

Each run is a request with its own id, registry entry, row and terminal reply. The first run's id is derived
from the key alone. After a run without an answer and without a charge (`may_run_anew`) the next submission
under the key begins the next run; any other result is returned again.

From the second run on Redis has a pointer per key: the number of the newest run, and the fingerprint of the
request. One script moves it: two clients that repeat at the same time join one new run.
"""

from collections.abc import Callable

from redis.asyncio import Redis

from streams.events import MAX_DEADLINE_MS, Reply, Status
from streams.redis.connection import store_faults
from streams.redis.keys import REQUEST, RUNS, digest

#: Statuses without an answer. A blocked request is not worked on again.
_WITHOUT_ANSWER = frozenset({Status.DEGRADED, Status.FAILED, Status.CANCELLED})
#: The pointer must outlive the entries of its runs, or it would lead back to the first run.
_OUTLIVES_S = MAX_DEADLINE_MS // 1000

_NEWEST = """
local pointer, entry, run, print, ttl = KEYS[1], KEYS[2], tonumber(ARGV[1]), ARGV[2], ARGV[3]
local found = redis.call('HMGET', pointer, 'run', 'fingerprint')
if found[2] and found[2] ~= print then return {-1, 1} end
if tonumber(found[1] or 1) ~= run then return {tonumber(found[1] or 1), 0} end
local ended = redis.call('HMGET', entry, 'state', 'anew', 'fingerprint')
local settled = ended[1] == 'settling' or ended[1] == 'settled'
if settled and ended[2] == '1' and (not ended[3] or ended[3] == print) then
  run = run + 1
  redis.call('HSET', pointer, 'run', run, 'fingerprint', print)
end
redis.call('EXPIRE', pointer, ttl)
return {run, 1}
"""


def may_run_anew(reply: Reply) -> bool:
    """Whether the same request may be worked on again: it has no answer, and cost nothing.

    A mistake of the sender (`invalid_request_error`) would fail again: its reply is returned again instead.
    """
    senders_mistake = reply.error is not None and reply.error.type == "invalid_request_error"
    return (
        reply.status in _WITHOUT_ANSWER
        and reply.cost_usd <= 0
        and (not senders_mistake or reply.status is Status.CANCELLED)
    )


class RequestRuns:
    """The newest run of each key, in Redis. `ttl_s`: how long the registry keeps an entry, in seconds."""

    def __init__(self, redis: Redis, *, ttl_s: int) -> None:
        self._ttl_s = ttl_s + _OUTLIVES_S
        self._newest = redis.register_script(_NEWEST)

    async def newest(self, id_of_run: Callable[[int], str], *, body: str) -> str | None:
        """Return the id of the run that a submission belongs to; None where the key has another body.

        `id_of_run` returns the request id of a run, by its number from 1 on; `body` is the `fingerprint`.
        """
        pointer = RUNS.key(digest(id_of_run(1)))
        run, final = 1, 0
        while not final:
            with store_faults("looking for a request's runs"):
                run, final = await self._newest(
                    keys=[pointer, REQUEST.key(digest(id_of_run(run)))], args=[run, body, self._ttl_s]
                )
        return id_of_run(run) if run > 0 else None
