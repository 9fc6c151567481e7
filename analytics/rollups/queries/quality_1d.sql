-- Scores of the requests of {day}: their number, their sum and the sum of their squares, from which means,
-- variances and tests follow for any selection of rows.
SELECT
    {day:Date} AS day,
    s.tenant AS tenant,
    s.name AS name,
    s.source AS source,
    s.scorer AS scorer,
    s.label AS label,
    s.model AS model,
    s.prompt_template AS prompt_template,
    s.prompt_version AS prompt_version,
    s.experiment AS experiment,
    s.arm AS arm,
    count() AS scores,
    sum(s.value) AS value_sum,
    sum(toDecimal128(s.value, 9) * toDecimal128(s.value, 9)) AS value_square_sum,
    min(s.value) AS value_min,
    max(s.value) AS value_max,
    {version:String} AS source_version,
    now64(6, 'UTC') AS computed_at
FROM scores_raw AS s FINAL
WHERE s.accepted_at >= toDateTime64({day:Date}, 6, 'UTC')
    AND s.accepted_at < toDateTime64({day:Date} + 1, 6, 'UTC')
GROUP BY tenant, name, source, scorer, label, model, prompt_template, prompt_version, experiment, arm
