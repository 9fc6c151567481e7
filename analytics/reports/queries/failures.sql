-- title: Requests without a proper answer
-- group: reliability
-- description: Requests that ended failed, degraded, blocked or cancelled, by the code of their error.
-- part: whole_hours
-- part: request_figures
-- parameter: source String rollups|rows = rows | where whole hours come from; from the rows is slower, and at once
-- parameter: limit UInt32 1..100000 = 100 | rows at most
-- column: status [name] | how they ended
-- column: error_code [name] | why, as their sender was told; of blocked ones the rule
-- column: requests [requests] | that ended so
-- column: request_share [share] | of all requests
-- column: users [users] | whom it happened to; null where source is rollups
-- column: cost_usd [USD] | what they cost all the same
SELECT status, error_code, requests, requests / all_requests AS request_share, users, cost_usd
FROM
(
    SELECT
        f.status AS status,
        f.error_code AS error_code,
        sum(f.requests) AS requests,
        sum(sum(f.requests)) OVER () AS all_requests,
        if({source:String} = 'rows', uniqExact(f.tenant, f.user_id), NULL) AS users,
        sum(f.cost_usd) AS cost_usd
    FROM request_figures AS f
    GROUP BY status, error_code
)
WHERE status NOT IN ('answered', 'cached')
ORDER BY requests DESC, status, error_code
LIMIT {limit:UInt32}
