-- What was spent since {since}, by model and prompt version. An empty tenant means all of them.
SELECT
    model,
    prompt_template,
    prompt_version,
    count() AS requests,
    countIf(status IN ('answered', 'cached')) AS successful,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    sum(cost_usd) AS cost_usd
FROM requests
WHERE accepted_at >= {since:DateTime64(6)}
    AND ({tenant:String} = '' OR tenant = {tenant:String})
GROUP BY model, prompt_template, prompt_version
ORDER BY cost_usd DESC, requests DESC, model, prompt_template, prompt_version
