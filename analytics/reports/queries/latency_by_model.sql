-- title: Latency by model
-- group: latency
-- description: From acceptance to the reply, by the model that answered, without answers from the cache. Quantiles are
--     exact.
-- parameter: limit UInt32 1..100000 = 100 | rows at most
-- column: model [name] | the model that answered
-- column: requests [requests] | it answered
-- column: mean_latency_ms [ms] | per request
-- column: p50_latency_ms [ms] | half of the requests took less
-- column: p95_latency_ms [ms] | 95 of 100 took less
-- column: p99_latency_ms [ms] | 99 of 100 took less
-- column: max_latency_ms [ms] | the slowest
SELECT
    r.model AS model,
    count() AS requests,
    avg(r.latency_ms) AS mean_latency_ms,
    $percentiles(r.latency_ms, latency_ms),
    max(r.latency_ms) AS max_latency_ms
FROM requests AS r
WHERE r.model != ''
    AND NOT r.cache_hit
    AND $window(r)
GROUP BY model
ORDER BY p95_latency_ms DESC, model
LIMIT {limit:UInt32}
