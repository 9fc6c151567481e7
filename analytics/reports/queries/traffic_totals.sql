-- title: The window in one row
-- group: traffic
-- description: Volume, outcomes, spend and latency of all requests of the window. What the cache saves is an
--     estimate: a hit is taken to save what an answered miss of the same tenant and prompt version cost on average.
-- part: whole_hours
-- part: request_figures
-- part: latency_figures
-- column: requests [requests] | accepted in the window
-- column: successful [requests] | that ended answered or cached
-- column: failed [requests] | that ended failed
-- column: degraded [requests] | that got the degraded answer
-- column: errors [requests] | failed or degraded
-- column: error_share [share] | errors of requests
-- column: blocked [requests] | by a guardrail
-- column: block_share [share] | blocked of requests
-- column: cancelled [requests] | by their sender
-- column: fallbacks [requests] | that another model answered than the first that was tried, or none
-- column: fallback_share [share] | fallbacks of requests
-- column: cache_lookups [requests] | that asked the cache
-- column: cache_hits [requests] | that the cache answered
-- column: hit_share [share] | hits of lookups
-- column: saved_usd [USD] | by the cache; null where no miss is there to compare with
-- column: input_tokens [tokens] | sent to models, cached ones included
-- column: output_tokens [tokens] | written by models
-- column: cached_tokens [tokens] | of the input, those at the lower price
-- column: cost_usd [USD] | what the requests cost
-- column: mean_cost_usd [USD] | per request, rounded down to nano-dollars
-- column: p50_latency_ms [ms] | half of the requests took less
-- column: p95_latency_ms [ms] | 95 of 100 took less
-- column: p99_latency_ms [ms] | 99 of 100 took less
WITH
'' AS latency_by
SELECT
    sum(g.requests) AS requests,
    sum(g.successful) AS successful,
    sum(g.failed) AS failed,
    sum(g.degraded) AS degraded,
    failed + degraded AS errors,
    errors / nullIf(requests, 0) AS error_share,
    sum(g.blocked) AS blocked,
    blocked / nullIf(requests, 0) AS block_share,
    sum(g.cancelled) AS cancelled,
    sum(g.fallbacks) AS fallbacks,
    fallbacks / nullIf(requests, 0) AS fallback_share,
    sum(g.lookups) AS cache_lookups,
    sum(g.hits) AS cache_hits,
    cache_hits / nullIf(cache_lookups, 0) AS hit_share,
    sumOrNullIf(g.hits * g.miss_cost_usd / greatest(g.misses, 1), g.misses > 0) AS saved_usd,
    sum(g.input_tokens) AS input_tokens,
    sum(g.output_tokens) AS output_tokens,
    sum(g.cached_tokens) AS cached_tokens,
    sum(g.cost_usd) AS cost_usd,
    if(requests = 0, NULL, cost_usd / greatest(requests, 1)) AS mean_cost_usd,
    if(
        requests = 0,
        NULL,
        (
            finalizeAggregation(
                quantilesDDMergeState($levels())(g.own_sketch) + any(l.latency_ms_sketch)
            ) AS latency_ms
        )[1]
    ) AS p50_latency_ms,
    if(requests = 0, NULL, latency_ms[2]) AS p95_latency_ms,
    if(requests = 0, NULL, latency_ms[3]) AS p99_latency_ms
FROM
(
    SELECT
        sum(f.requests) AS requests,
        sumIf(f.requests, f.status IN ('answered', 'cached')) AS successful,
        sumIf(f.requests, f.status = 'failed') AS failed,
        sumIf(f.requests, f.status = 'degraded') AS degraded,
        sumIf(f.requests, f.status = 'blocked') AS blocked,
        sumIf(f.requests, f.status = 'cancelled') AS cancelled,
        sum(f.fallbacks) AS fallbacks,
        sumIf(f.requests, f.cache_kind IN ('exact', 'semantic', 'miss')) AS lookups,
        sum(f.cache_hits) AS hits,
        sumIf(f.requests, f.cache_kind = 'miss' AND f.status = 'answered') AS misses,
        sumIf(f.cost_usd, f.cache_kind = 'miss' AND f.status = 'answered') AS miss_cost_usd,
        sum(f.input_tokens) AS input_tokens,
        sum(f.output_tokens) AS output_tokens,
        sum(f.cached_tokens) AS cached_tokens,
        sum(f.cost_usd) AS cost_usd,
        $own_sketch() AS own_sketch
    FROM request_figures AS f
    GROUP BY f.tenant, f.prompt_template, f.prompt_version
) AS g
CROSS JOIN
(
    SELECT $hour_sketch() AS latency_ms_sketch
    FROM latency_figures AS f
) AS l
