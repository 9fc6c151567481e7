-- title: Latency by stage
-- group: latency
-- description: How long each stage worked on a record, and how long the record waited for it, over whole hours: from
--     the one that since falls in to the one that until does. Percentiles are off by 1 % at most. What was stored in
--     the last seconds may be missing, because it comes from the rollup stage_latency_1h.
-- column: stage [name] | the stage
-- column: executions [executions] | of the stage
-- column: p50_work_ms [ms] | half of them worked less
-- column: p95_work_ms [ms] | 95 of 100 worked less
-- column: p99_work_ms [ms] | 99 of 100 worked less
-- column: p50_queue_ms [ms] | half of them waited less
-- column: p95_queue_ms [ms] | 95 of 100 waited less
-- column: p99_queue_ms [ms] | 99 of 100 waited less
SELECT
    stage,
    executions,
    work[1] / 1000 AS p50_work_ms,
    work[2] / 1000 AS p95_work_ms,
    work[3] / 1000 AS p99_work_ms,
    queue[1] / 1000 AS p50_queue_ms,
    queue[2] / 1000 AS p95_queue_ms,
    queue[3] / 1000 AS p99_queue_ms
FROM
(
    SELECT
        s.stage AS stage,
        sum(s.executions) AS executions,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(s.work_us_sketch) AS work,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(s.queue_us_sketch) AS queue
    FROM stage_latency_1h AS s
    WHERE s.day >= toDate({since:DateTime64(6, 'UTC')})
        AND s.hour >= toStartOfHour({since:DateTime64(6, 'UTC')})
        AND s.hour < {until:DateTime64(6, 'UTC')}
        AND s.tenant = {tenant:String}  -- the empty one: all of them together
    GROUP BY stage
)
ORDER BY p95_work_ms DESC, stage
