"""Which users' data must be erased, and what counts as personal data.

Begin with `erasures`.
"""
