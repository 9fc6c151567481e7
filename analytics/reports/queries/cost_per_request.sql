-- title: Cost of a request
-- group: cost
-- description: How the cost of one request is spread, by the model that answered. Quantiles are exact: the request at
--     that place, not a value between two.
-- parameter: limit UInt32 1..100000 = 100 | rows at most
-- column: model [name] | the model that answered; empty where none did
-- column: requests [requests] | it answered
-- column: mean_cost_usd [USD] | per request, rounded down to nano-dollars
-- column: p50_cost_usd [USD] | half of the requests cost less
-- column: p95_cost_usd [USD] | 95 of 100 requests cost less
-- column: p99_cost_usd [USD] | 99 of 100 requests cost less
-- column: max_cost_usd [USD] | the dearest request
SELECT
    r.model AS model,
    count() AS requests,
    sum(r.cost_usd) / count() AS mean_cost_usd,
    $percentiles(r.cost_usd, cost_usd),
    max(r.cost_usd) AS max_cost_usd
FROM requests AS r
WHERE $window(r)
GROUP BY model
ORDER BY p95_cost_usd DESC, model
LIMIT {limit:UInt32}
