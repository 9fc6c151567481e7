-- title: Cost of a successful reply
-- group: cost
-- description: All that was spent, divided by the replies that were of use (answered or cached), by prompt version.
--     What blocked, failed, degraded and cancelled requests cost is carried by the successful ones.
-- parameter: limit UInt32 1..100000 = 100 | rows at most
-- column: prompt_template [name] | the template; empty where the request brought its own messages
-- column: prompt_version [name] | its version
-- column: requests [requests] | that used it
-- column: successful [requests] | that ended answered or cached
-- column: cost_usd [USD] | what all of them cost
-- column: wasted_usd [USD] | of it, what those that were not successful cost
-- column: cost_per_success_usd [USD] | per successful reply, rounded down to nano-dollars; null where there is none
SELECT
    prompt_template,
    prompt_version,
    requests,
    successful,
    cost_usd,
    wasted_usd,
    if(successful = 0, NULL, cost_usd / greatest(successful, 1)) AS cost_per_success_usd
FROM
(
    SELECT
        r.prompt_template AS prompt_template,
        r.prompt_version AS prompt_version,
        count() AS requests,
        countIf(r.status IN ('answered', 'cached')) AS successful,
        sum(r.cost_usd) AS cost_usd,
        sumIf(r.cost_usd, r.status NOT IN ('answered', 'cached')) AS wasted_usd
    FROM requests AS r
    WHERE $window(r)
    GROUP BY prompt_template, prompt_version
)
ORDER BY cost_usd DESC, prompt_template, prompt_version
LIMIT {limit:UInt32}
