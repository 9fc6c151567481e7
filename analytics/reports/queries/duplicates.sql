-- title: Rows that came more than once
-- group: reliability
-- description: What the raw tables hold, and how many of it are repeats that no merge has removed yet. The views leave
--     them out, so no figure counts them; many of them say that something delivers again and again.
-- column: view [name] | the view
-- column: stored [rows] | in its raw table
-- column: duplicates [rows] | of them that the view leaves out
-- column: duplicate_share [share] | duplicates of stored; null where nothing is stored
SELECT
    view,
    sum(raw) AS stored,
    sum(raw) - sum(distinct_rows) AS duplicates,
    duplicates / nullIf(stored, 0) AS duplicate_share
FROM
(
    SELECT 'requests' AS view, count() AS raw, 0 AS distinct_rows
    FROM requests_raw AS t
    WHERE $window(t)
    UNION ALL
    SELECT 'requests', 0, count()
    FROM requests AS t
    WHERE $window(t)
    UNION ALL
    SELECT 'stages', count(), 0
    FROM stages_raw AS t
    WHERE $window(t)
    UNION ALL
    SELECT 'stages', 0, count()
    FROM stages AS t
    WHERE $window(t)
    UNION ALL
    SELECT 'llm_calls', count(), 0
    FROM llm_calls_raw AS t
    WHERE $window(t)
    UNION ALL
    SELECT 'llm_calls', 0, count()
    FROM llm_calls AS t
    WHERE $window(t)
)
GROUP BY view
ORDER BY view
