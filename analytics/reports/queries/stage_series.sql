-- title: Waiting and working over time
-- group: latency
-- description: How long records waited for each stage, and how long it worked on them, by interval. Intervals begin
--     at multiples of their length since 1970 (UTC).
-- part: whole_hours
-- part: stage_figures
-- parameter: bucket_s UInt32 60..604800 = 3600 | an interval, in seconds: of whole minutes; in windows of over six hours
--     of whole hours
-- column: time [time] | the beginning of the interval
-- column: stage [name] | the stage
-- column: executions [executions] | of the stage in the interval
-- column: p50_queue_ms [ms] | half of them waited less
-- column: p95_queue_ms [ms] | 95 of 100 waited less
-- column: p99_queue_ms [ms] | 99 of 100 waited less
-- column: p50_work_ms [ms] | half of them worked less
-- column: p95_work_ms [ms] | 95 of 100 worked less
-- column: p99_work_ms [ms] | 99 of 100 worked less
WITH
if(hourly, 3600, 60) AS least_s,  -- the parts of stage_figures
intDiv({bucket_s:UInt32} + least_s - 1, least_s) * least_s AS step_s
SELECT
    toDateTime64(intDiv(toUnixTimestamp(f.time), step_s) * step_s, 0, 'UTC') AS time,
    f.stage AS stage,
    sum(f.executions) AS executions,
    $sketch_percentiles(queue),
    $sketch_percentiles(work)
FROM stage_figures AS f
GROUP BY time, stage
ORDER BY time, stage
