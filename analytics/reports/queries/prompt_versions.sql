-- title: Prompt versions side by side
-- group: experiments
-- description: Outcomes, spend and latency of each prompt version.
-- part: whole_hours
-- part: request_figures
-- part: latency_figures
-- part: side_by_side
-- column: prompt_template [name] | the template; empty where the request brought its own messages
-- column: prompt_version [name] | its version
-- column: requests [requests] | that used it
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
'prompt' AS latency_by
SELECT
    s.key AS prompt_template,
    s.detail AS prompt_version,
    s.* EXCEPT (key, detail)
FROM side_by_side AS s
ORDER BY requests DESC, prompt_template, prompt_version
