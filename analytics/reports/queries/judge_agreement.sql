-- title: Judges against people
-- group: quality
-- description: Requests that a judge and a person have both given the same kind of score, by judge. Each side's latest
--     score counts. They agree where both are at the threshold or above it, or both below.
-- parameter: threshold Float64 = 0.5 | from this value on a score is good
-- column: score [name] | what was judged
-- column: judge [name] | which judge
-- column: requests [requests] | that both have judged
-- column: agreed [requests] | on which they agree
-- column: agreement_share [share] | agreed of requests
-- column: judge_good [requests] | that the judge called good
-- column: human_good [requests] | that the person called good
-- column: mean_difference [score] | judge minus person, cut to nine decimals
WITH
    people AS
    (
        SELECT
            s.tenant AS tenant,
            s.request_id AS request_id,
            s.name AS score,
            argMax(s.value, s.scored_at) AS value
        FROM scores AS s
        WHERE s.source = 'human'
            AND $window(s)
        GROUP BY tenant, request_id, score
    ),
    judges AS
    (
        SELECT
            s.tenant AS tenant,
            s.request_id AS request_id,
            s.name AS score,
            s.scorer AS judge,
            argMax(s.value, s.scored_at) AS value
        FROM scores AS s
        WHERE s.source = 'judge'
            AND $window(s)
        GROUP BY tenant, request_id, score, judge
    )
SELECT
    j.score AS score,
    j.judge AS judge,
    count() AS requests,
    countIf((toFloat64(j.value) >= {threshold:Float64}) = (toFloat64(p.value) >= {threshold:Float64})) AS agreed,
    agreed / requests AS agreement_share,
    countIf(toFloat64(j.value) >= {threshold:Float64}) AS judge_good,
    countIf(toFloat64(p.value) >= {threshold:Float64}) AS human_good,
    (sum(j.value) - sum(p.value)) / count() AS mean_difference
FROM judges AS j
INNER JOIN people AS p ON p.tenant = j.tenant AND p.request_id = j.request_id AND p.score = j.score
GROUP BY score, judge
ORDER BY score, judge
