-- description: Whole hours come from the rollup requests_1h; the partial hours at the ends of the window, and all of a
--     window of up to six hours, from the requests themselves. What is stored late in an hour that is over counts some
--     seconds later.
-- parameter: model String = '' | answered by this model; empty: all
-- parameter: prompt_template String = '' | of this prompt template; empty: all
-- parameter: prompt_version String = '' | of this prompt version; empty: all
-- parameter: experiment String = '' | of this experiment; empty: all
request_figures AS
(
    SELECT
        h.hour AS time,
        h.tenant AS tenant,
        '' AS user_id,  -- which rollups by the hour do not have
        h.status AS status,
        h.model AS model,
        h.provider AS provider,
        h.cache_kind AS cache_kind,
        h.prompt_template AS prompt_template,
        h.prompt_version AS prompt_version,
        h.experiment AS experiment,
        h.arm AS arm,
        h.error_code AS error_code,
        h.guardrail_input_rule AS guardrail_input_rule,
        h.guardrail_output_rule AS guardrail_output_rule,
        h.requests AS requests,
        h.cache_hits AS cache_hits,
        h.fallbacks AS fallbacks,
        h.input_blocked AS input_blocked,
        h.output_blocked AS output_blocked,
        h.input_tokens AS input_tokens,
        h.output_tokens AS output_tokens,
        h.cached_tokens AS cached_tokens,
        h.cost_usd AS cost_usd,
        CAST(NULL AS Nullable(Float64)) AS latency_ms  -- latency_figures has these hours' latencies
    FROM requests_1h AS h
    WHERE $hours(h)
        AND $tenant(h)
        AND $filters(h)
    UNION ALL
    SELECT
        toDateTime(r.accepted_at, 'UTC') AS time,
        r.tenant AS tenant,
        r.user_id AS user_id,
        r.status AS status,
        r.model AS model,
        r.provider AS provider,
        r.cache_kind AS cache_kind,
        r.prompt_template AS prompt_template,
        r.prompt_version AS prompt_version,
        r.experiment AS experiment,
        r.arm AS arm,
        r.error_code AS error_code,
        r.guardrail_input_rule AS guardrail_input_rule,
        r.guardrail_output_rule AS guardrail_output_rule,
        toUInt64(1) AS requests,
        toUInt64(r.cache_hit) AS cache_hits,
        toUInt64(r.fallback) AS fallbacks,
        toUInt64(NOT r.guardrail_input_pass) AS input_blocked,
        toUInt64(NOT r.guardrail_output_pass) AS output_blocked,
        toUInt64(r.input_tokens) AS input_tokens,
        toUInt64(r.output_tokens) AS output_tokens,
        toUInt64(r.cached_tokens) AS cached_tokens,
        toDecimal128(r.cost_usd, 9) AS cost_usd,
        toNullable(r.latency_ms) AS latency_ms
    FROM requests AS r
    WHERE $partial_hours(r)
        AND $filters(r)
)
