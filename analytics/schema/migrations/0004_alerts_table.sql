-- The records of llm.alerts.v1, kept 13 months: two at most for each alert, when it begins and when it is over.
-- The watcher writes them again after a restart; the sort key is fixed, so that each replaces itself.
CREATE TABLE IF NOT EXISTS alerts_raw $on_cluster
(
    alert_id String CODEC(ZSTD(1)),
    state LowCardinality(String),
    tenant LowCardinality(String),
    rule LowCardinality(String),
    direction LowCardinality(String),
    severity LowCardinality(String),
    observed Float64,
    expected Float64,
    unit LowCardinality(String),
    method LowCardinality(String),
    message String CODEC(ZSTD(1)),
    p_value Nullable(Float64),
    history_windows UInt32,
    window_since DateTime64(6, 'UTC'),
    window_until DateTime64(6, 'UTC'),
    began_at DateTime64(6, 'UTC'),
    at DateTime64(6, 'UTC'),
    ingested_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ${replicated}ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(began_at)
ORDER BY (tenant, rule, alert_id, state)
TTL toDateTime(began_at) + INTERVAL 13 MONTH
SETTINGS $deduplication_window = 1000, ttl_only_drop_parts = 1;

-- One row per alert. What was observed is that of the window that raised it; `resolved_at` is null while it stands.
CREATE OR REPLACE VIEW alerts $on_cluster AS
SELECT
    alert_id,
    tenant,
    rule,
    direction,
    any(severity) AS severity,
    any(unit) AS unit,
    anyIf(observed, state = 'raised') AS observed,
    anyIf(expected, state = 'raised') AS expected,
    anyIf(p_value, state = 'raised') AS p_value,
    anyIf(history_windows, state = 'raised') AS history_windows,
    anyIf(method, state = 'raised') AS method,
    anyIf(message, state = 'raised') AS message,
    min(began_at) AS began_at,
    minIf(at, state = 'raised') AS raised_at,
    if(countIf(state = 'resolved') > 0, maxIf(at, state = 'resolved'), NULL) AS resolved_at
FROM alerts_raw FINAL
GROUP BY alert_id, tenant, rule, direction;
