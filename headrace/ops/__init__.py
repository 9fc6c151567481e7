"""Tools for operators: audit, dead letters, erasure.

Begin with `audit`.
"""
