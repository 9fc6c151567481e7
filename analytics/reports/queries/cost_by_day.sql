-- title: Cost by day and model
-- group: cost
-- description: What the requests of each day cost, by the model that answered. Days are UTC, and a request belongs to
--     the day on which it was accepted.
-- parameter: limit UInt32 1..100000 = 1000 | rows at most
-- column: day [day] | the day
-- column: model [name] | the model that answered; empty where none did
-- column: requests [requests] | accepted on the day
-- column: input_tokens [tokens] | sent to models
-- column: output_tokens [tokens] | written by models
-- column: cost_usd [USD] | what the requests cost
SELECT
    toDate(r.accepted_at) AS day,
    r.model AS model,
    count() AS requests,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(r.cost_usd) AS cost_usd
FROM requests AS r
WHERE $window(r)
GROUP BY day, model
ORDER BY day, cost_usd DESC, model
LIMIT {limit:UInt32}
