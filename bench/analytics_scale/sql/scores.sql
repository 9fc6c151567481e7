-- Scores of five in a hundred of the answers that were given from {since} on and before {until}: a judge's of
-- each, and a person's of every fourth.
INSERT INTO scores_raw
(
    request_id, score_id, tenant, user_id, accepted_at, scored_at, name, value, label, source, scorer, comment,
    model, prompt_template, prompt_version, experiment, arm, ingested_at
)
WITH cityHash64(r.request_id, 50) / 18446744073709551616. AS u
SELECT
    r.request_id,
    concat(r.request_id, '-', source),
    r.tenant,
    r.user_id,
    r.accepted_at,
    r.finished_at + toIntervalHour(1) AS scored_at,
    ['helpfulness', 'tone'][1 + cityHash64(r.request_id, 51) % 2],
    toDecimal64(round(cityHash64(r.request_id, source) / 18446744073709551616., 3), 9),
    '',
    source,
    if(source = 'judge', 'gpt-4o', 'support'),
    '',
    r.model,
    r.prompt_template,
    r.prompt_version,
    r.experiment,
    r.arm,
    scored_at
FROM requests_raw AS r
ARRAY JOIN if(u < 0.0125, ['judge', 'human'], ['judge']) AS source
WHERE u < 0.05
    AND r.status IN ('answered', 'cached')
    AND r.accepted_at >= {since:DateTime64(6, 'UTC')} AND r.accepted_at < {until:DateTime64(6, 'UTC')}
