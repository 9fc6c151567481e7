"""What a request may say: its rules, bounds and parameters, the same at ingest and in the guardrail.

Begin with `chat`; `parameter_table` says what becomes of each parameter.
"""
