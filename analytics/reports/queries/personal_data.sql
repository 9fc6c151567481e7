-- title: Personal data that was redacted
-- group: guardrail
-- description: Requests in which the guardrail found personal data, by tenant and type. A request with two types
--     counts under both.
-- column: tenant [name] | the tenant
-- column: pii_type [name] | the type
-- column: requests [requests] | in which it was found
-- column: users [users] | who sent them
SELECT
    r.tenant AS tenant,
    arrayJoin(arrayDistinct(r.pii_types)) AS pii_type,
    count() AS requests,
    uniqExact(r.user_id) AS users
FROM requests AS r
WHERE $window(r)
GROUP BY tenant, pii_type
ORDER BY requests DESC, tenant, pii_type
