-- title: Answers that did not pass
-- group: guardrail
-- description: Answers of models, by model: how many the output check rejected, and how many it noted something about.
--     Answers from the cache are not in it: they passed when they were kept.
-- column: model [name] | the model that answered
-- column: answers [requests] | it gave
-- column: rejected [requests] | that were blocked or failed their format
-- column: reject_share [share] | rejected of answers
-- column: refusals [requests] | in which the model refused
-- column: truncated [requests] | that were cut off
-- column: empty [requests] | that held nothing
SELECT
    r.model AS model,
    count() AS answers,
    countIf(NOT r.guardrail_output_pass) AS rejected,
    rejected / answers AS reject_share,
    countIf(has(r.output_flags, 'refusal')) AS refusals,
    countIf(has(r.output_flags, 'truncated')) AS truncated,
    countIf(has(r.output_flags, 'empty')) AS empty
FROM requests AS r
WHERE r.model NOT IN ('', 'degraded')
    AND NOT r.cache_hit
    AND $window(r)
GROUP BY model
ORDER BY rejected DESC, answers DESC, model
