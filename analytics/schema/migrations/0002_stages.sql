-- One row per execution of a stage, kept 90 days. `attempt` counts the executions of the same stage.
CREATE TABLE IF NOT EXISTS stages_raw
(
    request_id String CODEC(ZSTD(1)),
    tenant LowCardinality(String),
    accepted_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    stage LowCardinality(String),
    attempt UInt16 CODEC(T64, ZSTD(1)),
    started_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    queue_us UInt64 CODEC(T64, ZSTD(1)),
    duration_us UInt64 CODEC(T64, ZSTD(1)),
    outcome LowCardinality(String),
    model LowCardinality(String),
    prompt_template LowCardinality(String),
    prompt_version LowCardinality(String),
    experiment LowCardinality(String),
    arm LowCardinality(String),
    ingested_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX request_id_bloom request_id TYPE bloom_filter(0.01) GRANULARITY 1,
    CONSTRAINT request_id_is_given CHECK request_id != ''
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toDate(accepted_at)
ORDER BY (stage, toStartOfHour(accepted_at), tenant, request_id, attempt)
TTL toDateTime(accepted_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;
