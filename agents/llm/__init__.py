"""The LLM stage: from a rendered prompt to a model's answer.

Begin with `stage`; the calls themselves are made in `agents.paid_calls`.
"""
