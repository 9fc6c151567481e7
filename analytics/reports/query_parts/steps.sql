-- description: Intervals begin at multiples of their length since 1970 (UTC); the first and the last hold what of them
--     is in the window, and one without requests has no row.
-- parameter: bucket_s UInt32 60..604800 = 3600 | an interval, in seconds; in windows of over six hours: of whole hours
if(hourly, intDiv({bucket_s:UInt32} + 3599, 3600) * 3600, {bucket_s:UInt32}) AS step_s
