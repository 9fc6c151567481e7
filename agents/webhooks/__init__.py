"""Webhooks: an HTTP request to its sender's URL tells that a request has ended.

`intake` puts the records of the topic into `queue` (in Redis); `deliverer` sends what is due and decides by
`delivery_decision`. `target_resolver` keeps them away from addresses that they may not reach.
"""
