-- title: Errors by provider and type
-- group: reliability
-- description: Calls that gave no answer, by provider, model and type of fault, against all calls to that model.
--     Lost answers have the type orphaned. Shadow calls are not in it.
-- part: whole_hours
-- part: call_figures
-- parameter: source String rollups|rows = rows | where whole hours come from; from the rows is slower, and at once
-- column: provider [name] | who was asked
-- column: model [name] | the model that was asked
-- column: error [name] | the type of the fault
-- column: failed [calls] | with this fault
-- column: calls [calls] | to this model, all of them
-- column: error_share [share] | failed of calls
-- column: cost_usd [USD] | what the failed calls cost all the same
SELECT provider, model, error, failed, calls, failed / calls AS error_share, cost_usd
FROM
(
    SELECT
        f.provider AS provider,
        f.model AS model,
        f.error AS error,
        sum(f.calls) AS failed,
        sum(sum(f.calls)) OVER (PARTITION BY provider, model) AS calls,
        sum(f.cost_usd) AS cost_usd
    FROM call_figures AS f
    WHERE NOT f.shadow
    GROUP BY provider, model, error
)
WHERE error != ''
ORDER BY failed DESC, provider, model, error
