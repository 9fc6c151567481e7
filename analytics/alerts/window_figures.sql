-- What one window of finished requests looks like, per tenant and over all of them. Requests that took longer
-- than an hour (batches that wait in Kafka) belong to no window: the bound is what lets ClickHouse skip data.
SELECT
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
WHERE accepted_at >= {since:DateTime64(6, 'UTC')} - INTERVAL 1 HOUR
    AND accepted_at < {until:DateTime64(6, 'UTC')}
    AND finished_at >= {since:DateTime64(6, 'UTC')}
    AND finished_at < {until:DateTime64(6, 'UTC')}
GROUP BY GROUPING SETS ((tenant), ())
HAVING requests > 0
ORDER BY overall DESC, requests DESC
LIMIT {most:UInt32}
