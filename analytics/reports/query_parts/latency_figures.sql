-- description: Percentiles of whole hours come from the rollup latency_1h; filtered by more than it has by one key at a
--     time, from requests_1h, which takes longer.
[
    if({model:String} = '', '', 'model'),
    if({prompt_template:String} = '' AND {prompt_version:String} = '', '', 'prompt'),
    if({experiment:String} = '', '', 'experiment'),
    latency_by
] AS latency_keys,  -- latency_by, the query's own, is what it wants latencies by
arrayFilter(one -> one != '', arrayDistinct(latency_keys)) AS latency_needs,
if(length(latency_needs) > 1, 'several', arrayElement(latency_needs, 1)) AS latency_from,
latency_figures AS
(
    SELECT
        l.hour AS time,
        toString(l.key) AS key,
        toString(l.detail) AS detail,
        l.latency_ms_sketch AS latency_ms_sketch
    FROM latency_1h AS l
    WHERE l.by = latency_from
        AND $hours(l)
        AND l.tenant = {tenant:String}
        AND ({model:String} = '' OR l.key = {model:String})
        AND ({prompt_template:String} = '' OR l.key = {prompt_template:String})
        AND ({prompt_version:String} = '' OR l.detail = {prompt_version:String})
        AND ({experiment:String} = '' OR l.key = {experiment:String})
    UNION ALL
    SELECT
        h.hour AS time,
        multiIf(
            latency_by = 'model', toString(h.model),
            latency_by = 'prompt', toString(h.prompt_template),
            latency_by = 'experiment', toString(h.experiment),
            latency_by = 'cache_kind', toString(h.cache_kind),
            ''
        ) AS key,
        multiIf(
            latency_by = 'prompt', toString(h.prompt_version), latency_by = 'experiment', toString(h.arm), ''
        ) AS detail,
        h.latency_ms_sketch AS latency_ms_sketch
    FROM requests_1h AS h
    WHERE latency_from = 'several'
        AND $hours(h)
        AND $tenant(h)
        AND $filters(h)
)
