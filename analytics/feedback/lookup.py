"""Which requests feedback is about: looked up in ClickHouse, many at once.

The rows are sorted by the hour of acceptance; an id alone is found by a bloom filter, which is of use for a
few ids, and not for hundreds. So the hour narrows the search wherever something says it: the sender's
`accepted_at`, or else that most feedback comes within two days.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from analytics.clickhouse import ClickHouse, instant
from analytics.feedback.scores import ParsedFeedback, RequestFacts

_RECENT = timedelta(days=2)
_DAY = timedelta(days=1)
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(2149, 6, 6, tzinfo=UTC)
_IDS_A_QUERY = 200  # parameters travel in the URL

#: The newest copy of each row, as the view has it, but for these requests alone.
_SQL = """
SELECT
    request_id, tenant, user_id, accepted_at, model, prompt_template, prompt_version, experiment, arm
FROM requests_raw
WHERE request_id IN {request_ids:Array(String)}
    AND accepted_at >= {since:DateTime64(6, 'UTC')}
    AND accepted_at < {until:DateTime64(6, 'UTC')}
ORDER BY ingested_at DESC
LIMIT 1 BY tenant, request_id, toStartOfHour(accepted_at)
"""

#: What was found, by request id: of all tenants.
Found = Mapping[str, Sequence[RequestFacts]]


async def find_requests(
    clickhouse: ClickHouse,
    judgements: Collection[ParsedFeedback],
    *,
    everywhere: Collection[ParsedFeedback],
) -> Found:
    """Return the requests that have the ids of these judgements.

    They are looked for where they most likely are; those of `everywhere` then in all rows, if that does not
    find them.

    Raises:
        ClickHouseUnavailable: no answer in time.
    """
    found: dict[str, list[RequestFacts]] = {}
    for (since, until), request_ids in _windows(judgements).items():
        await _look(clickhouse, request_ids, since, until, found)
    missing = {
        each.feedback.request_id
        for each in everywhere
        if not any(facts.tenant == each.tenant for facts in found.get(each.feedback.request_id, ()))
    }
    await _look(clickhouse, missing, _FIRST, _LAST, found)
    return found


async def _look(
    clickhouse: ClickHouse,
    request_ids: Iterable[str],
    since: datetime,
    until: datetime,
    found: dict[str, list[RequestFacts]],
) -> None:
    wanted = sorted(request_ids)
    for begin in range(0, len(wanted), _IDS_A_QUERY):
        some = wanted[begin : begin + _IDS_A_QUERY]
        parameters = {"request_ids": some, "since": instant(since), "until": instant(until)}
        for row in await clickhouse.query(_SQL, parameters):
            facts = RequestFacts(**row | {"accepted_at": row["accepted_at"].replace(tzinfo=UTC)})
            known = found.setdefault(facts.request_id, [])
            if facts not in known:
                known.append(facts)


def _windows(judgements: Iterable[ParsedFeedback]) -> dict[tuple[datetime, datetime], set[str]]:
    """Return where to look for which ids first: the day that is named, or those before the judgement."""
    windows: dict[tuple[datetime, datetime], set[str]] = {}
    for each in judgements:
        named = each.feedback.accepted_at
        if named is not None:
            since = _midnight(named)
            window = (since, since + _DAY)
        else:
            # Its day and the next: the request may end, and be judged, on clocks that differ.
            until = _midnight(each.scored_at) + 2 * _DAY
            window = (until - 2 * _DAY - _RECENT, until)
        windows.setdefault(window, set()).add(each.feedback.request_id)
    return windows


def _midnight(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
