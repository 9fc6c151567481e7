-- Executions, waits and work of the stages for the requests of {day}, by hour.
SELECT
    {day:Date} AS day,
    toStartOfHour(toDateTime(s.accepted_at, 'UTC'), 'UTC') AS hour,
    s.stage AS stage,
    s.tenant AS tenant,
    s.outcome AS outcome,
    s.model AS model,
    count() AS executions,
    countIf(s.attempt > 1) AS repeats,
    sum(s.queue_us) AS queue_us,
    sum(s.duration_us) AS work_us,
    quantilesDDState($levels())(s.queue_us) AS queue_us_sketch,
    quantilesDDState($levels())(s.duration_us) AS work_us_sketch,
    {version:String} AS source_version,
    now64(6, 'UTC') AS computed_at
FROM stages_raw AS s FINAL
WHERE s.accepted_at >= toDateTime64({day:Date}, 6, 'UTC')
    AND s.accepted_at < toDateTime64({day:Date} + 1, 6, 'UTC')
GROUP BY hour, stage, tenant, outcome, model
