-- title: The window over time
-- group: traffic
-- description: Volume, outcomes, spend and latency by interval.
-- part: whole_hours
-- part: request_figures
-- part: latency_figures
-- part: steps
-- column: time [time] | the beginning of the interval
-- column: requests [requests] | accepted in it
-- column: answered [requests] | by a model
-- column: cached [requests] | answered by the cache
-- column: degraded [requests] | that got the degraded answer
-- column: failed [requests] | that ended failed
-- column: blocked [requests] | by a guardrail
-- column: cancelled [requests] | by their sender
-- column: fallbacks [requests] | that another model answered than the first that was tried, or none
-- column: cache_hits [requests] | that the cache answered
-- column: cost_usd [USD] | what they cost
-- column: p50_latency_ms [ms] | half of the requests took less
-- column: p95_latency_ms [ms] | 95 of 100 took less
-- column: p99_latency_ms [ms] | 99 of 100 took less
WITH
'' AS latency_by
SELECT
    g.time AS time,
    g.requests AS requests,
    g.answered AS answered,
    g.cached AS cached,
    g.degraded AS degraded,
    g.failed AS failed,
    g.blocked AS blocked,
    g.cancelled AS cancelled,
    g.fallbacks AS fallbacks,
    g.cache_hits AS cache_hits,
    g.cost_usd AS cost_usd,
    $joined_latency(),
    latency_ms[3] AS p99_latency_ms
FROM
(
    SELECT
        toDateTime64(intDiv(toUnixTimestamp(f.time), step_s) * step_s, 0, 'UTC') AS time,
        sum(f.requests) AS requests,
        sumIf(f.requests, f.status = 'answered') AS answered,
        sumIf(f.requests, f.status = 'cached') AS cached,
        sumIf(f.requests, f.status = 'degraded') AS degraded,
        sumIf(f.requests, f.status = 'failed') AS failed,
        sumIf(f.requests, f.status = 'blocked') AS blocked,
        sumIf(f.requests, f.status = 'cancelled') AS cancelled,
        sum(f.fallbacks) AS fallbacks,
        sum(f.cache_hits) AS cache_hits,
        sum(f.cost_usd) AS cost_usd,
        $own_sketch() AS own_sketch
    FROM request_figures AS f
    GROUP BY time
) AS g
LEFT JOIN
(
    SELECT
        toDateTime64(intDiv(toUnixTimestamp(f.time), step_s) * step_s, 0, 'UTC') AS time,
        $hour_sketch() AS latency_ms_sketch
    FROM latency_figures AS f
    GROUP BY time
) AS l ON l.time = g.time
ORDER BY time
