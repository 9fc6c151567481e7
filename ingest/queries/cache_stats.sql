SELECT
    countIf(cache_hit) AS hits,
    countIf(cache_kind = 'miss') AS misses
FROM requests
WHERE tenant = {tenant:String}
