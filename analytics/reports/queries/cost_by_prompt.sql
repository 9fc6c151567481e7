-- title: Cost by prompt version
-- group: cost
-- description: Spend, tokens and cache hits by prompt template and version.
-- parameter: limit UInt32 1..100000 = 100 | rows at most
-- column: prompt_template [name] | the template; empty where the request brought its own messages
-- column: prompt_version [name] | its version
-- column: requests [requests] | that used it
-- column: cache_hits [requests] | that the cache answered
-- column: input_tokens [tokens] | sent to models
-- column: output_tokens [tokens] | written by models
-- column: cost_usd [USD] | what the requests cost
-- column: mean_cost_usd [USD] | per request, rounded down to nano-dollars
SELECT
    r.prompt_template AS prompt_template,
    r.prompt_version AS prompt_version,
    count() AS requests,
    countIf(r.cache_hit) AS cache_hits,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(r.cost_usd) AS cost_usd,
    sum(r.cost_usd) / count() AS mean_cost_usd
FROM requests AS r
WHERE $window(r)
GROUP BY prompt_template, prompt_version
ORDER BY cost_usd DESC, prompt_template, prompt_version
LIMIT {limit:UInt32}
