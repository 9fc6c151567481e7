"""Provider calls that cost money: journal, retries, circuit breaker, pricing, cancellation.

Begin with `call_loop`; every call is journaled before it is sent.
"""
