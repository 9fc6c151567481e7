-- description: Exact for any window.
-- parameter: source String rollups|rows = rollups | where whole days come from; from the rows is slower, and at once
toDate(least({until:DateTime64(6, 'UTC')}, toDateTime64('2100-01-01', 6, 'UTC'))) AS end_day,
if(
    {source:String} = 'rows',
    end_day,
    toDate(
        least({since:DateTime64(6, 'UTC')}, toDateTime64('2100-01-01', 6, 'UTC')) + INTERVAL 86399999999 MICROSECOND
    )
) AS first_day,
-- As times, so that rows are found by the index.
toDateTime64(first_day, 6, 'UTC') AS first_day_at,
toDateTime64(end_day, 6, 'UTC') AS end_day_at
