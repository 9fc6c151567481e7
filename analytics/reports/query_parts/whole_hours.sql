-- description: Percentiles are off by 1 % at most, everything else is exact, for any window.
-- parameter: source String rollups|rows = rollups | where whole hours come from; from the rows is slower, and at once
{source:String} = 'rollups' AND {until:DateTime64(6, 'UTC')} > {since:DateTime64(6, 'UTC')} + INTERVAL 6 HOUR AS hourly,
-- An hour is a DateTime, which ends in 2106.
toStartOfHour(least({until:DateTime64(6, 'UTC')}, toDateTime64('2100-01-01', 6, 'UTC'))) AS end_hour,
if(
    hourly,
    toStartOfHour(
        least({since:DateTime64(6, 'UTC')}, toDateTime64('2100-01-01', 6, 'UTC')) + INTERVAL 3599999999 MICROSECOND
    ),
    end_hour
) AS first_hour
