-- title: Guardrail blocks by rule
-- group: guardrail
-- description: Requests that a guardrail stopped, before the model (input) or after it (output), by tenant and rule.
-- parameter: limit UInt32 1..100000 = 100 | rows at most
-- column: tenant [name] | the tenant
-- column: side [name] | input or output
-- column: rule [name] | the rule that stopped them
-- column: blocked [requests] | that it stopped
-- column: users [users] | who sent them
-- column: requests [requests] | of the tenant, all of them
-- column: block_share [share] | blocked of requests
-- column: cost_usd [USD] | what the blocked requests cost
WITH
    all_of AS
    (
        SELECT r.tenant AS tenant, count() AS requests
        FROM requests AS r
        WHERE $window(r)
        GROUP BY tenant
    ),
    verdicts AS
    (
        SELECT
            r.tenant AS tenant,
            r.user_id AS user_id,
            r.cost_usd AS cost_usd,
            arrayJoin([
                ('input', r.guardrail_input_pass, toString(r.guardrail_input_rule)),
                ('output', r.guardrail_output_pass, toString(r.guardrail_output_rule))
            ]) AS verdict
        FROM requests AS r
        WHERE NOT (r.guardrail_input_pass AND r.guardrail_output_pass)
            AND $window(r)
    )
SELECT
    v.tenant AS tenant,
    v.verdict.1 AS side,
    v.verdict.3 AS rule,
    count() AS blocked,
    uniqExact(v.user_id) AS users,
    any(a.requests) AS requests,
    blocked / requests AS block_share,
    sum(v.cost_usd) AS cost_usd
FROM verdicts AS v
INNER JOIN all_of AS a ON a.tenant = v.tenant
WHERE NOT v.verdict.2
GROUP BY tenant, side, rule
ORDER BY blocked DESC, tenant, side, rule
LIMIT {limit:UInt32}
