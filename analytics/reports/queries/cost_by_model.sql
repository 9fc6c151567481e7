-- title: Cost by model
-- group: cost
-- description: What the requests cost, by the model that answered. Attempts at other models before it are in the cost
--     of their request; calls_by_model has the spend by the model that was asked.
-- parameter: limit UInt32 1..100000 = 100 | rows at most
-- column: model [name] | the model that answered; empty where none did
-- column: requests [requests] | it answered, from the cache too
-- column: successful [requests] | that ended answered or cached
-- column: input_tokens [tokens] | sent to models
-- column: output_tokens [tokens] | written by models
-- column: cost_usd [USD] | what the requests cost
SELECT
    r.model AS model,
    count() AS requests,
    countIf(r.status IN ('answered', 'cached')) AS successful,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(r.cost_usd) AS cost_usd
FROM requests AS r
WHERE $window(r)
GROUP BY model
ORDER BY cost_usd DESC, model
LIMIT {limit:UInt32}
