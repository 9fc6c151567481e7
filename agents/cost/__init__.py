"""The cost stage: the one place that settles the spend, replies and logs.

Begin with `stage`. `settlement_records` computes a reply's cost: the sum over its calls. The cost of one call
is in `agents.paid_calls.call_booking`, the price table in `streams.model_catalogue`.
"""
