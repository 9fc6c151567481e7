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
    quantileExact(0.5)(r.latency_ms) AS p50_latency_ms,
    quantileExact(0.95)(r.latency_ms) AS p95_latency_ms,
    quantileExact(0.99)(r.latency_ms) AS p99_latency_ms,
    max(r.latency_ms) AS max_latency_ms
FROM requests AS r
WHERE r.accepted_at >= {since:DateTime64(6, 'UTC')}
    AND r.accepted_at < {until:DateTime64(6, 'UTC')}
    AND ({tenant:String} = '' OR r.tenant = {tenant:String})
GROUP BY status
ORDER BY requests DESC, status
