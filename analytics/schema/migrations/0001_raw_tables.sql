-- The raw tables. The placeholders (on_cluster, replicated, deduplication_window) differ between one server and a
-- cluster of replicas: `placeholders` in analytics/schema/cluster.py has both values.
--
-- In every table: `revision` counts how often a row was changed in place, so that the rollups see which days a
-- mutation has touched. The deduplication window remembers the tokens of inserts.

-- One row per request: the complete log record, kept 13 months.
-- The sort key holds only what is fixed when the request is accepted, so that a record that arrives again
-- replaces itself. The tenant is part of it, so that no tenant can replace another's rows. `service_tier` is that of the
-- last call; `long_context` says whether any call was priced as a long prompt.
CREATE TABLE IF NOT EXISTS requests_raw $on_cluster
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
    cache_write_tokens UInt32 CODEC(T64, ZSTD(1)),
    cache_write_1h_tokens UInt32 CODEC(T64, ZSTD(1)),
    usage_estimated Bool,
    service_tier LowCardinality(String) DEFAULT 'standard',
    long_context Bool,
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
    revision UInt16 CODEC(T64, ZSTD(1)),
    INDEX request_id_bloom request_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX user_id_bloom user_id TYPE bloom_filter(0.01) GRANULARITY 1,
    CONSTRAINT request_id_is_given CHECK request_id != ''
)
ENGINE = ${replicated}ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(accepted_at)
ORDER BY (toStartOfHour(accepted_at), tenant, request_id)
TTL toDateTime(accepted_at) + INTERVAL 13 MONTH
SETTINGS $deduplication_window = 10000, ttl_only_drop_parts = 1;

-- One row per execution of a stage, kept 90 days. `attempt` counts the executions of the same stage.
-- A day into which nothing came for an hour is merged into one part, so that FINAL only has to read it: a week of 1.7
-- million rows a day takes a fifth of the time. Only whole partitions: the day that is still being written is left to
-- the ordinary merges. Tables with monthly partitions do not need it: their sort keys begin with the time.
CREATE TABLE IF NOT EXISTS stages_raw $on_cluster
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
    revision UInt16 CODEC(T64, ZSTD(1)),
    INDEX request_id_bloom request_id TYPE bloom_filter(0.01) GRANULARITY 1,
    CONSTRAINT request_id_is_given CHECK request_id != ''
)
ENGINE = ${replicated}ReplacingMergeTree(ingested_at)
PARTITION BY toDate(accepted_at)
ORDER BY (stage, toStartOfHour(accepted_at), tenant, request_id, attempt)
TTL toDateTime(accepted_at) + INTERVAL 90 DAY
SETTINGS $deduplication_window = 10000, ttl_only_drop_parts = 1, index_granularity = 8192,
    min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1;

-- One row per attempt at a provider, failed, shadow and orphaned ones too, kept 90 days. Days are merged as in stages_raw.
CREATE TABLE IF NOT EXISTS llm_calls_raw $on_cluster
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
    cache_write_tokens UInt32 CODEC(T64, ZSTD(1)),
    cache_write_1h_tokens UInt32 CODEC(T64, ZSTD(1)),
    usage_estimated Bool,
    service_tier LowCardinality(String) DEFAULT 'standard',
    long_context Bool,
    cost_usd Decimal(18, 9) CODEC(ZSTD(1)),
    price_version LowCardinality(String),
    finish_reason LowCardinality(String),
    error LowCardinality(Nullable(String)),
    shadow Bool,
    orphaned Bool,
    ingested_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    revision UInt16 CODEC(T64, ZSTD(1)),
    INDEX request_id_bloom request_id TYPE bloom_filter(0.01) GRANULARITY 1,
    CONSTRAINT request_id_is_given CHECK request_id != '',
    CONSTRAINT call_id_is_given CHECK call_id != ''
)
ENGINE = ${replicated}ReplacingMergeTree(ingested_at)
PARTITION BY toDate(accepted_at)
ORDER BY (toDate(accepted_at), tenant, request_id, call_id)
TTL toDateTime(accepted_at) + INTERVAL 90 DAY
SETTINGS $deduplication_window = 10000, ttl_only_drop_parts = 1, index_granularity = 8192,
    min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1;

-- The texts of requests and replies, where the tenant allows storing them, kept 30 days.
CREATE TABLE IF NOT EXISTS payloads_raw $on_cluster
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
ENGINE = ${replicated}ReplacingMergeTree(ingested_at)
PARTITION BY toDate(accepted_at)
ORDER BY (toDate(accepted_at), tenant, request_id)
TTL toDateTime(accepted_at) + INTERVAL 30 DAY
SETTINGS $deduplication_window = 10000, ttl_only_drop_parts = 1;

-- Scores, late ones and feedback too: each on the day of the request that it is about, kept 13 months.
-- The version is `scored_at`, not `ingested_at`: a score that is corrected keeps its score_id, and the first
-- one, should it arrive again afterwards, does not undo the correction. Values are decimals, so that sums of
-- them and of their squares do not depend on the order of the rows; the limit keeps the squares' sum in range.
CREATE TABLE IF NOT EXISTS scores_raw $on_cluster
(
    request_id String CODEC(ZSTD(1)),
    score_id String CODEC(ZSTD(1)),
    tenant LowCardinality(String),
    user_id String CODEC(ZSTD(1)),
    accepted_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'when the request was accepted',
    scored_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    name LowCardinality(String) COMMENT 'what was judged: helpfulness, thumbs, faithfulness, …',
    value Decimal(18, 9) CODEC(ZSTD(1)),
    label LowCardinality(String) COMMENT 'the verdict in a word, where it has one: pass, fail, up, down, …',
    source LowCardinality(String) COMMENT 'who says so: user, human, judge, check',
    scorer LowCardinality(String) COMMENT 'which one: the model and its prompt of a judge, the group of a human',
    comment String CODEC(ZSTD(3)),
    model LowCardinality(String) COMMENT 'the model that answered',
    prompt_template LowCardinality(String),
    prompt_version LowCardinality(String),
    experiment LowCardinality(String),
    arm LowCardinality(String),
    ingested_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    revision UInt16 CODEC(T64, ZSTD(1)),
    INDEX request_id_bloom request_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX user_id_bloom user_id TYPE bloom_filter(0.01) GRANULARITY 1,
    CONSTRAINT request_id_is_given CHECK request_id != '',
    CONSTRAINT score_id_is_given CHECK score_id != '',
    CONSTRAINT value_is_within_a_million CHECK value >= -1000000 AND value <= 1000000
)
ENGINE = ${replicated}ReplacingMergeTree(scored_at)
PARTITION BY toYYYYMM(accepted_at)
ORDER BY (toDate(accepted_at), tenant, request_id, score_id)
TTL toDateTime(accepted_at) + INTERVAL 13 MONTH
SETTINGS $deduplication_window = 10000, ttl_only_drop_parts = 1;
