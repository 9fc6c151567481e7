-- The texts of requests and replies, where the tenant allows storing them, kept 30 days.
CREATE TABLE IF NOT EXISTS payloads_raw
(
    request_id String CODEC(ZSTD(1)),
    tenant LowCardinality(String),
    user_id String CODEC(ZSTD(1)),
    accepted_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    request_text String CODEC(ZSTD(3)),
    reply_text String CODEC(ZSTD(3)),
    ingested_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX request_id_bloom request_id TYPE bloom_filter(0.01) GRANULARITY 1,
    CONSTRAINT request_id_is_given CHECK request_id != ''
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toDate(accepted_at)
ORDER BY (toDate(accepted_at), tenant, request_id)
TTL toDateTime(accepted_at) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;
