-- The rollups. A day of one is a partition, computed as a whole from the raw table and swapped in
-- (analytics/rollups/definitions.py). `source_version` says from which state of the raw table: it is part of the rows, so
-- that figures and version change in one step. Columns named `…_sketch` hold states of
-- `quantilesDD(0.01, 0.5, 0.95, 0.99)`: percentiles that are off by 1 % at most, over any selection of
-- rows, by `quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(…)`. Everything else is exact.
CREATE TABLE IF NOT EXISTS rollup_requests_1h $on_cluster
(
    day Date,
    hour DateTime('UTC'),
    tenant LowCardinality(String),
    status LowCardinality(String),
    model LowCardinality(String),
    provider LowCardinality(String),
    cache_kind LowCardinality(String),
    prompt_template LowCardinality(String),
    prompt_version LowCardinality(String),
    experiment LowCardinality(String),
    arm LowCardinality(String),
    error_code LowCardinality(String),
    guardrail_input_rule LowCardinality(String),
    guardrail_output_rule LowCardinality(String),
    requests UInt64,
    cache_hits UInt64,
    fallbacks UInt64,
    streamed UInt64,
    input_blocked UInt64,
    output_blocked UInt64,
    input_tokens UInt64,
    output_tokens UInt64,
    cached_tokens UInt64,
    reasoning_tokens UInt64,
    cost_usd Decimal(38, 9),
    latency_us UInt64 COMMENT 'the sum',
    latency_ms_max Float64,
    latency_ms_sketch AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), Float64),
    source_version LowCardinality(String),
    computed_at DateTime64(6, 'UTC')
)
ENGINE = ${replicated}MergeTree
PARTITION BY day
ORDER BY (hour, tenant, status, model, provider, cache_kind, prompt_template, prompt_version, experiment, arm,
    error_code, guardrail_input_rule, guardrail_output_rule)
TTL day + INTERVAL 25 MONTH
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS rollup_stages_1h $on_cluster
(
    day Date,
    hour DateTime('UTC'),
    stage LowCardinality(String),
    tenant LowCardinality(String),
    outcome LowCardinality(String),
    model LowCardinality(String),
    executions UInt64,
    repeats UInt64 COMMENT 'executions that were not the first of their stage for the request',
    queue_us UInt64 COMMENT 'the sum',
    work_us UInt64 COMMENT 'the sum',
    queue_us_sketch AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt64),
    work_us_sketch AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt64),
    source_version LowCardinality(String),
    computed_at DateTime64(6, 'UTC')
)
ENGINE = ${replicated}MergeTree
PARTITION BY day
ORDER BY (hour, stage, tenant, outcome, model)
TTL day + INTERVAL 25 MONTH
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS rollup_calls_1h $on_cluster
(
    day Date,
    hour DateTime('UTC'),
    tenant LowCardinality(String),
    provider LowCardinality(String),
    request_model LowCardinality(String),
    response_model LowCardinality(String),
    error LowCardinality(String) COMMENT 'the type of the fault; empty where there was none',
    shadow Bool,
    orphaned Bool,
    calls UInt64,
    retries UInt64 COMMENT 'calls that were not the first attempt of their request',
    input_tokens UInt64,
    output_tokens UInt64,
    cached_tokens UInt64,
    reasoning_tokens UInt64,
    cost_usd Decimal(38, 9),
    duration_us UInt64 COMMENT 'the sum',
    first_tokens UInt64 COMMENT 'calls whose first token was timed',
    first_token_us UInt64 COMMENT 'the sum, of these',
    generation_us UInt64 COMMENT 'from the first token to the end: the sum, of these',
    generation_tokens UInt64 COMMENT 'output tokens of these',
    duration_us_sketch AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt64),
    first_token_us_sketch AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt64),
    source_version LowCardinality(String),
    computed_at DateTime64(6, 'UTC')
)
ENGINE = ${replicated}MergeTree
PARTITION BY day
ORDER BY (hour, tenant, provider, request_model, response_model, error, shadow, orphaned)
TTL day + INTERVAL 25 MONTH
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS rollup_cost_1d $on_cluster
(
    day Date,
    tenant LowCardinality(String),
    tier LowCardinality(String),
    model LowCardinality(String),
    provider LowCardinality(String),
    prompt_template LowCardinality(String),
    prompt_version LowCardinality(String),
    experiment LowCardinality(String),
    arm LowCardinality(String),
    price_version LowCardinality(String),
    requests UInt64,
    successful UInt64 COMMENT 'answered or cached',
    errors UInt64 COMMENT 'with an error, blocked ones among them',
    cache_hits UInt64,
    fallbacks UInt64,
    input_tokens UInt64,
    output_tokens UInt64,
    cached_tokens UInt64,
    reasoning_tokens UInt64,
    cost_usd Decimal(38, 9),
    successful_cost_usd Decimal(38, 9),
    cost_usd_max Decimal(18, 9),
    latency_us UInt64 COMMENT 'the sum',
    cost_usd_sketch AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), Float64),
    source_version LowCardinality(String),
    computed_at DateTime64(6, 'UTC')
)
ENGINE = ${replicated}MergeTree
PARTITION BY day
ORDER BY (tenant, tier, model, provider, prompt_template, prompt_version, experiment, arm, price_version)
TTL day + INTERVAL 25 MONTH
SETTINGS ttl_only_drop_parts = 1;

