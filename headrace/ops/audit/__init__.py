"""The audit: whether every accepted request has one terminal reply, one charge and one row.

Begin with `auditor`. It reads the `evidence`, `balance` compares it, `findings` lists what can be wrong.
"""
