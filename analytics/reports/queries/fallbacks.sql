-- title: Fallbacks, and what they add
-- group: reliability
-- description: By day, the requests in which another model answered than the first that was tried, or none did, of
--     those that got as far as a model. Added cost is what their attempts without an answer cost. Added latency
--     compares the mean of requests with and without a fallback.
-- column: day [day] | the day of acceptance, UTC
-- column: requests [requests] | that the cache did not answer
-- column: fallbacks [requests] | that fell back
-- column: fallback_share [share] | of requests
-- column: degraded [requests] | that no model answered
-- column: added_cost_usd [USD] | of attempts without an answer, in requests that fell back
-- column: mean_latency_ms [ms] | without a fallback; null where there is none
-- column: fallback_latency_ms [ms] | mean, with a fallback; null where there is none
-- column: added_latency_ms [ms] | the difference
WITH
    days AS
    (
        SELECT
            toDate(r.accepted_at) AS day,
            count() AS requests,
            countIf(r.fallback) AS fallbacks,
            countIf(r.status = 'degraded') AS degraded,
            sumIf(r.latency_ms, NOT r.fallback) / nullIf(countIf(NOT r.fallback), 0) AS mean_latency_ms,
            sumIf(r.latency_ms, r.fallback) / nullIf(countIf(r.fallback), 0) AS fallback_latency_ms
        FROM requests AS r
        WHERE r.cache_kind IN ('miss', 'bypass')
            AND $window(r)
        GROUP BY day
    ),
    fallen AS
    (
        SELECT r.tenant, r.request_id
        FROM requests AS r
        WHERE r.fallback
            AND r.cache_kind IN ('miss', 'bypass')
            AND $window(r)
    ),
    attempts AS
    (
        SELECT
            toDate(c.accepted_at) AS day,
            sum(c.cost_usd) AS cost_usd
        FROM llm_calls AS c
        WHERE c.error IS NOT NULL
            AND NOT c.shadow
            AND $window(c)
            AND (c.tenant, c.request_id) IN (SELECT tenant, request_id FROM fallen)
        GROUP BY day
    )
SELECT
    d.day AS day,
    d.requests AS requests,
    d.fallbacks AS fallbacks,
    d.fallbacks / d.requests AS fallback_share,
    d.degraded AS degraded,
    a.cost_usd AS added_cost_usd,
    d.mean_latency_ms AS mean_latency_ms,
    d.fallback_latency_ms AS fallback_latency_ms,
    d.fallback_latency_ms - d.mean_latency_ms AS added_latency_ms
FROM days AS d
LEFT JOIN attempts AS a ON a.day = d.day
ORDER BY day
