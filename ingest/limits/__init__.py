"""What a caller may send: the limits of its tier, checked before a request is registered.

Begin with `admission` (checks a request, and ends what it holds), then `answers` (the 429 and the headers)
and `address` (which address a request comes from). The counting itself is `streams/limits/`.
"""
