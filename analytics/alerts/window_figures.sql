-- What windows of finished requests look like, each per tenant and over all of them. Requests that took longer
-- than an hour (batches that wait in Kafka) belong to no window. `number` counts the windows from 1, the newest.
SELECT
    arrayFirstIndex(since -> finished_at >= since, [$begins]) AS number,
    toBool(grouping(tenant)) AS overall,
    tenant,
    count() AS requests,
    countIf(status IN ('failed', 'degraded')) AS errors,
    countIf(status = 'blocked') AS blocked,
    countIf(cache_kind IN ('exact', 'semantic', 'miss')) AS cache_lookups,
    countIf(cache_kind IN ('exact', 'semantic')) AS cache_hits,
    toFloat64(sum(cost_usd)) AS spend_usd,
    countIf(status IN ('answered', 'cached', 'degraded')) AS replies,
    quantileExactIf(0.95)(latency_ms, status IN ('answered', 'cached', 'degraded')) AS p95_ms
FROM requests
WHERE $ranges
GROUP BY GROUPING SETS ((number, tenant), (number))
ORDER BY number, overall DESC, requests DESC
LIMIT {most:UInt32} BY number
