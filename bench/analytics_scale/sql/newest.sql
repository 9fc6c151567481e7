-- The requests of the last 30 minutes before {end} come again, those of one minute in each insert: today has parts
-- that nothing has merged.
INSERT INTO {table:Identifier}
SELECT *
FROM {table:Identifier}
WHERE accepted_at >= {end:DateTime64(6, 'UTC')} - toIntervalMinute({minute:UInt32} + 1)
    AND accepted_at < {end:DateTime64(6, 'UTC')} - toIntervalMinute({minute:UInt32})
