-- title: Hours against the usual
-- group: traffic
-- description: Each whole hour of the time, beside the median of the same hour of the days before. Hours in which
--     nothing was accepted are not there, and hours without any day to compare with are not either.
-- parameter: since DateTime64(6, 'UTC') = 24h | hours that begin at this time or later
-- parameter: days UInt32 1..90 = 7 | how many days before are compared with
-- column: hour [time] | its beginning, UTC
-- column: days [count] | that had requests in the same hour
-- column: requests [requests] | accepted in it
-- column: usual_requests [requests] | median of the days before
-- column: cost_usd [USD] | what they cost
-- column: usual_cost_usd [USD] | median of the days before
-- column: p95_latency_ms [ms] | 95 of 100 requests took less
-- column: usual_p95_latency_ms [ms] | median of the days before
-- column: error_share [share] | that ended failed or degraded
-- column: usual_error_share [share] | median of the days before
WITH hours AS
(
    SELECT
        toDateTime64(toStartOfHour(r.accepted_at), 0, 'UTC') AS hour,
        count() AS requests,
        sum(r.cost_usd) AS cost_usd,
        quantileExact(0.95)(r.latency_ms) AS p95_latency_ms,
        countIf(r.status IN ('failed', 'degraded')) / count() AS error_share
    FROM requests AS r
    WHERE r.accepted_at >= {since:DateTime64(6, 'UTC')} - toIntervalDay({days:UInt32})
        AND r.accepted_at < {until:DateTime64(6, 'UTC')}
        AND $tenant(r)
    GROUP BY hour
)
SELECT
    h.hour AS hour,
    count() AS days,
    any(h.requests) AS requests,
    quantileExact(0.5)(b.requests) AS usual_requests,
    any(h.cost_usd) AS cost_usd,
    quantileExact(0.5)(b.cost_usd) AS usual_cost_usd,
    any(h.p95_latency_ms) AS p95_latency_ms,
    quantileExact(0.5)(b.p95_latency_ms) AS usual_p95_latency_ms,
    any(h.error_share) AS error_share,
    quantileExact(0.5)(b.error_share) AS usual_error_share
FROM hours AS h
INNER JOIN hours AS b ON toHour(b.hour) = toHour(h.hour)
WHERE h.hour >= {since:DateTime64(6, 'UTC')}
    AND h.hour + toIntervalHour(1) <= {until:DateTime64(6, 'UTC')}
    AND b.hour < h.hour
    AND b.hour >= h.hour - toIntervalDay({days:UInt32})
GROUP BY hour
ORDER BY hour
