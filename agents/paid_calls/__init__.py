"""Provider calls that cost money: journal, retries, circuit breaker, pricing, cancellation.

Begin with `paid_work` (a request: claim, calls, result), then `call_loop` (its calls, model after model).
`call_retry` has the retry schedule, `call_policy` the timeouts, `pricing` the cost of a call. Every provider
call is journaled before it is sent (`call_journal`).
"""
