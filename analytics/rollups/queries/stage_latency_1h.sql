-- Executions, waits and work of the stages for the requests of {day}, by hour: of each tenant, and of all of them,
-- whose tenant is empty. No request's is.
SELECT
    {day:Date} AS day,
    t.hour AS hour,
    t.stage AS stage,
    scope AS tenant,
    sum(t.executions) AS executions,
    sum(t.repeats) AS repeats,
    sum(t.queue_us) AS queue_us,
    sum(t.work_us) AS work_us,
    quantilesDDMergeState($levels())(t.queue_us_sketch) AS queue_us_sketch,
    quantilesDDMergeState($levels())(t.work_us_sketch) AS work_us_sketch,
    {version:String} AS source_version,
    now64(6, 'UTC') AS computed_at
FROM
(
    SELECT
        toStartOfHour(toDateTime(s.accepted_at, 'UTC'), 'UTC') AS hour,
        s.stage AS stage,
        s.tenant AS tenant,
        count() AS executions,
        countIf(s.attempt > 1) AS repeats,
        sum(s.queue_us) AS queue_us,
        sum(s.duration_us) AS work_us,
        quantilesDDState($levels())(s.queue_us) AS queue_us_sketch,
        quantilesDDState($levels())(s.duration_us) AS work_us_sketch
    FROM stages_raw AS s FINAL
    WHERE s.accepted_at >= toDateTime64({day:Date}, 6, 'UTC')
        AND s.accepted_at < toDateTime64({day:Date} + 1, 6, 'UTC')
    GROUP BY hour, stage, tenant
) AS t
ARRAY JOIN arrayDistinct(['', toString(t.tenant)]) AS scope
GROUP BY hour, stage, tenant
