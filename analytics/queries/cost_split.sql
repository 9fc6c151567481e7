-- title: Input, cached and output cost
-- group: cost
-- description: What the calls cost by kind of token, from the price table of this Headrace. What was priced with
--     another table, or not by tokens, is in other_cost_usd, so that the four add up to cost_usd. Shadow calls are
--     not in it.
-- parameter: prices Array(Tuple(String, String, Decimal(18, 9), Decimal(18, 9), Decimal(18, 9))) = current | the price table; its version
-- column: model [name] | the model that was asked
-- column: calls [calls] | to the model
-- column: input_tokens [tokens] | sent, without those that the provider had cached
-- column: cached_tokens [tokens] | sent, that the provider had cached
-- column: output_tokens [tokens] | written, reasoning included
-- column: input_cost_usd [USD] | of tokens that were not cached
-- column: cached_cost_usd [USD] | of cached tokens
-- column: output_cost_usd [USD] | of written tokens
-- column: other_cost_usd [USD] | what these three do not explain
-- column: cost_usd [USD] | what the calls cost
WITH
    prices AS
    (
        SELECT
            price.1 AS price_version,
            price.2 AS model,
            toDecimal128(price.3, 9) AS input_usd,
            toDecimal128(price.4, 9) AS cached_usd,
            toDecimal128(price.5, 9) AS output_usd
        FROM
        (
            SELECT
                arrayJoin(
                    {prices:Array(Tuple(String, String, Decimal(18, 9), Decimal(18, 9), Decimal(18, 9)))}
                ) AS price
        )
    ),
    calls AS
    (
        SELECT
            c.request_model AS model,
            c.price_version AS price_version,
            count() AS calls,
            sum(toInt64(c.input_tokens) - toInt64(c.cached_tokens)) AS fresh_tokens,
            sum(c.cached_tokens) AS cached_tokens,
            sum(c.output_tokens) AS output_tokens,
            sum(c.cost_usd) AS cost_usd
        FROM llm_calls AS c
        WHERE NOT c.shadow
            AND c.accepted_at >= {since:DateTime64(6, 'UTC')}
            AND c.accepted_at < {until:DateTime64(6, 'UTC')}
            AND ({tenant:String} = '' OR c.tenant = {tenant:String})
        GROUP BY model, price_version
    )
SELECT
    c.model AS model,
    sum(c.calls) AS calls,
    sum(c.fresh_tokens) AS input_tokens,
    sum(c.cached_tokens) AS cached_tokens,
    sum(c.output_tokens) AS output_tokens,
    sum(c.fresh_tokens * p.input_usd / 1000000) AS input_cost_usd,
    sum(c.cached_tokens * p.cached_usd / 1000000) AS cached_cost_usd,
    sum(c.output_tokens * p.output_usd / 1000000) AS output_cost_usd,
    sum(c.cost_usd) - input_cost_usd - cached_cost_usd - output_cost_usd AS other_cost_usd,
    sum(c.cost_usd) AS cost_usd
FROM calls AS c
LEFT JOIN prices AS p ON p.model = c.model AND p.price_version = c.price_version
GROUP BY model
ORDER BY cost_usd DESC, model
