-- title: Wrong hits by similarity
-- group: cache
-- description: Answers from the cache that were scored, and how many of them badly, in bands of two hundredths of
--     cosine. A hit is wrong where any of its scores is below the threshold. Exact hits, which have no cosine, are in
--     the band 1.
-- parameter: score String = '' | scores of this name only; empty: all
-- parameter: threshold Float64 = 0.5 | a score below this value is bad
-- column: band_from [cosine] | the lower edge of the band; its upper one is 0.02 above
-- column: hits [requests] | that the cache answered
-- column: scored [requests] | of them that have a score
-- column: wrong [requests] | of these that have a bad one
-- column: wrong_share [share] | wrong of scored; null where none is scored
WITH
    hits AS
    (
        SELECT
            r.tenant AS tenant,
            r.request_id AS request_id,
            round(floor(ifNull(r.cache_similarity, 1) * 50) / 50, 2) AS band_from
        FROM requests AS r
        WHERE r.cache_hit
            AND $window(r)
    ),
    verdicts AS
    (
        SELECT
            s.tenant AS tenant,
            s.request_id AS request_id,
            toUInt8(1) AS scored,
            toFloat64(min(s.value)) < {threshold:Float64} AS wrong
        FROM scores AS s
        WHERE ({score:String} = '' OR s.name = {score:String})
            AND $window(s)
        GROUP BY tenant, request_id
    )
SELECT
    h.band_from AS band_from,
    count() AS hits,
    countIf(v.scored = 1) AS scored,
    countIf(v.scored = 1 AND v.wrong) AS wrong,
    wrong / nullIf(scored, 0) AS wrong_share
FROM hits AS h
LEFT JOIN verdicts AS v ON v.tenant = h.tenant AND v.request_id = h.request_id
GROUP BY band_from
ORDER BY band_from DESC
