-- title: Users who cost most
-- group: cost
-- description: Spend by user, the highest first. Whole days come from the rollup users_1d, the partial days at the ends of the
--     window from the requests themselves.
-- part: whole_days
-- parameter: source String rollups|rows = rows | where whole days come from; from the rows is slower, and at once
-- parameter: limit UInt32 1..100000 = 20 | rows at most
-- column: tenant [name] | whose user it is
-- column: user_id [id] | the user
-- column: requests [requests] | the user sent
-- column: successful [requests] | that ended answered or cached
-- column: errors [requests] | with an error, blocked ones among them
-- column: input_tokens [tokens] | sent to models, cached ones included
-- column: output_tokens [tokens] | written by models
-- column: cost_usd [USD] | what the requests cost
-- column: mean_cost_usd [USD] | per request, rounded down to nano-dollars
SELECT
    f.tenant AS tenant,
    f.user_id AS user_id,
    sum(f.requests) AS requests,
    sum(f.successful) AS successful,
    sum(f.errors) AS errors,
    sum(f.input_tokens) AS input_tokens,
    sum(f.output_tokens) AS output_tokens,
    sum(f.cost_usd) AS cost_usd,
    sum(f.cost_usd) / sum(f.requests) AS mean_cost_usd
FROM
(
    SELECT
        u.tenant AS tenant,
        u.user_id AS user_id,
        u.requests AS requests,
        u.successful AS successful,
        u.errors AS errors,
        u.input_tokens AS input_tokens,
        u.output_tokens AS output_tokens,
        u.cost_usd AS cost_usd
    FROM users_1d AS u
    WHERE $days(u)
    UNION ALL
    SELECT
        r.tenant AS tenant,
        r.user_id AS user_id,
        toUInt64(1) AS requests,
        toUInt64(r.status IN ('answered', 'cached')) AS successful,
        toUInt64(r.error IS NOT NULL) AS errors,
        toUInt64(r.input_tokens) AS input_tokens,
        toUInt64(r.output_tokens) AS output_tokens,
        toDecimal128(r.cost_usd, 9) AS cost_usd
    FROM requests AS r
    WHERE $partial_days(r)
) AS f
GROUP BY tenant, user_id
ORDER BY cost_usd DESC, tenant, user_id
LIMIT {limit:UInt32}
