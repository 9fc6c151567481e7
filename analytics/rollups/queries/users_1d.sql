-- What each user asked, got and spent on {day}.
SELECT
    {day:Date} AS day,
    r.tenant AS tenant,
    r.user_id AS user_id,
    count() AS requests,
    countIf(r.status IN ('answered', 'cached')) AS successful,
    countIf(r.error IS NOT NULL) AS errors,
    countIf(r.status = 'blocked') AS blocked,
    countIf(r.cache_hit) AS cache_hits,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(r.cost_usd) AS cost_usd,
    sum(toUInt64(round(greatest(r.latency_ms, 0) * 1000))) AS latency_us,
    max(r.latency_ms) AS latency_ms_max,
    {version:String} AS source_version,
    now64(6, 'UTC') AS computed_at
FROM requests_raw AS r FINAL
WHERE r.accepted_at >= toDateTime64({day:Date}, 6, 'UTC')
    AND r.accepted_at < toDateTime64({day:Date} + 1, 6, 'UTC')
GROUP BY tenant, user_id
