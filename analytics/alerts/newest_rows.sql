-- When the newest row of each table was written, in Unix microseconds. Older rows than a day's are not looked for.
SELECT 'requests' AS name, toUnixTimestamp64Micro(max(ingested_at)) AS newest_us
FROM requests_raw WHERE accepted_at >= {since:DateTime64(6, 'UTC')}
UNION ALL
SELECT 'stages' AS name, toUnixTimestamp64Micro(max(ingested_at)) AS newest_us
FROM stages_raw WHERE accepted_at >= {since:DateTime64(6, 'UTC')}
UNION ALL
SELECT 'llm_calls' AS name, toUnixTimestamp64Micro(max(ingested_at)) AS newest_us
FROM llm_calls_raw WHERE accepted_at >= {since:DateTime64(6, 'UTC')}
