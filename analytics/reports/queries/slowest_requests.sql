-- title: Slowest requests
-- group: latency
-- description: The requests that took longest; request_stages says where one spent its time.
-- parameter: limit UInt32 1..100000 = 20 | rows at most
-- column: accepted_at [time] | when it was accepted
-- column: request_id [id] | the request
-- column: tenant [name] | whose it is
-- column: user_id [id] | who sent it
-- column: status [name] | how it ended
-- column: model [name] | the model that answered
-- column: latency_ms [ms] | from acceptance to the reply
-- column: cost_usd [USD] | what it cost
SELECT
    r.accepted_at AS accepted_at,
    r.request_id AS request_id,
    r.tenant AS tenant,
    r.user_id AS user_id,
    r.status AS status,
    r.model AS model,
    r.latency_ms AS latency_ms,
    r.cost_usd AS cost_usd
FROM requests AS r
WHERE $window(r)
ORDER BY latency_ms DESC, accepted_at, request_id
LIMIT {limit:UInt32}
