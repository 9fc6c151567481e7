"""The runs of an `Idempotency-Key`: a failure that cost nothing does not stand for ever.

Each run is a request of its own, with its own id, registry entry, row and terminal reply. The first run's id
is derived from the key alone. Where a run ends without an answer and without a charge (`may_run_anew`), the
next submission under the key begins the next run; everything else that a run can end in is given again.

Redis has a pointer per key from the second run on: the number of the newest run, and the fingerprint of what
is asked, which holds for every run. One script moves it, so that two clients that repeat at the same time
join one new run.
"""

from collections.abc import Callable

from redis.asyncio import Redis

from streams.events import MAX_DEADLINE_MS, Reply, Status
from streams.redis.connection import store_faults
from streams.redis.keys import REQUEST, RUNS, digest

#: Statuses without an answer; a blocked request has been judged, and is not asked again.
_WITHOUT_ANSWER = frozenset({Status.DEGRADED, Status.FAILED, Status.CANCELLED})
#: A pointer that expired before its runs' entries would lead back to the first run.
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
    """Whether the same request may be worked on again: it has no answer, cost nothing, and may fare better.

    What the sender has to mend (`invalid_request_error`) fails again, and is given again instead.
    """
    senders_mistake = reply.error is not None and reply.error.type == "invalid_request_error"
    return (
        reply.status in _WITHOUT_ANSWER
        and reply.cost_usd <= 0
        and (not senders_mistake or reply.status is Status.CANCELLED)
    )


class RequestRuns:
    """The newest run of each key, in Redis.

    Args:
        redis: the client; its timeouts bound every call.
        ttl_s: how long the registry keeps an entry, in seconds.
    """

    def __init__(self, redis: Redis, *, ttl_s: int) -> None:
        self._ttl_s = ttl_s + _OUTLIVES_S
        self._newest = redis.register_script(_NEWEST)

    async def newest(self, id_of_run: Callable[[int], str], *, body: str) -> str | None:
        """Return the id of the run that a submission belongs to; it begins a new run where it may.

        Args:
            id_of_run: the request id of a run, by its number from 1 on.
            body: the `fingerprint` of what is asked.

        Returns:
            None where the key stands for another body.

        Raises:
            StoreUnavailable: Redis does not answer in time.
        """
        pointer = RUNS.key(digest(id_of_run(1)))
        run, final = 1, 0
        while not final:
            with store_faults("looking for a request's runs"):
                run, final = await self._newest(
                    keys=[pointer, REQUEST.key(digest(id_of_run(run)))], args=[run, body, self._ttl_s]
                )
        return id_of_run(run) if run > 0 else None
