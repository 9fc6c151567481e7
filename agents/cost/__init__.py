"""The cost stage: the one place that settles the spend, replies and logs.

Begin with `stage`; a reply's cost is computed in `reply_log_ledger`.
"""
