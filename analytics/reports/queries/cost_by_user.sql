-- title: Users who cost most
-- group: cost
-- description: Spend by user, the highest first.
-- parameter: limit UInt32 1..100000 = 20 | rows at most
-- column: tenant [name] | whose user it is
-- column: user_id [id] | the user
-- column: requests [requests] | the user sent
-- column: input_tokens [tokens] | sent to models
-- column: output_tokens [tokens] | written by models
-- column: cost_usd [USD] | what the requests cost
SELECT
    r.tenant AS tenant,
    r.user_id AS user_id,
    count() AS requests,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(r.cost_usd) AS cost_usd
FROM requests AS r
WHERE r.accepted_at >= {since:DateTime64(6, 'UTC')}
    AND r.accepted_at < {until:DateTime64(6, 'UTC')}
    AND ({tenant:String} = '' OR r.tenant = {tenant:String})
GROUP BY tenant, user_id
ORDER BY cost_usd DESC, tenant, user_id
LIMIT {limit:UInt32}
