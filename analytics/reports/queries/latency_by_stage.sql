-- title: Latency by stage
-- group: latency
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
    $sketch_percentiles(queue),
    $sketch_percentiles(work)
FROM stage_figures AS f
GROUP BY stage
ORDER BY p95_work_ms DESC, stage
