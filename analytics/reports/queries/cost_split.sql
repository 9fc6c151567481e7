-- title: Input, cached, cache-write and output cost
-- group: cost
-- description: What the calls cost by kind of token, from the prices of this Headrace and of all records, at the tier and
--     the length of prompt that each was priced with. What was priced with another table, not by tokens, or
--     rounded to a nano-dollar is in other_cost_usd, so that the five add up to cost_usd. Shadow calls are not in it.
-- parameter: prices Array(Tuple(String, String, String, UInt8, Decimal(18, 9), Decimal(18, 9), Decimal(18, 9), Decimal(18, 9), Decimal(18, 9), Decimal(18, 9))) = current | the prices that calls were booked at
-- column: model [name] | the model that was asked
-- column: calls [calls] | to the model
-- column: input_tokens [tokens] | sent, without those that came from the provider's cache or went into it
-- column: cached_tokens [tokens] | sent, that the provider had cached
-- column: cache_write_tokens [tokens] | sent, that the provider put into its cache
-- column: output_tokens [tokens] | written, reasoning included
-- column: input_cost_usd [USD] | of tokens that were neither cached nor put into the cache
-- column: cached_cost_usd [USD] | of cached tokens
-- column: cache_write_cost_usd [USD] | of tokens put into the cache, for five minutes or an hour
-- column: output_cost_usd [USD] | of written tokens, reasoning included
-- column: other_cost_usd [USD] | what these four do not explain
-- column: cost_usd [USD] | what the calls cost
WITH
    prices AS
    (
        SELECT
            price.1 AS price_version,
            price.2 AS model,
            price.3 AS service_tier,
            price.4 AS long_context,
            toDecimal128(price.5, 9) AS input_usd,
            toDecimal128(price.6, 9) AS cached_usd,
            toDecimal128(price.7, 9) AS cache_write_usd,
            toDecimal128(price.8, 9) AS cache_write_1h_usd,
            toDecimal128(price.9, 9) AS output_usd,
            toDecimal128(price.10, 9) AS reasoning_usd
        FROM
        (
            SELECT
                arrayJoin(
                    {prices:Array(Tuple(String, String, String, UInt8, Decimal(18, 9), Decimal(18, 9), Decimal(18, 9), Decimal(18, 9), Decimal(18, 9), Decimal(18, 9)))}
                ) AS price
        )
    ),
    calls AS
    (
        SELECT
            c.request_model AS model,
            c.price_version AS price_version,
            c.service_tier AS service_tier,
            toUInt8(c.long_context) AS long_context,
            count() AS calls,
            sum(toInt64(c.input_tokens) - toInt64(c.cached_tokens) - toInt64(c.cache_write_tokens)) AS fresh_tokens,
            sum(c.cached_tokens) AS cached_tokens,
            sum(c.cache_write_tokens) AS cache_write_tokens,
            sum(c.cache_write_1h_tokens) AS cache_write_1h_tokens,
            sum(c.output_tokens) AS output_tokens,
            sum(c.reasoning_tokens) AS reasoning_tokens,
            sum(c.cost_usd) AS cost_usd
        FROM llm_calls AS c
        WHERE NOT c.shadow
            AND $window(c)
        GROUP BY model, price_version, service_tier, long_context
    )
SELECT
    c.model AS model,
    sum(c.calls) AS calls,
    sum(c.fresh_tokens) AS input_tokens,
    sum(c.cached_tokens) AS cached_tokens,
    sum(c.cache_write_tokens) AS cache_write_tokens,
    sum(c.output_tokens) AS output_tokens,
    sum(c.fresh_tokens * p.input_usd / 1000000) AS input_cost_usd,
    sum(c.cached_tokens * p.cached_usd / 1000000) AS cached_cost_usd,
    sum(
        (c.cache_write_tokens - c.cache_write_1h_tokens) * p.cache_write_usd / 1000000
            + c.cache_write_1h_tokens * p.cache_write_1h_usd / 1000000
    ) AS cache_write_cost_usd,
    sum(
        (c.output_tokens - c.reasoning_tokens) * p.output_usd / 1000000
            + c.reasoning_tokens * p.reasoning_usd / 1000000
    ) AS output_cost_usd,
    sum(c.cost_usd) - input_cost_usd - cached_cost_usd - cache_write_cost_usd - output_cost_usd AS other_cost_usd,
    sum(c.cost_usd) AS cost_usd
FROM calls AS c
LEFT JOIN prices AS p
    ON p.model = c.model
        AND p.price_version = c.price_version
        AND p.service_tier = c.service_tier
        AND p.long_context = c.long_context
GROUP BY model
ORDER BY cost_usd DESC, model