-- Users apart: they are many, and personal data. The days are dropped on the day on which they would no longer
-- be computed again (ROLLUPS in analytics/rollups/definitions.py), so that nobody's name outlives the raw rows.
CREATE TABLE IF NOT EXISTS rollup_users_1d $on_cluster
(
    day Date,
    tenant LowCardinality(String),
    user_id String CODEC(ZSTD(1)),
    requests UInt64,
    successful UInt64 COMMENT 'answered or cached',
    errors UInt64 COMMENT 'with an error, blocked ones among them',
    blocked UInt64,
    cache_hits UInt64,
    input_tokens UInt64,
    output_tokens UInt64,
    cost_usd Decimal(38, 9),
    latency_us UInt64 COMMENT 'the sum',
    latency_ms_max Float64,
    source_version LowCardinality(String),
    computed_at DateTime64(6, 'UTC')
)
ENGINE = ${replicated}MergeTree
PARTITION BY day
ORDER BY (tenant, user_id)
TTL day + INTERVAL 390 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS rollup_quality_1d $on_cluster
(
    day Date,
    tenant LowCardinality(String),
    name LowCardinality(String),
    source LowCardinality(String),
    scorer LowCardinality(String),
    label LowCardinality(String),
    model LowCardinality(String),
    prompt_template LowCardinality(String),
    prompt_version LowCardinality(String),
    experiment LowCardinality(String),
    arm LowCardinality(String),
    scores UInt64,
    value_sum Decimal(38, 9),
    value_square_sum Decimal(38, 18),
    value_min Decimal(18, 9),
    value_max Decimal(18, 9),
    source_version LowCardinality(String),
    computed_at DateTime64(6, 'UTC')
)
ENGINE = ${replicated}MergeTree
PARTITION BY day
ORDER BY (tenant, name, source, scorer, label, model, prompt_template, prompt_version, experiment, arm)
TTL day + INTERVAL 25 MONTH
SETTINGS ttl_only_drop_parts = 1;

-- Percentiles of the page. A sketch takes some three microseconds to read and merge, and the rollups by every
-- combination of keys have one for each request or two: a week of them takes seconds. These are by one key at a time.
-- Built like the others, but in small granules: of a granule every sketch is read, whichever are wanted. Rows
-- with an empty tenant are of all tenants together: do not add them to those of each.
CREATE TABLE IF NOT EXISTS rollup_latency_1h $on_cluster
(
    day Date,
    hour DateTime('UTC'),
    by LowCardinality(String) COMMENT 'what key is: nothing, model, prompt, experiment, cache_kind',
    tenant LowCardinality(String),
    key LowCardinality(String) COMMENT 'the model, prompt template, experiment or kind; empty where by is',
    detail LowCardinality(String) COMMENT 'of a template its version, of an experiment its arm; else empty',
    requests UInt64,
    latency_us UInt64 COMMENT 'the sum',
    latency_ms_sketch AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), Float64),
    source_version LowCardinality(String),
    computed_at DateTime64(6, 'UTC')
)
ENGINE = ${replicated}MergeTree
PARTITION BY day
ORDER BY (by, tenant, hour, key, detail)
TTL day + INTERVAL 25 MONTH
SETTINGS ttl_only_drop_parts = 1, index_granularity = 128;

CREATE TABLE IF NOT EXISTS rollup_stage_latency_1h $on_cluster
(
    day Date,
    hour DateTime('UTC'),
    stage LowCardinality(String),
    tenant LowCardinality(String),
    executions UInt64,
    repeats UInt64 COMMENT 'executions that were not the first of their stage for the request',
    queue_us UInt64 COMMENT 'the sum',
    work_us UInt64 COMMENT 'the sum',
    queue_us_sketch AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt64),
    work_us_sketch AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), UInt64),
    source_version LowCardinality(String),
    computed_at DateTime64(6, 'UTC')
)
ENGINE = ${replicated}MergeTree
PARTITION BY day
ORDER BY (tenant, hour, stage)
TTL day + INTERVAL 25 MONTH
SETTINGS ttl_only_drop_parts = 1, index_granularity = 128;

CREATE OR REPLACE VIEW requests_1h $on_cluster AS
SELECT * EXCEPT (source_version) FROM rollup_requests_1h;

CREATE OR REPLACE VIEW stages_1h $on_cluster AS
SELECT * EXCEPT (source_version) FROM rollup_stages_1h;

CREATE OR REPLACE VIEW calls_1h $on_cluster AS
SELECT * EXCEPT (source_version) FROM rollup_calls_1h;

CREATE OR REPLACE VIEW cost_1d $on_cluster AS
SELECT * EXCEPT (source_version) FROM rollup_cost_1d;

CREATE OR REPLACE VIEW users_1d $on_cluster AS
SELECT * EXCEPT (source_version) FROM rollup_users_1d;

CREATE OR REPLACE VIEW quality_1d $on_cluster AS
SELECT * EXCEPT (source_version) FROM rollup_quality_1d;

CREATE OR REPLACE VIEW latency_1h $on_cluster AS
SELECT * EXCEPT (source_version) FROM rollup_latency_1h;

CREATE OR REPLACE VIEW stage_latency_1h $on_cluster AS
SELECT * EXCEPT (source_version) FROM rollup_stage_latency_1h;
