-- Volume, ends, tokens, cost and latency of the requests of {day}, by hour.
SELECT
    {day:Date} AS day,
    toStartOfHour(toDateTime(r.accepted_at, 'UTC'), 'UTC') AS hour,
    r.tenant AS tenant,
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
    count() AS requests,
    countIf(r.cache_hit) AS cache_hits,
    countIf(r.fallback) AS fallbacks,
    countIf(r.stream) AS streamed,
    countIf(NOT r.guardrail_input_pass) AS input_blocked,
    countIf(NOT r.guardrail_output_pass) AS output_blocked,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(r.cached_tokens) AS cached_tokens,
    sum(r.reasoning_tokens) AS reasoning_tokens,
    sum(r.cost_usd) AS cost_usd,
    sum(toUInt64(round(greatest(r.latency_ms, 0) * 1000))) AS latency_us,
    max(r.latency_ms) AS latency_ms_max,
    quantilesDDState($levels())(r.latency_ms) AS latency_ms_sketch,
    {version:String} AS source_version,
    now64(6, 'UTC') AS computed_at
FROM requests_raw AS r FINAL
WHERE r.accepted_at >= toDateTime64({day:Date}, 6, 'UTC')
    AND r.accepted_at < toDateTime64({day:Date} + 1, 6, 'UTC')
GROUP BY
    hour, tenant, status, model, provider, cache_kind, prompt_template, prompt_version, experiment, arm,
    error_code, guardrail_input_rule, guardrail_output_rule
