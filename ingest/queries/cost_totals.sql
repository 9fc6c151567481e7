SELECT
    count() AS total_requests,
    sum(input_tokens) AS total_input_tokens,
    sum(output_tokens) AS total_output_tokens,
    sum(cost_usd) AS total_cost_usd,
    countIf(cache_hit) AS cache_hits
FROM requests
WHERE tenant = {tenant:String}
