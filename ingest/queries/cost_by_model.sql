SELECT model, sum(cost_usd) AS total
FROM requests
WHERE tenant = {tenant:String} AND model != ''
GROUP BY model
ORDER BY total DESC, model
