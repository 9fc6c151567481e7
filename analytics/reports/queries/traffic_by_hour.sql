-- title: Traffic by hour
-- group: traffic
-- description: Volume, outcomes, spend and latency of each hour (UTC) that had a request. Errors are requests that
--     ended failed or degraded.
-- parameter: limit UInt32 1..100000 = 2000 | rows at most
-- column: hour [time] | its beginning
-- column: requests [requests] | accepted in it
-- column: answered [requests] | by a model
-- column: cached [requests] | by the cache
-- column: blocked [requests] | by a guardrail
-- column: errors [requests] | failed or degraded
-- column: cancelled [requests] | by their sender
-- column: error_share [share] | errors of requests
-- column: block_share [share] | blocked of requests
-- column: hit_share [share] | cached of requests
-- column: cost_usd [USD] | what they cost
-- column: p50_latency_ms [ms] | half of the requests took less
-- column: p95_latency_ms [ms] | 95 of 100 took less
SELECT
    toDateTime64(toStartOfHour(r.accepted_at), 0, 'UTC') AS hour,
    count() AS requests,
    countIf(r.status = 'answered') AS answered,
    countIf(r.status = 'cached') AS cached,
    countIf(r.status = 'blocked') AS blocked,
    countIf(r.status IN ('failed', 'degraded')) AS errors,
    countIf(r.status = 'cancelled') AS cancelled,
    errors / requests AS error_share,
    blocked / requests AS block_share,
    cached / requests AS hit_share,
    sum(r.cost_usd) AS cost_usd,
    $median_and_p95(r.latency_ms, latency_ms)
FROM requests AS r
WHERE $window(r)
GROUP BY hour
ORDER BY hour
LIMIT {limit:UInt32}
