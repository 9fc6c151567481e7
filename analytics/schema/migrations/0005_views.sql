-- What analysts query. FINAL keeps one row per sort key whatever was merged so far, so that every count and
-- sum is exact without the analyst knowing about duplicates.
CREATE OR REPLACE VIEW requests AS
SELECT
    request_id,
    user_id,
    accepted_at AS timestamp,
    prompt_template,
    prompt_version,
    model,
    input_tokens,
    output_tokens,
    latency_ms,
    cache_hit,
    guardrail_input_pass,
    guardrail_output_pass,
    cost_usd,
    error,
    tenant,
    tier,
    session_id,
    status,
    accepted_at,
    finished_at,
    experiment,
    arm,
    provider,
    cached_tokens,
    reasoning_tokens,
    price_version,
    cache_kind,
    cache_similarity,
    guardrail_input_rule,
    guardrail_output_rule,
    pii_types,
    output_flags,
    tools_used,
    finish_reason,
    fallback,
    stream,
    error_code,
    ingested_at
FROM requests_raw FINAL;

CREATE OR REPLACE VIEW stages AS
SELECT
    request_id,
    tenant,
    accepted_at,
    stage,
    attempt,
    started_at,
    queue_us,
    duration_us,
    outcome,
    model,
    prompt_template,
    prompt_version,
    experiment,
    arm,
    ingested_at
FROM stages_raw FINAL;

CREATE OR REPLACE VIEW llm_calls AS
SELECT
    request_id,
    call_id,
    tenant,
    user_id,
    accepted_at,
    attempt,
    started_at,
    duration_us,
    time_to_first_token_us,
    provider,
    request_model,
    response_model,
    prompt_template,
    prompt_version,
    experiment,
    arm,
    input_tokens,
    output_tokens,
    cached_tokens,
    reasoning_tokens,
    cost_usd,
    price_version,
    finish_reason,
    error,
    shadow,
    orphaned,
    ingested_at
FROM llm_calls_raw FINAL;

CREATE OR REPLACE VIEW payloads AS
SELECT
    request_id,
    tenant,
    user_id,
    accepted_at,
    request_text,
    reply_text,
    ingested_at
FROM payloads_raw FINAL;
