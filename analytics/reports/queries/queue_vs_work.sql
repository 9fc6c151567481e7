-- title: Waiting against working, by stage
-- group: latency
-- description: Where the time goes: for each stage what its records waited in Kafka and in memory, and what it worked.
--     A stage that waits much and works little needs more replicas; one that works much is slow itself. Over whole
--     hours: from the one that since falls in to the one that until does. What was stored in the last seconds may be
--     missing, because it comes from the rollup stages_1h.
-- column: stage [name] | the stage
-- column: executions [executions] | of the stage
-- column: queue_s [s] | waited in all
-- column: work_s [s] | worked in all
-- column: mean_queue_ms [ms] | waited per execution
-- column: mean_work_ms [ms] | worked per execution
-- column: queue_share [share] | of both together that was waiting; null where both are 0
SELECT
    stage,
    executions,
    queue_us / 1e6 AS queue_s,
    work_us / 1e6 AS work_s,
    queue_us / executions / 1000 AS mean_queue_ms,
    work_us / executions / 1000 AS mean_work_ms,
    queue_us / nullIf(queue_us + work_us, 0) AS queue_share
FROM
(
    SELECT
        s.stage AS stage,
        sum(s.executions) AS executions,
        sum(s.queue_us) AS queue_us,
        sum(s.work_us) AS work_us
    FROM stages_1h AS s
    WHERE s.day >= toDate({since:DateTime64(6, 'UTC')})
        AND s.hour >= toStartOfHour({since:DateTime64(6, 'UTC')})
        AND s.hour < {until:DateTime64(6, 'UTC')}
        AND $tenant(s)
    GROUP BY stage
)
ORDER BY queue_us + work_us DESC, stage
