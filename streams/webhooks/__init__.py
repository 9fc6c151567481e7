"""Where a webhook may be sent, and how it is signed.

Begin with `targets`.
"""
