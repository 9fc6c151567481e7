-- title: Requests without a proper answer
-- group: reliability
-- description: Requests that ended failed, degraded, blocked or cancelled, by the code of their error.
-- parameter: limit UInt32 1..100000 = 100 | rows at most
-- column: status [name] | how they ended
-- column: error_code [name] | why, as their sender was told; of blocked ones the rule
-- column: requests [requests] | that ended so
-- column: request_share [share] | of all requests
-- column: users [users] | whom it happened to
-- column: cost_usd [USD] | what they cost all the same
SELECT
    status,
    error_code,
    requests,
    requests / all_requests AS request_share,
    users,
    cost_usd
FROM
(
    SELECT
        r.status AS status,
        r.error_code AS error_code,
        count() AS requests,
        sum(requests) OVER () AS all_requests,
        uniqExact(r.tenant, r.user_id) AS users,
        sum(r.cost_usd) AS cost_usd
    FROM requests AS r
    WHERE r.accepted_at >= {since:DateTime64(6, 'UTC')}
        AND r.accepted_at < {until:DateTime64(6, 'UTC')}
        AND ({tenant:String} = '' OR r.tenant = {tenant:String})
    GROUP BY status, error_code
)
WHERE status NOT IN ('answered', 'cached')
ORDER BY requests DESC, status, error_code
LIMIT {limit:UInt32}
