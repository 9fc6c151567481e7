-- Latency of the requests of {day}, by hour and one more key at a time: of each tenant, and of all of them, whose
-- tenant is empty. No request's is.
SELECT
    {day:Date} AS day,
    t.hour AS hour,
    t.by AS by,
    scope AS tenant,
    t.key AS key,
    t.detail AS detail,
    sum(t.requests) AS requests,
    sum(t.latency_us) AS latency_us,
    quantilesDDMergeState($levels())(t.latency_ms_sketch) AS latency_ms_sketch,
    {version:String} AS source_version,
    now64(6, 'UTC') AS computed_at
FROM
(
    SELECT
        toStartOfHour(toDateTime(r.accepted_at, 'UTC'), 'UTC') AS hour,
        choice.1 AS by,
        r.tenant AS tenant,
        choice.2 AS key,
        choice.3 AS detail,
        count() AS requests,
        sum(toUInt64(round(greatest(r.latency_ms, 0) * 1000))) AS latency_us,
        quantilesDDState($levels())(r.latency_ms) AS latency_ms_sketch
    FROM requests_raw AS r FINAL
    ARRAY JOIN [
        ('', '', ''),
        ('model', toString(r.model), ''),
        ('prompt', toString(r.prompt_template), toString(r.prompt_version)),
        ('experiment', toString(r.experiment), toString(r.arm)),
        ('cache_kind', toString(r.cache_kind), '')
    ] AS choice
    WHERE r.accepted_at >= toDateTime64({day:Date}, 6, 'UTC')
        AND r.accepted_at < toDateTime64({day:Date} + 1, 6, 'UTC')
    GROUP BY hour, by, tenant, key, detail
) AS t
ARRAY JOIN arrayDistinct(['', toString(t.tenant)]) AS scope
GROUP BY hour, by, tenant, key, detail
