-- title: Quality of experiments' arms
-- group: experiments
-- description: Scores of each kind in each arm, with what an interval needs. Several scores of one request count each.
-- parameter: experiment String = '' | this experiment only; empty: all
-- column: experiment [name] | the experiment
-- column: arm [name] | the arm
-- column: score [name] | what was judged
-- column: source [name] | who judged: user, human, judge or check
-- column: scores [count] | that were given
-- column: users [users] | whose requests were judged
-- column: mean_score [score] | of the scores, cut to nine decimals
-- column: sd_score [score] | standard deviation; null of fewer than two
SELECT
    s.experiment AS experiment,
    s.arm AS arm,
    s.name AS score,
    s.source AS source,
    count() AS scores,
    uniqExact(s.tenant, s.user_id) AS users,
    sum(s.value) / count() AS mean_score,
    if(scores < 2, NULL, stddevSampStable(toFloat64(s.value))) AS sd_score
FROM scores AS s
WHERE s.experiment != ''
    AND ({experiment:String} = '' OR s.experiment = {experiment:String})
    AND $window(s)
GROUP BY experiment, arm, score, source
ORDER BY experiment, score, source, arm
