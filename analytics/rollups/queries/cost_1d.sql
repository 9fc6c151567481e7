-- What the requests of {day} were charged, by whom, for which model and which prompt.
SELECT
    {day:Date} AS day,
    r.tenant AS tenant,
    r.tier AS tier,
    r.model AS model,
    r.provider AS provider,
    r.prompt_template AS prompt_template,
    r.prompt_version AS prompt_version,
    r.experiment AS experiment,
    r.arm AS arm,
    r.price_version AS price_version,
    count() AS requests,
    countIf(r.status IN ('answered', 'cached')) AS successful,
    countIf(r.error IS NOT NULL) AS errors,
    countIf(r.cache_hit) AS cache_hits,
    countIf(r.fallback) AS fallbacks,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(r.cached_tokens) AS cached_tokens,
    sum(r.reasoning_tokens) AS reasoning_tokens,
    sum(r.cost_usd) AS cost_usd,
    sumIf(r.cost_usd, r.status IN ('answered', 'cached')) AS successful_cost_usd,
    max(r.cost_usd) AS cost_usd_max,
    sum(toUInt64(round(greatest(r.latency_ms, 0) * 1000))) AS latency_us,
    quantilesDDState($levels())(toFloat64(r.cost_usd)) AS cost_usd_sketch,
    {version:String} AS source_version,
    now64(6, 'UTC') AS computed_at
FROM requests_raw AS r FINAL
WHERE r.accepted_at >= toDateTime64({day:Date}, 6, 'UTC')
    AND r.accepted_at < toDateTime64({day:Date} + 1, 6, 'UTC')
GROUP BY tenant, tier, model, provider, prompt_template, prompt_version, experiment, arm, price_version
