SELECT user_id, sum(cost_usd) AS total
FROM requests
WHERE tenant = {tenant:String}
GROUP BY user_id
ORDER BY total DESC, user_id
LIMIT 10
