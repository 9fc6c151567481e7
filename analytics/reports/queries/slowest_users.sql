-- title: Users who wait longest
-- group: latency
-- description: Latency by user, the slowest first, over users with enough requests for the figure to mean something.
--     Quantiles are exact.
-- parameter: min_requests UInt32 1..1000000 = 5 | users with fewer requests are left out
-- parameter: limit UInt32 1..100000 = 20 | rows at most
-- column: tenant [name] | whose user it is
-- column: user_id [id] | the user
-- column: requests [requests] | the user sent
-- column: p50_latency_ms [ms] | half of them took less
-- column: p95_latency_ms [ms] | 95 of 100 took less
-- column: max_latency_ms [ms] | the slowest
SELECT
    r.tenant AS tenant,
    r.user_id AS user_id,
    count() AS requests,
    quantilesExact(0.5, 0.95)(r.latency_ms)[1] AS p50_latency_ms,
    quantilesExact(0.5, 0.95)(r.latency_ms)[2] AS p95_latency_ms,
    max(r.latency_ms) AS max_latency_ms
FROM requests AS r
WHERE $window(r)
GROUP BY tenant, user_id
HAVING requests >= {min_requests:UInt32}
ORDER BY p95_latency_ms DESC, tenant, user_id
LIMIT {limit:UInt32}
