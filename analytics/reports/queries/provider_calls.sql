-- title: Providers and models asked
-- group: latency
-- description: Calls by provider and model. Failed ones gave no answer; lost ones (orphaned) are beside them.
--     Shadow calls are counted apart and are in no other figure.
-- part: whole_hours
-- part: call_figures
-- column: provider [name] | who was asked
-- column: model [name] | the model that was asked
-- column: calls [calls] | attempts
-- column: failed [calls] | with a fault
-- column: error_share [share] | failed and orphaned of calls
-- column: orphaned [calls] | whose answer was lost
-- column: retries [calls] | not the first of their request
-- column: shadow [calls] | beside these, for comparison
-- column: cost_usd [USD] | what the calls cost
-- column: p50_duration_ms [ms] | half of the calls took less; null where all are shadow calls
-- column: p95_duration_ms [ms] | 95 of 100 took less
-- column: p50_first_token_ms [ms] | until the first token; null where it was never timed
-- column: p95_first_token_ms [ms] | likewise
SELECT
    f.provider AS provider,
    f.model AS model,
    sumIf(f.calls, NOT f.shadow) AS calls,
    sumIf(f.calls, NOT f.shadow AND f.error != '' AND NOT f.orphaned) AS failed,
    (failed + orphaned) / nullIf(calls, 0) AS error_share,
    sumIf(f.calls, NOT f.shadow AND f.orphaned) AS orphaned,
    sumIf(f.retries, NOT f.shadow) AS retries,
    sumIf(f.calls, f.shadow) AS shadow,
    sumIf(f.cost_usd, NOT f.shadow) AS cost_usd,
    if(
        calls = 0,
        NULL,
        (quantilesDDMergeIf($levels())(f.duration_us_sketch, NOT f.shadow) AS duration_us)[1] / 1000
    ) AS p50_duration_ms,
    if(calls = 0, NULL, duration_us[2] / 1000) AS p95_duration_ms,
    if(
        (sumIf(f.first_tokens, NOT f.shadow) AS first_tokens) = 0,
        NULL,
        (quantilesDDMergeIf($levels())(f.first_token_us_sketch, NOT f.shadow) AS first_token_us)[1] / 1000
    ) AS p50_first_token_ms,
    if(first_tokens = 0, NULL, first_token_us[2] / 1000) AS p95_first_token_ms
FROM call_figures AS f
GROUP BY provider, model
ORDER BY cost_usd DESC, provider, model
