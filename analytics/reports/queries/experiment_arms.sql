-- title: Arms of experiments
-- group: experiments
-- description: Cost, latency and outcome of each arm. Standard deviations are of the sample, for intervals; they take
--     requests as independent, which requests of one user are not quite.
-- parameter: experiment String = '' | this experiment only; empty: all
-- column: experiment [name] | the experiment
-- column: arm [name] | the arm
-- column: prompt_version [name] | the prompt version that it uses
-- column: requests [requests] | in the arm
-- column: users [users] | in the arm
-- column: success_share [share] | that ended answered or cached
-- column: hit_share [share] | that the cache answered
-- column: cost_usd [USD] | what they cost
-- column: mean_cost_usd [USD] | per request, rounded down to nano-dollars
-- column: sd_cost_usd [USD] | standard deviation of a request's cost; null of fewer than two
-- column: mean_latency_ms [ms] | per request
-- column: sd_latency_ms [ms] | standard deviation of a request's latency; null of fewer than two
-- column: p50_latency_ms [ms] | half of the requests took less
-- column: p95_latency_ms [ms] | 95 of 100 took less
SELECT
    r.experiment AS experiment,
    r.arm AS arm,
    r.prompt_version AS prompt_version,
    count() AS requests,
    uniqExact(r.tenant, r.user_id) AS users,
    countIf(r.status IN ('answered', 'cached')) / requests AS success_share,
    countIf(r.cache_hit) / requests AS hit_share,
    sum(r.cost_usd) AS cost_usd,
    sum(r.cost_usd) / count() AS mean_cost_usd,
    if(requests < 2, NULL, stddevSampStable(toFloat64(r.cost_usd))) AS sd_cost_usd,
    avg(r.latency_ms) AS mean_latency_ms,
    if(requests < 2, NULL, stddevSampStable(r.latency_ms)) AS sd_latency_ms,
    $median_and_p95(r.latency_ms, latency_ms)
FROM requests AS r
WHERE r.experiment != ''
    AND ({experiment:String} = '' OR r.experiment = {experiment:String})
    AND $window(r)
GROUP BY experiment, arm, prompt_version
ORDER BY experiment, arm, prompt_version
