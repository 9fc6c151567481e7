"""Provider calls that cost money: journal, retries, circuit breaker, pricing, cancellation.

Begin with `paid_work` (a request: claim, calls, result), then `call_loop` (its calls, model after model).
`call_policy` has timeouts, retry schedule and circuit breakers, `call_booking` the cost of a call.
"""
