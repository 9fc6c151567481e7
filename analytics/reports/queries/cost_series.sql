-- title: Spend over time
-- group: cost
-- description: What the requests cost by interval and one of model, tenant, provider, prompt and experiment.
-- part: whole_hours
-- part: request_figures
-- part: steps
-- part: spend_key
-- parameter: by String model|tenant|provider|prompt|experiment = model | what a row is about
-- column: time [time] | the beginning of the interval
-- column: key [name] | the model, tenant, provider, prompt template or experiment
-- column: detail [name] | of a model its provider, of a template its version, of an experiment its arm; else empty
-- column: requests [requests] | of it in the interval
-- column: cost_usd [USD] | what they cost
SELECT
    toDateTime64(intDiv(toUnixTimestamp(f.time), step_s) * step_s, 0, 'UTC') AS time,
    spend_key AS key,
    spend_detail AS detail,
    sum(f.requests) AS requests,
    sum(f.cost_usd) AS cost_usd
FROM request_figures AS f
GROUP BY time, key, detail
ORDER BY time, cost_usd DESC, key, detail
