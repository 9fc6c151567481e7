-- title: Scores by prompt version and day
-- group: quality
-- description: Scores of each kind by the day of their request (UTC) and the prompt version that answered, however late
--     they came. Judges and people are kept apart.
-- parameter: score String = '' | scores of this name only; empty: all
-- parameter: limit UInt32 1..100000 = 1000 | rows at most
-- column: day [day] | on which the requests were accepted
-- column: score [name] | what was judged
-- column: source [name] | who judged: user, human, judge or check
-- column: prompt_template [name] | the template
-- column: prompt_version [name] | its version
-- column: scores [count] | that were given
-- column: requests [requests] | that have one
-- column: mean_score [score] | of the scores, cut to nine decimals
-- column: sd_score [score] | standard deviation; null of fewer than two
-- column: min_score [score] | the lowest
-- column: max_score [score] | the highest
SELECT
    toDate(s.accepted_at) AS day,
    s.name AS score,
    s.source AS source,
    s.prompt_template AS prompt_template,
    s.prompt_version AS prompt_version,
    count() AS scores,
    uniqExact(s.tenant, s.request_id) AS requests,
    sum(s.value) / count() AS mean_score,
    if(scores < 2, NULL, stddevSampStable(toFloat64(s.value))) AS sd_score,
    min(s.value) AS min_score,
    max(s.value) AS max_score
FROM scores AS s
WHERE ({score:String} = '' OR s.name = {score:String})
    AND $window(s)
GROUP BY day, score, source, prompt_template, prompt_version
ORDER BY day, score, source, prompt_template, prompt_version
LIMIT {limit:UInt32}
