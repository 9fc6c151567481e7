-- title: Spend by model, tenant, prompt or day
-- group: cost
-- description: What the requests cost by one of these, the highest first; days in their order.
-- part: whole_hours
-- part: request_figures
-- part: spend_key
-- parameter: by String model|tenant|provider|prompt|experiment|day = model | what a row is about
-- parameter: limit UInt32 1..100000 = 50 | rows at most
-- column: key [name] | the model, tenant, provider, prompt template, experiment or day (UTC)
-- column: detail [name] | of a model its provider, of a template its version, of an experiment its arm; else empty
-- column: requests [requests] | of it
-- column: successful [requests] | that ended answered or cached
-- column: cache_hits [requests] | that the cache answered
-- column: input_tokens [tokens] | sent to models, cached ones included
-- column: output_tokens [tokens] | written by models
-- column: cost_usd [USD] | what the requests cost
-- column: mean_cost_usd [USD] | per request, rounded down to nano-dollars
SELECT
    spend_key AS key,
    spend_detail AS detail,
    sum(f.requests) AS requests,
    sumIf(f.requests, f.status IN ('answered', 'cached')) AS successful,
    sum(f.cache_hits) AS cache_hits,
    sum(f.input_tokens) AS input_tokens,
    sum(f.output_tokens) AS output_tokens,
    sum(f.cost_usd) AS cost_usd,
    sum(f.cost_usd) / sum(f.requests) AS mean_cost_usd
FROM request_figures AS f
GROUP BY key, detail
ORDER BY if({by:String} = 'day', key, '') ASC, cost_usd DESC, key ASC, detail ASC
LIMIT {limit:UInt32}
