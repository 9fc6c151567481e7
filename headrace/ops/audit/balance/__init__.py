"""The equations of a balanced Headrace. Pure.

Begin with `balance`.
"""
