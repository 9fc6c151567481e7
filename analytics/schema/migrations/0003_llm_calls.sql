-- One row per attempt at a provider, failed, shadow and orphaned ones too, kept 90 days.
CREATE TABLE IF NOT EXISTS llm_calls_raw
(
    request_id String CODEC(ZSTD(1)),
    call_id String CODEC(ZSTD(1)),
    tenant LowCardinality(String),
    user_id String CODEC(ZSTD(1)),
    accepted_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    attempt UInt16 CODEC(T64, ZSTD(1)),
    started_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    duration_us UInt64 CODEC(T64, ZSTD(1)),
    time_to_first_token_us Nullable(UInt64) CODEC(ZSTD(1)),
    provider LowCardinality(String),
    request_model LowCardinality(String),
    response_model LowCardinality(String),
    prompt_template LowCardinality(String),
    prompt_version LowCardinality(String),
    experiment LowCardinality(String),
    arm LowCardinality(String),
    input_tokens UInt32 CODEC(T64, ZSTD(1)),
    output_tokens UInt32 CODEC(T64, ZSTD(1)),
    cached_tokens UInt32 CODEC(T64, ZSTD(1)),
    reasoning_tokens UInt32 CODEC(T64, ZSTD(1)),
    cost_usd Decimal(18, 9) CODEC(ZSTD(1)),
    price_version LowCardinality(String),
    finish_reason LowCardinality(String),
    error LowCardinality(Nullable(String)),
    shadow Bool,
    orphaned Bool,
    ingested_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX request_id_bloom request_id TYPE bloom_filter(0.01) GRANULARITY 1,
    CONSTRAINT request_id_is_given CHECK request_id != '',
    CONSTRAINT call_id_is_given CHECK call_id != ''
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toDate(accepted_at)
ORDER BY (toDate(accepted_at), tenant, request_id, call_id)
TTL toDateTime(accepted_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;
