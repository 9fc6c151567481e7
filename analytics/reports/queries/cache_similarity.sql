-- title: Lookups by similarity
-- group: cache
-- description: How near the nearest question was that was compared, in bands of two hundredths of cosine, and what
--     came of it. Many misses just below the threshold say what a lower one would serve.
-- column: band_from [cosine] | the lower edge of the band; its upper one is 0.02 above
-- column: lookups [requests] | whose nearest question is in the band
-- column: hits [requests] | that were answered with its answer
-- column: misses [requests] | that were not: below the threshold
SELECT
    round(floor(assumeNotNull(r.cache_similarity) * 50) / 50, 2) AS band_from,
    count() AS lookups,
    countIf(r.cache_hit) AS hits,
    countIf(NOT r.cache_hit) AS misses
FROM requests AS r
WHERE r.cache_similarity IS NOT NULL
    AND $window(r)
GROUP BY band_from
ORDER BY band_from DESC
