-- Every rollup beside the raw rows that it is made of: all of it must be the same, to the last digit.
SELECT
    name,
    sum(raw_rows) AS raw_rows,
    sum(rollup_rows) AS rollup_rows,
    toString(sum(raw_sum)) AS raw_sum,
    toString(sum(rollup_sum)) AS rollup_sum
FROM
(
    SELECT 'requests_1h' AS name, count() AS raw_rows, 0 AS rollup_rows, sum(toDecimal128(cost_usd, 9)) AS raw_sum,
        toDecimal128(0, 9) AS rollup_sum
    FROM requests
    UNION ALL
    SELECT 'requests_1h', 0, sum(requests), toDecimal128(0, 9), sum(cost_usd) FROM requests_1h
    UNION ALL
    SELECT 'cost_1d', count(), 0, sum(toDecimal128(cost_usd, 9)), toDecimal128(0, 9) FROM requests
    UNION ALL
    SELECT 'cost_1d', 0, sum(requests), toDecimal128(0, 9), sum(cost_usd) FROM cost_1d
    UNION ALL
    SELECT 'users_1d', uniqExact(tenant, user_id, toDate(accepted_at)), 0, sum(toDecimal128(cost_usd, 9)),
        toDecimal128(0, 9)
    FROM requests
    UNION ALL
    SELECT 'users_1d', 0, count(), toDecimal128(0, 9), sum(cost_usd) FROM users_1d
    UNION ALL
    SELECT 'stages_1h', count(), 0, toDecimal128(sum(queue_us + duration_us), 9), toDecimal128(0, 9) FROM stages
    UNION ALL
    SELECT 'stages_1h', 0, sum(executions), toDecimal128(0, 9), toDecimal128(sum(queue_us + work_us), 9)
    FROM stages_1h
    UNION ALL
    SELECT 'calls_1h', count(), 0, sum(toDecimal128(cost_usd, 9)), toDecimal128(0, 9) FROM llm_calls
    UNION ALL
    SELECT 'calls_1h', 0, sum(calls), toDecimal128(0, 9), sum(cost_usd) FROM calls_1h
    UNION ALL
    SELECT 'quality_1d', count(), 0, sum(toDecimal128(value, 9)), toDecimal128(0, 9) FROM scores
    UNION ALL
    SELECT 'quality_1d', 0, sum(scores), toDecimal128(0, 9), sum(value_sum) FROM quality_1d
)
GROUP BY name
ORDER BY name
SETTINGS do_not_merge_across_partitions_select_final = 1, max_threads = 2
