-- title: Alerts
-- group: reliability
-- description: Alerts that stood at some time of the window, however long before it they were raised; the latest first.
--     Those on all tenants together have no tenant, and are seen by operators only.
-- parameter: rule String = '' | of this rule only, e.g. error_rate; empty: all
-- parameter: standing UInt32 0..1 = 0 | 1: only those that stand at the window's end
-- parameter: limit UInt32 1..100000 = 100 | rows at most
-- column: raised_at [time] | when it was told
-- column: resolved_at [time] | when it was told that it is over; null while it stands
-- column: rule [name] | what was watched: docs/alerts.md lists the rules
-- column: tenant [name] | of which tenant; empty: of all together
-- column: severity [name] | warning or critical
-- column: direction [name] | above or below what was expected
-- column: observed [measure] | in the window that raised it, in its unit
-- column: expected [measure] | there
-- column: measured_in [name] | the unit of both: usd, ms, ratio, s or records
-- column: began_at [time] | the beginning of the first window that was out of order
-- column: duration_s [s] | from the telling to the end; of one that stands, to the window's end
-- column: message [text] | the same in words
-- column: alert_id [id] | its id on llm.alerts.v1
SELECT
    a.raised_at AS raised_at,
    a.resolved_at AS resolved_at,
    a.rule AS rule,
    a.tenant AS tenant,
    a.severity AS severity,
    a.direction AS direction,
    a.observed AS observed,
    a.expected AS expected,
    a.unit AS measured_in,
    a.began_at AS began_at,
    (
        toUnixTimestamp64Micro(ifNull(a.resolved_at, {until:DateTime64(6, 'UTC')}))
        - toUnixTimestamp64Micro(a.raised_at)
    ) / 1e6 AS duration_s,
    a.message AS message,
    a.alert_id AS alert_id
FROM alerts AS a
WHERE a.raised_at < {until:DateTime64(6, 'UTC')}
    AND (a.resolved_at IS NULL OR a.resolved_at >= {since:DateTime64(6, 'UTC')})
    AND ({standing:UInt32} = 0 OR a.resolved_at IS NULL OR a.resolved_at >= {until:DateTime64(6, 'UTC')})
    AND ({rule:String} = '' OR a.rule = {rule:String})
    AND $tenant(a)
ORDER BY raised_at DESC, rule, tenant, direction
LIMIT {limit:UInt32}
