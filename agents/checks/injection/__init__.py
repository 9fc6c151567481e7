"""Prompt injection by rule: every reading of a text against every rule, inside one time budget.

Begin with `scanner`; `rules` says how a rule is written.
"""
