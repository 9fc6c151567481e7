"""What the operator lets happen to calls: latency, rate limits, faults, given answers, raw bytes.

Begin with `rules.py`, the fields of `PUT /behaviour`; `director.py` applies them call by call.
"""
