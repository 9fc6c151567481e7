-- description: Whole hours come from the rollup stage_latency_1h, or of one model from stages_1h; the partial hours at
--     the ends of the window, and all of a window of up to six hours, from the executions themselves. What is stored
--     late in an hour that is over counts some seconds later.
-- parameter: model String = '' | of requests that this model answered; empty: all
stage_figures AS
(
    SELECT
        l.hour AS time,
        l.stage AS stage,
        l.executions AS executions,
        l.repeats AS repeats,
        l.queue_us_sketch AS queue_us_sketch,
        l.work_us_sketch AS work_us_sketch
    FROM stage_latency_1h AS l
    WHERE {model:String} = ''
        AND $hours(l)
        AND l.tenant = {tenant:String}
    UNION ALL
    SELECT
        h.hour AS time,
        h.stage AS stage,
        h.executions AS executions,
        h.repeats AS repeats,
        h.queue_us_sketch AS queue_us_sketch,
        h.work_us_sketch AS work_us_sketch
    FROM stages_1h AS h
    WHERE {model:String} != ''
        AND $hours(h)
        AND $tenant(h)
        AND h.model = {model:String}
    UNION ALL
    SELECT
        toStartOfMinute(toDateTime(s.accepted_at, 'UTC')) AS time,
        s.stage AS stage,
        count() AS executions,
        countIf(s.attempt > 1) AS repeats,
        quantilesDDState($levels())(s.queue_us) AS queue_us_sketch,
        quantilesDDState($levels())(s.work_us) AS work_us_sketch
    FROM
    (
        SELECT
            r.accepted_at AS accepted_at,
            r.stage AS stage,
            r.attempt AS attempt,
            r.model AS model,
            r.queue_us AS queue_us,
            r.duration_us AS work_us
        FROM stages AS r
        WHERE NOT hourly
            AND $window(r)
        UNION ALL
        -- As the view has them, by the sort key of its table: of an hour or two that is five times as fast, because
        -- FINAL reads all columns of whole granules; of more rows it is slower.
        SELECT
            (argMax((e.accepted_at, e.model, e.queue_us, e.duration_us), e.ingested_at) AS last).1 AS accepted_at,
            e.stage AS stage,
            e.attempt AS attempt,
            last.2 AS model,
            last.3 AS queue_us,
            last.4 AS work_us
        FROM stages_raw AS e
        WHERE hourly
            AND $partial_hours(e)
        GROUP BY e.stage, toStartOfHour(e.accepted_at), e.tenant, e.request_id, e.attempt
    ) AS s
    WHERE ({model:String} = '' OR s.model = {model:String})
    GROUP BY time, stage
)
