-- How often a row was changed in place. Who changes rows by a mutation counts it up, and the rollups see which
-- days were touched: a mutation itself renames the parts of every partition (analytics/rollups/sources.py).
ALTER TABLE requests_raw ADD COLUMN IF NOT EXISTS revision UInt16 CODEC(T64, ZSTD(1));
ALTER TABLE stages_raw ADD COLUMN IF NOT EXISTS revision UInt16 CODEC(T64, ZSTD(1));
ALTER TABLE llm_calls_raw ADD COLUMN IF NOT EXISTS revision UInt16 CODEC(T64, ZSTD(1));
ALTER TABLE scores_raw ADD COLUMN IF NOT EXISTS revision UInt16 CODEC(T64, ZSTD(1));
