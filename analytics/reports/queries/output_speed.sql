-- title: Output tokens per second
-- group: latency
-- description: How fast models write, from their first token to their last, over answered streams of at least two
--     tokens. The first token is not counted, because the time does not hold it. Shadow calls are not in it.
-- column: provider [name] | who was asked
-- column: model [name] | the model that was asked
-- column: calls [calls] | that are measured
-- column: output_tokens [tokens] | they wrote after their first
-- column: tokens_per_s [tokens/s] | all these tokens by all this time
-- column: p05_tokens_per_s [tokens/s] | 5 of 100 calls were slower
-- column: p50_tokens_per_s [tokens/s] | half of the calls were slower
SELECT
    provider,
    model,
    count() AS calls,
    sum(tokens) AS output_tokens,
    sum(tokens) * 1e6 / sum(writing_us) AS tokens_per_s,
    quantileExact(0.05)(tokens * 1e6 / writing_us) AS p05_tokens_per_s,
    quantileExact(0.5)(tokens * 1e6 / writing_us) AS p50_tokens_per_s
FROM
(
    SELECT
        c.provider AS provider,
        c.request_model AS model,
        c.output_tokens - 1 AS tokens,
        c.duration_us - assumeNotNull(c.time_to_first_token_us) AS writing_us
    FROM llm_calls AS c
    WHERE c.error IS NULL
        AND NOT c.shadow
        AND c.output_tokens > 1
        AND c.time_to_first_token_us < c.duration_us
        AND $window(c)
)
GROUP BY provider, model
ORDER BY tokens_per_s, provider, model
