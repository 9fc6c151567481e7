-- title: What guardrails stopped
-- group: guardrail
-- description: Requests that a guardrail stopped, before the model (input) or after it (output), by rule.
-- part: whole_hours
-- part: request_figures
-- column: side [name] | input or output
-- column: rule [name] | the rule that stopped them
-- column: blocked [requests] | that it stopped
-- column: request_share [share] | blocked of all requests
SELECT
    verdict.1 AS side,
    verdict.2 AS rule,
    sum(verdict.3) AS blocked,
    blocked / any(g.all_requests) AS request_share
FROM
(
    SELECT
        f.guardrail_input_rule AS input_rule,
        f.guardrail_output_rule AS output_rule,
        sum(f.input_blocked) AS input_blocked,
        sum(f.output_blocked) AS output_blocked,
        sum(sum(f.requests)) OVER () AS all_requests
    FROM request_figures AS f
    GROUP BY input_rule, output_rule
) AS g
ARRAY JOIN [
    ('input', toString(g.input_rule), g.input_blocked), ('output', toString(g.output_rule), g.output_blocked)
] AS verdict
WHERE verdict.3 > 0
GROUP BY side, rule
ORDER BY blocked DESC, side, rule
