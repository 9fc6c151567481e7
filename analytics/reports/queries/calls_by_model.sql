-- title: Provider calls by model
-- group: cost
-- description: Every attempt at a provider, by the model that was asked, and what it cost. The spend of calls that
--     are not in shadow adds up to the cost of the requests. Calls are kept 90 days.
-- column: provider [name] | who was asked
-- column: model [name] | the model that was asked
-- column: calls [calls] | all of them
-- column: failed [calls] | that gave no answer
-- column: orphaned [calls] | whose answer was lost with its worker
-- column: shadow [calls] | in shadow, whose answer nobody saw
-- column: input_tokens [tokens] | sent
-- column: output_tokens [tokens] | written
-- column: cost_usd [USD] | what the calls cost that were charged to a request
-- column: orphaned_cost_usd [USD] | of it, estimates for lost answers
-- column: shadow_cost_usd [USD] | what the shadow calls cost, beside cost_usd
SELECT
    c.provider AS provider,
    c.request_model AS model,
    count() AS calls,
    countIf(c.error IS NOT NULL AND NOT c.orphaned) AS failed,
    countIf(c.orphaned) AS orphaned,
    countIf(c.shadow) AS shadow,
    sum(c.input_tokens) AS input_tokens,
    sum(c.output_tokens) AS output_tokens,
    sumIf(c.cost_usd, NOT c.shadow) AS cost_usd,
    sumIf(c.cost_usd, c.orphaned AND NOT c.shadow) AS orphaned_cost_usd,
    sumIf(c.cost_usd, c.shadow) AS shadow_cost_usd
FROM llm_calls AS c
WHERE $window(c)
GROUP BY provider, model
ORDER BY cost_usd DESC, provider, model
