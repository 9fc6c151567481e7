-- title: Fallbacks by the model that answered
-- group: reliability
-- description: Requests that another model answered than the first that was tried, or none did (degraded), of those
--     that the cache did not answer.
-- part: whole_hours
-- part: request_figures
-- column: model [name] | that answered in the end
-- column: requests [requests] | that it answered
-- column: fallbacks [requests] | of these, those that fell back to it
-- column: fallback_share [share] | fallbacks of requests
-- column: cost_usd [USD] | what the requests cost
SELECT
    f.model AS model,
    sum(f.requests) AS requests,
    sum(f.fallbacks) AS fallbacks,
    fallbacks / requests AS fallback_share,
    sum(f.cost_usd) AS cost_usd
FROM request_figures AS f
WHERE f.cache_kind IN ('miss', 'bypass')
    AND f.model != ''
GROUP BY model
ORDER BY fallbacks DESC, requests DESC, model
