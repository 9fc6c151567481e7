-- title: Experiments' arms side by side
-- group: page
-- description: Outcomes, spend and latency of each arm. For intervals and tests: experiment_arms,
--     experiment_quality.
-- part: whole_hours
-- part: request_figures
-- part: latency_figures
-- column: experiment [name] | the experiment
-- column: arm [name] | the arm
-- column: requests [requests] | in the arm
-- column: successful [requests] | that ended answered or cached
-- column: errors [requests] | that ended failed or degraded
-- column: error_share [share] | errors of requests
-- column: blocked [requests] | by a guardrail
-- column: hit_share [share] | answered by the cache, of all requests
-- column: cost_usd [USD] | what the requests cost
-- column: mean_cost_usd [USD] | per request, rounded down to nano-dollars
-- column: p50_latency_ms [ms] | half of the requests took less
-- column: p95_latency_ms [ms] | 95 of 100 took less
WITH
'experiment' AS latency_by
SELECT
    g.experiment AS experiment,
    g.arm AS arm,
    g.requests AS requests,
    g.successful AS successful,
    g.errors AS errors,
    g.errors / g.requests AS error_share,
    g.blocked AS blocked,
    g.cache_hits / g.requests AS hit_share,
    g.cost_usd AS cost_usd,
    g.cost_usd / g.requests AS mean_cost_usd,
    if(empty(l.latency_ms), NULL, l.latency_ms[1]) AS p50_latency_ms,
    if(empty(l.latency_ms), NULL, l.latency_ms[2]) AS p95_latency_ms
FROM
(
    SELECT
        toString(f.experiment) AS experiment,
        toString(f.arm) AS arm,
        sum(f.requests) AS requests,
        sumIf(f.requests, f.status IN ('answered', 'cached')) AS successful,
        sumIf(f.requests, f.status IN ('failed', 'degraded')) AS errors,
        sumIf(f.requests, f.status = 'blocked') AS blocked,
        sum(f.cache_hits) AS cache_hits,
        sum(f.cost_usd) AS cost_usd
    FROM request_figures AS f
    WHERE f.experiment != ''
    GROUP BY experiment, arm
) AS g
LEFT JOIN
(
    SELECT
        f.key AS key,
        f.detail AS detail,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(f.latency_ms_sketch) AS latency_ms
    FROM latency_figures AS f
    GROUP BY key, detail
) AS l ON l.key = g.experiment AND l.detail = g.arm
ORDER BY experiment, arm
