-- Attempts at providers for the requests of {day}, by hour: failed, shadow and orphaned ones too.
SELECT
    {day:Date} AS day,
    toStartOfHour(toDateTime(c.accepted_at, 'UTC'), 'UTC') AS hour,
    c.tenant AS tenant,
    c.provider AS provider,
    c.request_model AS request_model,
    c.response_model AS response_model,
    ifNull(c.error, '') AS error,
    c.shadow AS shadow,
    c.orphaned AS orphaned,
    count() AS calls,
    countIf(c.attempt > 1) AS retries,
    sum(c.input_tokens) AS input_tokens,
    sum(c.output_tokens) AS output_tokens,
    sum(c.cached_tokens) AS cached_tokens,
    sum(c.reasoning_tokens) AS reasoning_tokens,
    sum(c.cost_usd) AS cost_usd,
    sum(c.duration_us) AS duration_us,
    count(c.time_to_first_token_us) AS first_tokens,
    sum(ifNull(c.time_to_first_token_us, 0)) AS first_token_us,
    -- Both are taken by clocks that may be corrected in between: never below zero.
    sumIf(
        c.duration_us - least(c.duration_us, ifNull(c.time_to_first_token_us, 0)),
        c.time_to_first_token_us IS NOT NULL
    ) AS generation_us,
    sumIf(c.output_tokens, c.time_to_first_token_us IS NOT NULL) AS generation_tokens,
    quantilesDDState($levels())(c.duration_us) AS duration_us_sketch,
    quantilesDDStateIf($levels())(
        ifNull(c.time_to_first_token_us, 0), c.time_to_first_token_us IS NOT NULL
    ) AS first_token_us_sketch,
    {version:String} AS source_version,
    now64(6, 'UTC') AS computed_at
FROM llm_calls_raw AS c FINAL
WHERE c.accepted_at >= toDateTime64({day:Date}, 6, 'UTC')
    AND c.accepted_at < toDateTime64({day:Date} + 1, 6, 'UTC')
GROUP BY hour, tenant, provider, request_model, response_model, error, shadow, orphaned
