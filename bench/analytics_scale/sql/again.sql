-- One in a hundred rows of {table} comes again, in other parts: the requests between {since} and {until}.
INSERT INTO {table:Identifier}
SELECT * REPLACE (ingested_at + toIntervalMinute(10) AS ingested_at)
FROM {table:Identifier}
WHERE cityHash64(request_id, 60) % 100 = 0
    AND accepted_at >= {since:DateTime64(6, 'UTC')} AND accepted_at < {until:DateTime64(6, 'UTC')}
