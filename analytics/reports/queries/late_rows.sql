-- title: Late rows
-- group: reliability
-- description: How long after the reply a request's row was stored, by day. A row that came more than once counts with
--     its last arrival.
-- parameter: late_s UInt32 0..31536000 = 300 | rows that took longer count as late; seconds
-- column: day [day] | the day of acceptance, UTC
-- column: requests [requests] | stored
-- column: late [requests] | stored later than late_s after their reply
-- column: late_share [share] | late of requests
-- column: p50_delay_s [s] | half of the rows took less
-- column: p99_delay_s [s] | 99 of 100 rows took less
-- column: max_delay_s [s] | the latest row
SELECT
    day,
    count() AS requests,
    countIf(delay_us > {late_s:UInt32} * 1000000) AS late,
    late / requests AS late_share,
    quantileExact(0.5)(delay_us) / 1e6 AS p50_delay_s,
    quantileExact(0.99)(delay_us) / 1e6 AS p99_delay_s,
    max(delay_us) / 1e6 AS max_delay_s
FROM
(
    SELECT
        toDate(r.accepted_at) AS day,
        toUnixTimestamp64Micro(r.ingested_at) - toUnixTimestamp64Micro(r.finished_at) AS delay_us
    FROM requests AS r
    WHERE $window(r)
)
GROUP BY day
ORDER BY day
