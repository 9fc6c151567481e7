-- How often the cache answered since {since}, by kind. An empty tenant means all of them.
SELECT
    cache_kind,
    count() AS requests,
    countIf(cache_hit) AS hits,
    avg(latency_ms) AS mean_latency_ms,
    avg(cache_similarity) AS mean_similarity,
    sum(cost_usd) AS cost_usd
FROM requests
WHERE accepted_at >= {since:DateTime64(6)}
    AND ({tenant:String} = '' OR tenant = {tenant:String})
    AND cache_kind != ''
GROUP BY cache_kind
ORDER BY requests DESC, cache_kind
