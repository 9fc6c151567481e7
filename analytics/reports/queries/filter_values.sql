-- title: What can be filtered by
-- group: traffic
-- description: Tenants, models, prompt templates and versions, and experiments that had requests in the window; the
--     most used first.
-- part: whole_hours
-- part: request_figures
-- parameter: limit UInt32 1..1000 = 200 | values of a kind at most
-- column: kind [name] | tenant, model, prompt_template, prompt_version or experiment
-- column: value [name] | the value to filter by
-- column: detail [name] | of a prompt version its template; else empty
-- column: requests [requests] | that had it
SELECT
    choice.1 AS kind,
    choice.2 AS value,
    choice.3 AS detail,
    sum(g.number) AS requests
FROM
(
    SELECT
        toString(f.tenant) AS tenant,
        toString(f.model) AS model,
        toString(f.prompt_template) AS prompt_template,
        toString(f.prompt_version) AS prompt_version,
        toString(f.experiment) AS experiment,
        sum(f.requests) AS number
    FROM request_figures AS f
    GROUP BY f.tenant, f.model, f.prompt_template, f.prompt_version, f.experiment
) AS g
ARRAY JOIN [
    ('tenant', g.tenant, ''),
    ('model', g.model, ''),
    ('prompt_template', g.prompt_template, ''),
    ('prompt_version', g.prompt_version, g.prompt_template),
    ('experiment', g.experiment, '')
] AS choice
WHERE value != ''
GROUP BY kind, value, detail
ORDER BY kind, requests DESC, value, detail
LIMIT {limit:UInt32} BY kind
