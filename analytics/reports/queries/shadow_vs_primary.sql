-- title: Shadow against primary, paired
-- group: experiments
-- description: Requests that a model answered while another was asked in shadow, pair by pair: differences are shadow
--     minus primary. Where a request has several calls of a kind, its last answered one counts.
-- column: primary_model [name] | the model whose answer was given
-- column: shadow_model [name] | the model that was asked in shadow
-- column: requests [requests] | in which both answered
-- column: primary_cost_usd [USD] | what the primary calls cost
-- column: shadow_cost_usd [USD] | what the shadow calls cost
-- column: cost_difference_usd [USD] | shadow minus primary, in all
-- column: mean_difference_ms [ms] | of the calls' duration, per request
-- column: shadow_faster_share [share] | requests in which the shadow took less time
-- column: mean_difference_tokens [tokens] | of the output, per request
WITH
    shadowed AS
    (
        SELECT c.tenant, c.request_id
        FROM llm_calls AS c
        WHERE c.shadow
            AND $window(c)
    ),
    pairs AS
    (
        SELECT
            c.tenant,
            c.request_id,
            argMaxIf(c.request_model, c.attempt, NOT c.shadow) AS primary_model,
            argMaxIf(c.request_model, c.attempt, c.shadow) AS shadow_model,
            argMaxIf(c.cost_usd, c.attempt, NOT c.shadow) AS primary_cost,
            argMaxIf(c.cost_usd, c.attempt, c.shadow) AS shadow_cost,
            argMaxIf(toInt64(c.duration_us), c.attempt, NOT c.shadow) AS primary_us,
            argMaxIf(toInt64(c.duration_us), c.attempt, c.shadow) AS shadow_us,
            argMaxIf(toInt64(c.output_tokens), c.attempt, NOT c.shadow) AS primary_tokens,
            argMaxIf(toInt64(c.output_tokens), c.attempt, c.shadow) AS shadow_tokens
        FROM llm_calls AS c
        WHERE c.error IS NULL
            AND NOT c.orphaned
            AND $window(c)
            AND (c.tenant, c.request_id) IN (SELECT tenant, request_id FROM shadowed)
        GROUP BY c.tenant, c.request_id
        HAVING countIf(c.shadow) > 0 AND countIf(NOT c.shadow) > 0
    )
SELECT
    primary_model,
    shadow_model,
    count() AS requests,
    sum(primary_cost) AS primary_cost_usd,
    sum(shadow_cost) AS shadow_cost_usd,
    shadow_cost_usd - primary_cost_usd AS cost_difference_usd,
    sum(shadow_us - primary_us) / count() / 1000 AS mean_difference_ms,
    countIf(shadow_us < primary_us) / count() AS shadow_faster_share,
    sum(shadow_tokens - primary_tokens) / count() AS mean_difference_tokens
FROM pairs
GROUP BY primary_model, shadow_model
ORDER BY requests DESC, primary_model, shadow_model
