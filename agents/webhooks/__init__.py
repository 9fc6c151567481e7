"""Webhooks: when a request has ended, its reply is sent to the URL that the request names.

Begin with `intake`, which puts the records of the topic into `queue` (in Redis), then `deliverer`, which
sends what is due. `posting` has the retry schedule. `target_resolver` refuses forbidden addresses.
"""
