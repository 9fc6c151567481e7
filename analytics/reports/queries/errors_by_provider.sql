-- title: Errors by provider and type
-- group: reliability
-- description: Calls that gave no answer, by provider, model and type of fault, against all calls to that model. Lost
--     answers have the type orphaned. Shadow calls are not in it.
-- column: provider [name] | who was asked
-- column: model [name] | the model that was asked
-- column: error [name] | the type of the fault
-- column: failed [calls] | with this fault
-- column: calls [calls] | to this model, all of them
-- column: error_share [share] | failed of calls
-- column: cost_usd [USD] | what the failed calls cost all the same
SELECT
    provider,
    model,
    error,
    failed,
    calls,
    failed / calls AS error_share,
    cost_usd
FROM
(
    SELECT
        c.provider AS provider,
        c.request_model AS model,
        ifNull(toString(c.error), '') AS error,
        count() AS failed,
        sum(failed) OVER (PARTITION BY provider, model) AS calls,
        sum(c.cost_usd) AS cost_usd
    FROM llm_calls AS c
    WHERE NOT c.shadow
        AND c.accepted_at >= {since:DateTime64(6, 'UTC')}
        AND c.accepted_at < {until:DateTime64(6, 'UTC')}
        AND ({tenant:String} = '' OR c.tenant = {tenant:String})
    GROUP BY provider, model, error
)
WHERE error != ''
ORDER BY failed DESC, provider, model, error
