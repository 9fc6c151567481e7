-- title: Experiments' arms side by side
-- group: experiments
-- description: Outcomes, spend and latency of each arm. For intervals and tests: experiment_arms,
--     experiment_quality.
-- part: whole_hours
-- part: request_figures
-- part: latency_figures
-- part: side_by_side
-- column: experiment [name] | the experiment
-- column: arm [name] | the arm
-- column: requests [requests] | in the arm
-- column: successful [requests] | that ended answered or cached
-- column: errors [requests] | that ended failed or degraded
-- column: error_share [share] | errors of requests
-- column: blocked [requests] | by a guardrail
-- column: hit_share [share] | answered by the cache, of all requests
-- column: cost_usd [USD] | what the requests cost
-- column: mean_cost_usd [USD] | per request, rounded down to nano-dollars
-- column: p50_latency_ms [ms] | half of the requests took less
-- column: p95_latency_ms [ms] | 95 of 100 took less
WITH
'experiment' AS latency_by
SELECT
    s.key AS experiment,
    s.detail AS arm,
    s.* EXCEPT (key, detail)
FROM side_by_side AS s
WHERE s.key != ''
ORDER BY experiment, arm
