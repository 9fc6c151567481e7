-- Requests number {first} to {first} + {count} of {total}, over the 30 days before {end}. Everything about a
-- request is a hash of its number, so that any of them can be made again. A day has a busy and a quiet half;
-- users have a long tail, and belong to one of 20 tenants; latencies are log-normal (Box-Muller).
INSERT INTO requests_raw
(
    request_id, tenant, user_id, tier, session_id, accepted_at, finished_at, status, latency_ms, prompt_template,
    prompt_version, experiment, arm, model, provider, input_tokens, output_tokens, cached_tokens, reasoning_tokens,
    cost_usd, price_version, cache_hit, cache_kind, cache_similarity, guardrail_input_pass, guardrail_input_rule,
    guardrail_output_pass, guardrail_output_rule, pii_types, output_flags, tools_used, finish_reason, fallback,
    stream, error, error_code, ingested_at
)
WITH
    (k) -> cityHash64(n, k, 20261121) / 18446744073709551616. AS u,
    (n + u(1)) / {total:UInt64} * 30 AS days,
    days - floor(days) AS of_day,
    toInt64((floor(days) + of_day - 0.7 / (2 * pi()) * sin(2 * pi() * of_day)) * 86400e6) AS offset_us,
    toInt64(floor(100000 * pow(u(2), 3))) AS user_number,
    cityHash64(user_number) % 400 AS user_hash,
    toInt64(floor(sqrt(user_hash))) AS tenant_number,
    u(3) AS fate,
    multiIf(
        fate < 0.020, 'injection',
        fate < 0.025, 'banned',
        fate < 0.035, 'failed',
        fate < 0.038, 'degraded',
        fate < 0.040, 'cancelled',
        fate < 0.150, 'exact',
        fate < 0.270, 'semantic',
        fate < 0.300, 'embedding',
        fate < 0.315, 'fell_back',
        'answered'
    ) AS kind,
    kind IN ('exact', 'semantic') AS hit,
    kind IN ('answered', 'fell_back', 'banned') AS written,
    multiIf(u(4) < 0.55, 2, u(4) < 0.85, 1, u(4) < 0.97, 3, 4) AS model_number,
    sqrt(-2 * log(greatest(u(5), 1e-12))) * cos(2 * pi() * u(6)) AS z1,
    sqrt(-2 * log(greatest(u(5), 1e-12))) * sin(2 * pi() * u(6)) AS z2,
    toInt64(round(1000 * multiIf(
        kind = 'injection', 18 * exp(0.4 * z1),
        hit, 35 * exp(0.5 * z1),
        kind = 'embedding', 120 * exp(0.5 * z1),
        kind IN ('failed', 'degraded', 'fell_back'), 4000 * exp(0.6 * z1),
        1100 * exp(0.7 * z1)
    ))) AS latency_us,
    toInt64(written OR hit OR kind IN ('embedding', 'cancelled')) AS reads,
    reads * toInt64(round(40 + 350 * exp(0.9 * z2))) AS sent,
    toInt64(written OR hit OR kind = 'cancelled') * toInt64(round(10 + 180 * exp(0.8 * u(7) - 0.3 * z2))) AS got,
    toInt64(u(8) < 0.3) * intDiv(sent, 2) AS sent_before,
    multiIf(
        kind = 'embedding', 20 * sent,
        written OR kind = 'cancelled',
            (sent - sent_before) * {input_nano_usd:Array(Int64)}[model_number]
            + sent_before * {cached_nano_usd:Array(Int64)}[model_number]
            + got * {output_nano_usd:Array(Int64)}[model_number],
        0
    ) AS nano_usd,
    multiIf(kind = 'embedding', 'text-embedding-3-small', kind = 'degraded', 'degraded',
        written OR hit, {models:Array(String)}[model_number], '') AS answered_by,
    cityHash64(user_number, 7) % 3 AS experiment_number,
    ['v1', 'v2', 'v3'][1 + toInt64(u(9) * 3)] AS version
SELECT
    toString(reinterpretAsUUID(MD5(concat('request-', toString(n))))),
    concat('tenant-', leftPad(toString(tenant_number), 2, '0')),
    concat('user-', leftPad(toString(user_number), 6, '0')),
    ['free', 'standard', 'priority'][1 + tenant_number % 3],
    if(u(10) < 0.6, lower(hex(cityHash64(user_number, floor(days * 8)))), ''),
    {end:DateTime64(6, 'UTC')} - toIntervalDay(30) + toIntervalMicrosecond(offset_us) AS at,
    at + toIntervalMicrosecond(latency_us),
    multiIf(hit, 'cached', kind IN ('injection', 'banned'), 'blocked',
        kind IN ('failed', 'degraded', 'cancelled'), kind, 'answered'),
    latency_us / 1000,
    ['general_chat', 'code_review', 'support', 'summary', 'translate', 'extract'][1 + toInt64(6 * u(11) * u(11))],
    version,
    ['', 'brevity', 'tone'][1 + experiment_number],
    if(experiment_number = 0, '', ['control', 'treatment'][1 + cityHash64(user_number, 8) % 2]),
    answered_by,
    multiIf(answered_by IN ('', 'degraded'), '', startsWith(answered_by, 'claude'), 'anthropic', 'openai'),
    sent,
    got,
    sent_before,
    0,
    toDecimal128(nano_usd, 9) / 1000000000,
    if(nano_usd > 0, {price_version:String}, ''),
    hit,
    multiIf(hit, kind, kind IN ('injection', 'embedding'), '', u(12) < 0.1, 'bypass', 'miss') AS cache,
    multiIf(kind = 'semantic', 0.92 + 0.08 * u(13), cache = 'miss' AND u(14) < 0.7, 0.3 + 0.62 * u(13), NULL),
    kind != 'injection',
    if(kind = 'injection', ['role_play', 'fake_delimiter', 'ignore_instructions'][1 + toInt64(3 * u(15))], ''),
    kind != 'banned',
    if(kind = 'banned', 'banned.sql_drop', ''),
    if(u(16) < 0.06, [['email', 'phone', 'iban'][1 + toInt64(3 * u(17))]], []),
    if(written AND u(18) < 0.02, [['refusal', 'truncated'][1 + toInt64(2 * u(19))]], []),
    if(written AND u(20) < 0.05, ['search'], []),
    if(written OR hit, 'stop', ''),
    kind IN ('fell_back', 'degraded'),
    u(21) < 0.4,
    if(kind IN ('injection', 'banned', 'failed', 'degraded', 'cancelled'), concat('it was ', kind), NULL),
    multiIf(
        kind = 'injection', ['role_play', 'fake_delimiter', 'ignore_instructions'][1 + toInt64(3 * u(15))],
        kind = 'banned', 'banned.sql_drop',
        kind = 'failed', ['deadline_exceeded', 'context_length_exceeded'][1 + toInt64(2 * u(22))],
        kind = 'degraded', 'all_models_failed',
        kind = 'cancelled', 'request_cancelled',
        ''
    ),
    at + toIntervalMicrosecond(latency_us + 1000000 + toInt64(3e6 * u(23)) + toInt64(u(24) < 0.002) * 900000000)
FROM (SELECT number AS n FROM numbers({first:UInt64}, {count:UInt64}))
