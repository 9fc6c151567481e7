-- The calls of every request that was accepted from {since} on and before {until}: what answered, what failed
-- before it, and a shadow beside every fiftieth answer. What is charged adds up to the requests' cost.
INSERT INTO llm_calls_raw
(
    request_id, call_id, tenant, user_id, accepted_at, attempt, started_at, duration_us, time_to_first_token_us,
    provider, request_model, response_model, prompt_template, prompt_version, experiment, arm, input_tokens,
    output_tokens, cached_tokens, reasoning_tokens, cost_usd, price_version, finish_reason, error, shadow,
    orphaned, ingested_at
)
WITH
    cityHash64(r.request_id, 40) / 18446744073709551616. AS u,
    toInt64(r.latency_ms * 700) AS llm_us,
    r.status = 'answered' OR NOT r.guardrail_output_pass AS answered,
    arrayConcat(
        if(r.fallback, ['failed'], []),
        multiIf(answered, ['answer'], r.status = 'cancelled', ['cut'], r.status IN ('failed', 'degraded'), ['failed'], []),
        if(answered AND u < 0.02, ['shadow'], [])
    ) AS kinds,
    if(r.model IN ('', 'degraded') OR (kind = 'failed' AND answered), {models:Array(String)}[1], r.model) AS asked,
    if(kind = 'shadow', {models:Array(String)}[2], asked) AS model,
    kind = 'failed' AS is_failed
SELECT
    r.request_id,
    concat(r.request_id, '-', toString(place)),
    r.tenant,
    r.user_id,
    r.accepted_at,
    place,
    r.accepted_at + toIntervalMicrosecond(toInt64(r.latency_ms * 150) + (place - 1) * 1000),
    intDiv(llm_us, greatest(length(kinds), 1)),
    if(is_failed OR NOT r.stream, NULL, toInt64(intDiv(llm_us, greatest(length(kinds), 1)) * (0.1 + 0.4 * u))),
    if(startsWith(model, 'claude'), 'anthropic', 'openai'),
    model,
    if(is_failed, '', concat(model, '-2026')),
    r.prompt_template,
    r.prompt_version,
    r.experiment,
    r.arm,
    if(is_failed, 0, r.input_tokens),
    if(is_failed, 0, r.output_tokens),
    if(is_failed, 0, r.cached_tokens),
    0,
    if(is_failed, toDecimal64(0, 9), r.cost_usd),
    if(is_failed, '', {price_version:String}),
    if(is_failed, '', 'stop'),
    multiIf(kind = 'cut', 'cancelled', is_failed, ['rate_limited', 'timeout', 'server_error'][1 + toInt64(3 * u)], NULL),
    kind = 'shadow',
    0,
    r.ingested_at
FROM requests_raw AS r
ARRAY JOIN kinds AS kind, arrayEnumerate(kinds) AS place
WHERE r.accepted_at >= {since:DateTime64(6, 'UTC')} AND r.accepted_at < {until:DateTime64(6, 'UTC')}
