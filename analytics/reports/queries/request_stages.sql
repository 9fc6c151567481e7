-- title: One request's way through the stages
-- group: request
-- description: Every execution of a stage, in the order of time: the waterfall of a request. Times count from its
--     acceptance. What is between the end of one and the wait for the next was spent on the way.
-- parameter: since DateTime64(6, 'UTC') = 90d | accepted at this time or later; naming the day makes it faster
-- parameter: request_id String | the request
-- column: tenant [name] | whose it is
-- column: stage [name] | the stage
-- column: attempt [count] | which execution of this stage it was
-- column: queued_ms [ms] | when its record began to wait
-- column: started_ms [ms] | when it began to work
-- column: ended_ms [ms] | when it was done
-- column: queue_ms [ms] | waited
-- column: work_ms [ms] | worked
-- column: outcome [name] | what came of it
SELECT
    s.tenant AS tenant,
    s.stage AS stage,
    s.attempt AS attempt,
    (start_us - toInt64(s.queue_us)) / 1000 AS queued_ms,
    start_us / 1000 AS started_ms,
    (start_us + toInt64(s.duration_us)) / 1000 AS ended_ms,
    s.queue_us / 1000 AS queue_ms,
    s.duration_us / 1000 AS work_ms,
    s.outcome AS outcome
FROM
(
    SELECT
        *,
        toUnixTimestamp64Micro(started_at) - toUnixTimestamp64Micro(accepted_at) AS start_us
    FROM stages AS t
    WHERE t.request_id = {request_id:String}
        AND $window(t)
) AS s
ORDER BY tenant, started_ms, stage, attempt
