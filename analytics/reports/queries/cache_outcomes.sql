-- title: What the cache answered and saved
-- group: cache
-- description: Requests by how the cache was consulted. A hit is taken to save what an answered miss of the same
--     tenant and prompt version cost on average: an estimate, and null where there was no such miss to compare
--     with.
-- part: whole_hours
-- part: request_figures
-- part: latency_figures
-- column: kind [name] | exact and semantic hits, miss, bypass; empty: did not get as far
-- column: requests [requests] | of the kind
-- column: request_share [share] | of all requests
-- column: cost_usd [USD] | what they cost
-- column: saved_usd [USD] | by the hits, rounded down to nano-dollars; null for others than hits
-- column: p50_latency_ms [ms] | half of the requests took less
-- column: p95_latency_ms [ms] | 95 of 100 took less
WITH
'cache_kind' AS latency_by
SELECT
    g.kind AS kind,
    g.requests AS requests,
    g.requests / g.all_requests AS request_share,
    g.cost_usd AS cost_usd,
    g.saved_usd AS saved_usd,
    $joined_latency()
FROM
(
    SELECT
        toString(f.kind) AS kind,
        sum(f.requests) AS requests,
        sum(sum(f.requests)) OVER () AS all_requests,
        sum(f.cost_usd) AS cost_usd,
        sumOrNullIf(
            f.requests * f.miss_cost_usd / greatest(f.misses, 1), f.misses > 0 AND f.kind IN ('exact', 'semantic')
        ) AS saved_usd,
        quantilesDDMergeState($levels())(f.own_sketch) AS own_sketch
    FROM
    (
        SELECT
            f.cache_kind AS kind,
            sum(f.requests) AS requests,
            sum(f.cost_usd) AS cost_usd,
            $own_sketch() AS own_sketch,
            sumIf(f.requests, f.cache_kind = 'miss' AND f.status = 'answered') AS own_misses,
            sumIf(f.cost_usd, f.cache_kind = 'miss' AND f.status = 'answered') AS own_miss_cost_usd,
            sum(own_misses) OVER (PARTITION BY f.tenant, f.prompt_template, f.prompt_version) AS misses,
            sum(own_miss_cost_usd) OVER (PARTITION BY f.tenant, f.prompt_template, f.prompt_version) AS miss_cost_usd
        FROM request_figures AS f
        GROUP BY kind, f.tenant, f.prompt_template, f.prompt_version
    ) AS f
    GROUP BY kind
) AS g
LEFT JOIN
(
    SELECT
        f.key AS key,
        $hour_sketch() AS latency_ms_sketch
    FROM latency_figures AS f
    GROUP BY key
) AS l ON l.key = g.kind
ORDER BY requests DESC, kind
