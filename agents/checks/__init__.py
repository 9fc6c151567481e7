"""Checks that guardrail and output share: personal data, prompt injection, structured answers.

Begin with `pii`.
"""
