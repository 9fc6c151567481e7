-- title: Latency by outcome
-- group: latency
-- description: From acceptance to the reply, by how the request ended. Quantiles are exact.
-- column: status [name] | how the requests ended
-- column: requests [requests] | that ended so
-- column: request_share [share] | of all requests
-- column: p50_latency_ms [ms] | half of the requests took less
-- column: p95_latency_ms [ms] | 95 of 100 took less
-- column: p99_latency_ms [ms] | 99 of 100 took less
-- column: max_latency_ms [ms] | the slowest
SELECT
    r.status AS status,
    count() AS requests,
    count() / sum(count()) OVER () AS request_share,
    $percentiles(r.latency_ms, latency_ms),
    max(r.latency_ms) AS max_latency_ms
FROM requests AS r
WHERE $window(r)
GROUP BY status
ORDER BY requests DESC, status
