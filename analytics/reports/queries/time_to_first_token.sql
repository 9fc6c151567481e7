-- title: Time to the first token
-- group: latency
-- description: From asking a provider to the first piece of its answer, over calls that had one. Quantiles are exact.
--     Shadow calls are not in it.
-- column: provider [name] | who was asked
-- column: model [name] | the model that was asked
-- column: calls [calls] | that had a first token
-- column: p50_first_token_ms [ms] | half of the calls took less
-- column: p95_first_token_ms [ms] | 95 of 100 took less
-- column: p99_first_token_ms [ms] | 99 of 100 took less
SELECT
    c.provider AS provider,
    c.request_model AS model,
    count() AS calls,
    quantileExact(0.5)(assumeNotNull(c.time_to_first_token_us)) / 1000 AS p50_first_token_ms,
    quantileExact(0.95)(assumeNotNull(c.time_to_first_token_us)) / 1000 AS p95_first_token_ms,
    quantileExact(0.99)(assumeNotNull(c.time_to_first_token_us)) / 1000 AS p99_first_token_ms
FROM llm_calls AS c
WHERE c.time_to_first_token_us IS NOT NULL
    AND NOT c.shadow
    AND $window(c)
GROUP BY provider, model
ORDER BY p95_first_token_ms DESC, provider, model
