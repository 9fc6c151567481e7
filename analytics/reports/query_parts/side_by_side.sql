-- description: Latency is from acceptance to the reply.
side_by_side AS
(
    SELECT
        g.key AS key,
        g.detail AS detail,
        g.requests AS requests,
        g.successful AS successful,
        g.errors AS errors,
        g.errors / g.requests AS error_share,
        g.blocked AS blocked,
        g.cache_hits / g.requests AS hit_share,
        g.cost_usd AS cost_usd,
        g.cost_usd / g.requests AS mean_cost_usd,
        $joined_latency()
    FROM
    (
        SELECT
            if(latency_by = 'experiment', toString(f.experiment), toString(f.prompt_template)) AS key,
            if(latency_by = 'experiment', toString(f.arm), toString(f.prompt_version)) AS detail,
            sum(f.requests) AS requests,
            sumIf(f.requests, f.status IN ('answered', 'cached')) AS successful,
            sumIf(f.requests, f.status IN ('failed', 'degraded')) AS errors,
            sumIf(f.requests, f.status = 'blocked') AS blocked,
            sum(f.cache_hits) AS cache_hits,
            sum(f.cost_usd) AS cost_usd,
            $own_sketch() AS own_sketch
        FROM request_figures AS f
        GROUP BY key, detail
    ) AS g
    LEFT JOIN
    (
        SELECT
            f.key AS key,
            f.detail AS detail,
            $hour_sketch() AS latency_ms_sketch
        FROM latency_figures AS f
        GROUP BY key, detail
    ) AS l ON l.key = g.key AND l.detail = g.detail
)
