-- Five stages for every request that was accepted from {since} on and before {until}: guardrail, cache, llm (or
-- embeddings), output, cost. They share the request's latency, so that a waterfall adds up to it.
INSERT INTO stages_raw
(
    request_id, tenant, accepted_at, stage, attempt, started_at, queue_us, duration_us, outcome, model,
    prompt_template, prompt_version, experiment, arm, ingested_at
)
WITH
    if(r.cache_kind = '' AND r.status = 'answered', 'embeddings', 'llm') AS third,
    cityHash64(r.request_id, s.1) / 18446744073709551616. AS u,
    toInt64(r.latency_ms * 1000) AS latency_us,
    toInt64(latency_us * s.3 * (0.05 + 0.3 * u)) AS queue_us,
    toInt64(latency_us * s.3) - queue_us AS work_us
SELECT
    r.request_id,
    r.tenant,
    r.accepted_at,
    s.1,
    1,
    r.accepted_at + toIntervalMicrosecond(toInt64(latency_us * s.2) + queue_us),
    queue_us,
    work_us,
    multiIf(s.1 = 'guardrail', if(r.guardrail_input_pass, 'passed', 'blocked'), s.1 = 'cache', r.cache_kind,
        s.1 = third AND r.error_code != '', 'failed', 'ok'),
    r.model,
    r.prompt_template,
    r.prompt_version,
    r.experiment,
    r.arm,
    r.ingested_at
FROM requests_raw AS r
ARRAY JOIN [('guardrail', 0., 0.04), ('cache', 0.04, 0.08), (third, 0.12, 0.78), ('output', 0.90, 0.06),
    ('cost', 0.96, 0.04)] AS s
WHERE r.accepted_at >= {since:DateTime64(6, 'UTC')} AND r.accepted_at < {until:DateTime64(6, 'UTC')}
