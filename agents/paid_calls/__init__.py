"""Provider calls that cost money: journal, retries, circuit breaker, pricing, cancellation.

Begin with `paid_work`; every call is journaled before it is sent.
"""
