-- title: Spend over time
-- group: page
-- description: What the requests cost by interval and one of model, tenant, provider, prompt and experiment.
--     Intervals begin at multiples of their length since 1970 (UTC).
-- part: whole_hours
-- part: request_figures
-- parameter: bucket_s UInt32 60..604800 = 3600 | an interval, in seconds; in windows of over six hours: of whole hours
-- parameter: by String model|tenant|provider|prompt|experiment = model | what a row is about
-- column: time [time] | the beginning of the interval
-- column: key [name] | the model, tenant, provider, prompt template or experiment
-- column: detail [name] | of a model its provider, of a template its version, of an experiment its arm; else empty
-- column: requests [requests] | of it in the interval
-- column: cost_usd [USD] | what they cost
WITH
if(hourly, intDiv({bucket_s:UInt32} + 3599, 3600) * 3600, {bucket_s:UInt32}) AS step_s
SELECT
    toDateTime64(intDiv(toUnixTimestamp(f.time), step_s) * step_s, 0, 'UTC') AS time,
    multiIf(
        {by:String} = 'tenant', toString(f.tenant),
        {by:String} = 'provider', toString(f.provider),
        {by:String} = 'prompt', toString(f.prompt_template),
        {by:String} = 'experiment', toString(f.experiment),
        toString(f.model)
    ) AS key,
    multiIf(
        {by:String} = 'model', toString(f.provider),
        {by:String} = 'prompt', toString(f.prompt_version),
        {by:String} = 'experiment', toString(f.arm),
        ''
    ) AS detail,
    sum(f.requests) AS requests,
    sum(f.cost_usd) AS cost_usd
FROM request_figures AS f
GROUP BY time, key, detail
ORDER BY time, cost_usd DESC, key, detail
