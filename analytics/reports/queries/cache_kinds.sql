-- title: Cache lookups by kind
-- group: cache
-- description: How the cache was consulted, for requests that came so far.
-- column: cache_kind [name] | exact, semantic, miss, or bypass (not looked up)
-- column: requests [requests] | of this kind
-- column: hits [requests] | that the cache answered
-- column: request_share [share] | of all kinds
-- column: mean_latency_ms [ms] | from acceptance to the reply
-- column: mean_similarity [cosine] | of the nearest question; null where none was compared
-- column: cost_usd [USD] | what the requests cost
SELECT
    r.cache_kind AS cache_kind,
    count() AS requests,
    countIf(r.cache_hit) AS hits,
    requests / sum(requests) OVER () AS request_share,
    avg(r.latency_ms) AS mean_latency_ms,
    avg(r.cache_similarity) AS mean_similarity,
    sum(r.cost_usd) AS cost_usd
FROM requests AS r
WHERE r.cache_kind != ''
    AND $window(r)
GROUP BY cache_kind
ORDER BY requests DESC, cache_kind
