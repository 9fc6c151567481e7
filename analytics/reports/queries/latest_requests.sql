-- title: Latest requests
-- group: request
-- description: The requests that were accepted last.
-- parameter: status String = '' | that ended so; empty: all
-- parameter: user_id String = '' | of this user; empty: of all
-- parameter: limit UInt32 1..100000 = 50 | rows at most
-- column: accepted_at [time] | when it was accepted
-- column: request_id [id] | the request
-- column: tenant [name] | whose it is
-- column: user_id [id] | who sent it
-- column: status [name] | how it ended
-- column: model [name] | the model that answered
-- column: prompt_template [name] | the template
-- column: prompt_version [name] | its version
-- column: cache_kind [name] | how the cache was consulted
-- column: latency_ms [ms] | from acceptance to the reply
-- column: cost_usd [USD] | what it cost
-- column: error_code [name] | why it was not answered; empty where it was
SELECT
    r.accepted_at AS accepted_at,
    r.request_id AS request_id,
    r.tenant AS tenant,
    r.user_id AS user_id,
    r.status AS status,
    r.model AS model,
    r.prompt_template AS prompt_template,
    r.prompt_version AS prompt_version,
    r.cache_kind AS cache_kind,
    r.latency_ms AS latency_ms,
    r.cost_usd AS cost_usd,
    r.error_code AS error_code
FROM requests AS r
WHERE ({status:String} = '' OR r.status = {status:String})
    AND ({user_id:String} = '' OR r.user_id = {user_id:String})
    AND $window(r)
ORDER BY accepted_at DESC, request_id
LIMIT {limit:UInt32}
