-- Percentiles of the page. A sketch takes some three microseconds to read and merge, and the rollups by every
-- combination of keys have one for each request or two: a week of them takes seconds. These are by one key at a time.
-- Built like the others (0006), but in small granules: of a granule every sketch is read, whichever are wanted. Rows
-- with an empty tenant are of all tenants together: do not add them to those of each.
CREATE TABLE IF NOT EXISTS rollup_latency_1h
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
ENGINE = MergeTree
PARTITION BY day
ORDER BY (by, tenant, hour, key, detail)
TTL day + INTERVAL 25 MONTH
SETTINGS ttl_only_drop_parts = 1, index_granularity = 128;

CREATE TABLE IF NOT EXISTS rollup_stage_latency_1h
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
ENGINE = MergeTree
PARTITION BY day
ORDER BY (tenant, hour, stage)
TTL day + INTERVAL 25 MONTH
SETTINGS ttl_only_drop_parts = 1, index_granularity = 128;

CREATE OR REPLACE VIEW latency_1h AS
SELECT * EXCEPT (source_version) FROM rollup_latency_1h;

CREATE OR REPLACE VIEW stage_latency_1h AS
SELECT * EXCEPT (source_version) FROM rollup_stage_latency_1h;
