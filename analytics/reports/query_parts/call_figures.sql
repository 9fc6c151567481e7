-- description: Whole hours come from the rollup calls_1h; the partial hours at the ends of the window, and all of a
--     window of up to six hours, from the calls themselves. What is stored late in an hour that is over counts some
--     seconds later.
-- parameter: model String = '' | to this model; empty: to all
call_figures AS
(
    SELECT
        h.provider AS provider,
        h.request_model AS model,
        h.error AS error,
        h.shadow AS shadow,
        h.orphaned AS orphaned,
        h.calls AS calls,
        h.retries AS retries,
        h.cost_usd AS cost_usd,
        h.first_tokens AS first_tokens,
        h.duration_us_sketch AS duration_us_sketch,
        h.first_token_us_sketch AS first_token_us_sketch
    FROM calls_1h AS h
    WHERE $hours(h)
        AND $tenant(h)
        AND ({model:String} = '' OR h.request_model = {model:String})
    UNION ALL
    SELECT
        c.provider AS provider,
        c.request_model AS model,
        toLowCardinality(ifNull(toString(c.error), '')) AS error,
        c.shadow AS shadow,
        c.orphaned AS orphaned,
        count() AS calls,
        countIf(c.attempt > 1) AS retries,
        sum(c.cost_usd) AS cost_usd,
        count(c.time_to_first_token_us) AS first_tokens,
        quantilesDDState($levels())(c.duration_us) AS duration_us_sketch,
        quantilesDDStateIf($levels())(
            assumeNotNull(c.time_to_first_token_us), c.time_to_first_token_us IS NOT NULL
        ) AS first_token_us_sketch
    FROM llm_calls AS c
    WHERE $partial_hours(c)
        AND ({model:String} = '' OR c.request_model = {model:String})
    GROUP BY provider, model, error, shadow, orphaned
)
