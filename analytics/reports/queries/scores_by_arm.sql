-- title: Scores by prompt version and arm
-- group: quality
-- description: How answers were judged, on the day of their request. Whole days come from the rollup quality_1d,
--     the partial days at the ends of the window from the scores themselves.
-- part: whole_days
-- parameter: model String = '' | of answers of this model; empty: all
-- parameter: prompt_template String = '' | of this prompt template; empty: all
-- parameter: prompt_version String = '' | of this prompt version; empty: all
-- parameter: experiment String = '' | of this experiment; empty: all
-- column: score [name] | what was judged
-- column: source [name] | who says so: user, human, judge, check
-- column: prompt_template [name] | the template
-- column: prompt_version [name] | its version
-- column: experiment [name] | the experiment
-- column: arm [name] | its arm
-- column: scores [count] | that were given
-- column: mean [score] | of them, rounded down to nine decimals
-- column: least [score] | of them
-- column: most [score] | of them
SELECT
    score,
    source,
    prompt_template,
    prompt_version,
    experiment,
    arm,
    sum(number) AS scores,
    sum(value_sum) / sum(number) AS mean,
    min(value_min) AS least,
    max(value_max) AS most
FROM
(
    SELECT
        q.name AS score,
        q.source AS source,
        q.prompt_template AS prompt_template,
        q.prompt_version AS prompt_version,
        q.experiment AS experiment,
        q.arm AS arm,
        q.scores AS number,
        q.value_sum AS value_sum,
        q.value_min AS value_min,
        q.value_max AS value_max
    FROM quality_1d AS q
    WHERE $days(q)
        AND $filters(q)
    UNION ALL
    SELECT
        s.name AS score,
        s.source AS source,
        s.prompt_template AS prompt_template,
        s.prompt_version AS prompt_version,
        s.experiment AS experiment,
        s.arm AS arm,
        toUInt64(1) AS number,
        toDecimal128(s.value, 9) AS value_sum,
        s.value AS value_min,
        s.value AS value_max
    FROM scores AS s
    WHERE $partial_days(s)
        AND $filters(s)
)
GROUP BY score, source, prompt_template, prompt_version, experiment, arm
ORDER BY score, source, prompt_template, prompt_version, experiment, arm
