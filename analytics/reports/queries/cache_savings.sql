-- title: What the cache saves
-- group: cache
-- description: Hit rate, dollars and milliseconds saved, by tenant and prompt version. A hit is taken to save what an
--     answered miss of the same tenant and prompt version cost and took on average in the same time: an estimate,
--     and null where there was no such miss to compare with.
-- parameter: limit UInt32 1..100000 = 100 | rows at most
-- column: tenant [name] | the tenant
-- column: prompt_template [name] | the template; empty where the request brought its own messages
-- column: prompt_version [name] | its version
-- column: lookups [requests] | hits and misses
-- column: hits [requests] | that the cache answered
-- column: hit_share [share] | hits of lookups
-- column: answered_misses [requests] | what the hits are compared with
-- column: saved_usd [USD] | by all hits, rounded down to nano-dollars
-- column: saved_ms [ms] | by all hits
SELECT
    tenant,
    prompt_template,
    prompt_version,
    lookups,
    hits,
    hits / lookups AS hit_share,
    answered_misses,
    if(answered_misses = 0, NULL, hits * miss_cost_usd / greatest(answered_misses, 1)) AS saved_usd,
    if(answered_misses = 0, NULL, hits * miss_ms / answered_misses - hit_ms) AS saved_ms
FROM
(
    SELECT
        r.tenant AS tenant,
        r.prompt_template AS prompt_template,
        r.prompt_version AS prompt_version,
        count() AS lookups,
        countIf(r.cache_hit) AS hits,
        countIf(NOT r.cache_hit AND r.status = 'answered') AS answered_misses,
        sumIf(r.cost_usd, NOT r.cache_hit AND r.status = 'answered') AS miss_cost_usd,
        sumIf(r.latency_ms, NOT r.cache_hit AND r.status = 'answered') AS miss_ms,
        sumIf(r.latency_ms, r.cache_hit) AS hit_ms
    FROM requests AS r
    WHERE r.cache_kind IN ('exact', 'semantic', 'miss')
        AND $window(r)
    GROUP BY tenant, prompt_template, prompt_version
)
ORDER BY hits DESC, tenant, prompt_template, prompt_version
LIMIT {limit:UInt32}
