-- One row per request: the complete log record, kept 13 months.
-- The sort key holds only what is fixed when the request is accepted, so that a record that arrives again
-- replaces itself. The tenant is part of it, so that no tenant can replace another's rows.
CREATE TABLE IF NOT EXISTS requests_raw
(
    request_id String CODEC(ZSTD(1)),
    tenant LowCardinality(String),
    user_id String CODEC(ZSTD(1)),
    tier LowCardinality(String),
    session_id String CODEC(ZSTD(1)),
    accepted_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    finished_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    status LowCardinality(String),
    latency_ms Float64 CODEC(ZSTD(1)),
    prompt_template LowCardinality(String),
    prompt_version LowCardinality(String),
    experiment LowCardinality(String),
    arm LowCardinality(String),
    model LowCardinality(String),
    provider LowCardinality(String),
    input_tokens UInt32 CODEC(T64, ZSTD(1)),
    output_tokens UInt32 CODEC(T64, ZSTD(1)),
    cached_tokens UInt32 CODEC(T64, ZSTD(1)),
    reasoning_tokens UInt32 CODEC(T64, ZSTD(1)),
    cost_usd Decimal(18, 9) CODEC(ZSTD(1)),
    price_version LowCardinality(String),
    cache_hit Bool,
    cache_kind LowCardinality(String),
    cache_similarity Nullable(Float64) CODEC(ZSTD(1)),
    guardrail_input_pass Bool,
    guardrail_input_rule LowCardinality(String),
    guardrail_output_pass Bool,
    guardrail_output_rule LowCardinality(String),
    pii_types Array(LowCardinality(String)),
    output_flags Array(LowCardinality(String)),
    tools_used Array(LowCardinality(String)),
    finish_reason LowCardinality(String),
    fallback Bool,
    stream Bool,
    error Nullable(String) CODEC(ZSTD(1)),
    error_code LowCardinality(String),
    ingested_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX request_id_bloom request_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX user_id_bloom user_id TYPE bloom_filter(0.01) GRANULARITY 1,
    CONSTRAINT request_id_is_given CHECK request_id != ''
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(accepted_at)
ORDER BY (toStartOfHour(accepted_at), tenant, request_id)
TTL toDateTime(accepted_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;
