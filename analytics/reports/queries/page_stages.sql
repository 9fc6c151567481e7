-- title: Waiting and working, by stage
-- group: page
-- description: How long records waited for each stage, and how long it worked on them; the longest first.
-- part: whole_hours
-- part: stage_figures
-- column: stage [name] | the stage
-- column: executions [executions] | of the stage
-- column: repeats [executions] | of these, not the first of their request
-- column: p50_queue_ms [ms] | half of them waited less
-- column: p95_queue_ms [ms] | 95 of 100 waited less
-- column: p99_queue_ms [ms] | 99 of 100 waited less
-- column: p50_work_ms [ms] | half of them worked less
-- column: p95_work_ms [ms] | 95 of 100 worked less
-- column: p99_work_ms [ms] | 99 of 100 worked less
SELECT
    f.stage AS stage,
    sum(f.executions) AS executions,
    sum(f.repeats) AS repeats,
    (quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(f.queue_us_sketch) AS queue_us)[1] / 1000 AS p50_queue_ms,
    queue_us[2] / 1000 AS p95_queue_ms,
    queue_us[3] / 1000 AS p99_queue_ms,
    (quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(f.work_us_sketch) AS work_us)[1] / 1000 AS p50_work_ms,
    work_us[2] / 1000 AS p95_work_ms,
    work_us[3] / 1000 AS p99_work_ms
FROM stage_figures AS f
GROUP BY stage
ORDER BY p95_work_ms DESC, stage
